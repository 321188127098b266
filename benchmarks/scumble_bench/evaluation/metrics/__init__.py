"""What is measured of an edit, after PIE-Bench; start at `metric.load_metrics`."""
