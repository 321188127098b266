"""Reports: measurements as CSV, plots and one HTML page; two of them compared; the Pareto plot."""

from scumble_bench.reports.comparison import compare
from scumble_bench.reports.writing import write

__all__ = ["compare", "write"]
