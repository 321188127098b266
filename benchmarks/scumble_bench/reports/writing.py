"""A bench report as a folder: JSON, CSV, plots, and a page that needs none of the others."""

from pathlib import Path

from scumble.errors import EngineError
from scumble_bench.latency.records import Bench
from scumble_bench.reports.bench_page import bench_page
from scumble_bench.reports.files import write_all
from scumble_bench.reports.tables import TABLES, csv_files

__all__ = ["FILES", "PLOTS", "write"]

PLOTS = ("ratios", "times", "stages", "limits", "growth", "memory")
FILES = (
    "bench.json",
    *(f"{name}.csv" for name in TABLES),
    *(f"{name}.png" for name in PLOTS),
    "report.html",
)
"""All that a folder can hold; what was not measured has no file."""


def write(bench: Bench, folder: Path) -> list[Path]:
    """Write a report and return the paths of its files; the same data gives the same bytes.

    All is made before the first file is written, and a file of an earlier report that this one has
    nothing for is removed.

    Args:
        bench: the data.
        folder: is made where it is missing.

    Raises:
        EngineError: matplotlib is not installed.
    """
    # matplotlib takes its time to load, and a command that only offers reports does without.
    try:
        from scumble_bench.reports.cell_plots import memory, ratios, times
        from scumble_bench.reports.growth_plot import growth
        from scumble_bench.reports.limit_plot import limits
        from scumble_bench.reports.stage_plot import stages
        from scumble_bench.reports.style import DARK, render
    except ModuleNotFoundError as error:
        raise EngineError(
            f"plots need {error.name}, which is not installed: pip install 'scumble[bench]'."
        ) from error

    pictures: dict[str, tuple[str, bytes, bytes]] = {}
    for plot in (of(bench) for of in (ratios, times, stages, limits, growth, memory)):
        if plot is not None:
            pictures[plot.name] = (plot.told, render(plot), render(plot, DARK))
    files = {
        "bench.json": f"{bench.model_dump_json(indent=1)}\n".encode(),
        **csv_files(bench),
        **{f"{name}.png": light for name, (_, light, _) in pictures.items()},
        "report.html": bench_page(bench, pictures).encode(),
    }
    return write_all(folder, files, FILES)
