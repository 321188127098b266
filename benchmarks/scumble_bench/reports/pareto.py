"""The quality of methods as files: the Pareto plot, its points as CSV, and both as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scumble.errors import EngineError
from scumble_bench.reports.files import write_all
from scumble_bench.reports.page import Cell, Shown, figure, paragraph, section, table
from scumble_bench.reports.points import QualityPoint, front
from scumble_bench.reports.tables import csv_bytes

__all__ = ["FILES", "ParetoReport", "pareto", "points_csv", "write_pareto"]

FILES = ("pareto.png", "pareto.csv")
NOTE = (
    "Only rows of one task are comparable: each asks for another edit. A point is on the front "
    "where no other of its task is at least as good in success, PSNR outside, rows and gradients, "
    "told no more (the true mask or not), and better in one of them."
)


@dataclass(frozen=True, slots=True)
class ParetoReport:
    """The points, ready to be put somewhere.

    Attributes:
        png: the plot; None where no point has a PSNR.
        csv: a line a point.
        html: a section for a page, which needs no other file; its parts are of
            `scumble_bench.reports.page`.
    """

    png: bytes | None
    csv: bytes
    html: str


def pareto(points: Sequence[QualityPoint]) -> ParetoReport:
    """Return points as plot, table and HTML; the same points give the same bytes.

    Raises:
        EngineError: matplotlib is not installed.
        ValueError: points of one task are of another number of pictures.
    """
    # matplotlib takes its time to load, and a command that only offers reports does without.
    try:
        from scumble_bench.reports.pareto_plot import pareto_plot
        from scumble_bench.reports.style import DARK, render
    except ModuleNotFoundError as error:
        raise EngineError(
            f"plots need {error.name}, which is not installed: pip install 'scumble[eval]'."
        ) from error

    plot = pareto_plot(points)
    light = render(plot) if plot else None
    drawn = figure(plot.told, light, render(plot, DARK)) if plot and light else ""
    best = front(points)
    html = section("Success against what is spared", paragraph(NOTE), drawn, _table(points, best))
    return ParetoReport(light, points_csv(points), html)


def points_csv(points: Sequence[QualityPoint]) -> bytes:
    """Return points as CSV, a line each; it needs no matplotlib."""
    best = front(points)
    return csv_bytes([_line(point, best) for point in points])


def write_pareto(points: Sequence[QualityPoint], folder: Path) -> list[Path]:
    """Write pareto.png and pareto.csv, whole or not at all, and return their paths.

    Raises:
        EngineError: matplotlib is not installed.
        ValueError: points of one task are of another number of pictures.
    """
    report = pareto(points)
    files = {"pareto.csv": report.csv}
    if report.png is not None:
        files["pareto.png"] = report.png
    return write_all(folder, files, FILES)


def _line(point: QualityPoint, best: Sequence[QualityPoint]) -> dict[str, object]:
    low, high = point.success_interval
    lowest, highest = point.psnr_interval or (None, None)
    return {
        **point.model_dump(include={"task", "label", "method", "inversion", "masked"}),
        "success": point.success,
        "success_low": low,
        "success_high": high,
        "psnr": point.psnr,
        "psnr_low": lowest,
        "psnr_high": highest,
        "ceiling": point.ceiling,
        "rows": point.rows,
        "gradients": point.gradients,
        "pictures": point.pictures,
        "front": None if point.psnr is None else point in best,
        "engine": point.engine,
        "also": "; ".join(point.also),
        "origin": point.origin,
    }


def _table(points: Sequence[QualityPoint], best: Sequence[QualityPoint]) -> str:
    rows: list[list[Shown]] = []
    for point in points:
        low, high = point.success_interval
        psnr = point.psnr
        place = "" if psnr is None else "front" if point in best else "dominated"
        rows.append(
            [
                point.task,
                point.label,
                *(point.method, point.inversion or "none"),
                Cell(f"{point.success:.0%} ({low:.0%} to {high:.0%})", point.success),
                Cell("no outside" if psnr is None else f"{psnr:.2f} dB", psnr),
                *(Cell(f"{count:.0f}", count) for count in (point.rows, point.gradients)),
                "true mask" if point.masked else "",
                Cell(str(point.pictures), point.pictures),
                place,
                "; ".join(point.also),
            ]
        )
    headings = (
        "task", "label", "method", "inversion", "edits made", "PSNR outside", "rows", "gradients",
        "told", "pictures", "place", "also measured as",
    )  # fmt: skip
    return table("every point, with the 95 % interval of its success", headings, rows)
