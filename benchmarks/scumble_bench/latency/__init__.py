"""How long things take: cells timed alternately, ratios of pairs, figures with their provenance."""
