"""A finished run, told in lines or as JSON."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from scumble.cli.flags import Output
from scumble.cli.output import print_json, remark
from scumble.cli.reporting import shown
from scumble.runs import Run

__all__ = ["tell"]


def tell(
    output: Output,
    run: Run,
    seconds: float,
    images: Sequence[Path],
    **more: Any,
) -> None:
    """Print what a run did.

    Args:
        output: how.
        run: the run.
        seconds: from start to end, loading included.
        images: where its pictures were written.
        more: further results, each a path, a sentence or a table of either.
    """
    for note in run.notes:
        remark(output, f"note: {note}")
    if output.as_json:
        print_json(
            {
                "images": [str(path) for path in images],
                **{name: _plain(value) for name, value in more.items()},
                "rows": run.rows,
                "row_count": run.row_count,
                "seconds": round(seconds, 3),
                "timings": {stage: round(spent, 3) for stage, spent in run.timings.items()},
                "notes": list(run.notes),
                "recipe": run.recipe,
            }
        )
    elif not output.quiet:
        for path in images:
            _line("wrote", str(path))
        for name, value in more.items():
            for text in _lines(value):
                _line(name.replace("_", " "), text)
        _line("rows", f"{run.row_count} ({_listed(run.rows)})")
        stages = {stage: f"{spent:.1f}" for stage, spent in run.timings.items() if spent >= 0.05}
        _line("seconds", f"{seconds:.1f} ({_listed(stages)})" if stages else f"{seconds:.1f}")


def _line(name: str, text: str) -> None:
    print(f"{name:<8} {shown(text)}")


def _listed(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        parts = cast("dict[str, Any]", value).values()
        return [text for part in parts for text in _lines(part)]
    return [] if value is None else [str(value)]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in cast("dict[str, Any]", value).items()}
    return str(value) if isinstance(value, Path) else value
