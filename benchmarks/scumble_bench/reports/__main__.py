"""Draws the committed results anew: `python -m scumble_bench.reports [FOLDER]`."""

import sys
from pathlib import Path

from scumble_bench.reports.measured_points import points_from_results
from scumble_bench.reports.pareto import write_pareto

RESULTS = Path(__file__).resolve().parents[2] / "results"

if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    for path in write_pareto(points_from_results(RESULTS), folder):
        print(path)
