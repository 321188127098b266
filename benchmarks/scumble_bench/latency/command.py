"""`scumble bench`: how long edits take, by which engine, beside what else there is."""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scumble.errors import EngineError, OptionError

if TYPE_CHECKING:
    from scumble_bench.latency.records import Bench

__all__ = ["bench", "pixels"]

JSON = "bench.json"
FAILED = 1
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TextColumn("{task.fields[what]}"),
)
LISTED = "repeat for several"


def bench(
    method: Annotated[
        list[str] | None,
        typer.Option(help=f"Plugin; {LISTED}.", show_default="P2P, MasaCtrl, MAG-Edit"),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(help=f"Engine; {LISTED}.", show_default="torch, onnxruntime"),
    ] = None,
    precision: Annotated[
        list[str] | None, typer.Option(help=f"Of the UNet; {LISTED}.", show_default="fp32")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help=f"Name, folder or pack; {LISTED}.", show_default="rooms"),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help=f"HEIGHTxWIDTH in pixels; {LISTED}.", show_default="the model's own"),
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option(min=1, help=f"DDIM steps; {LISTED}.", show_default="50")
    ] = None,
    convention: Annotated[
        list[str] | None,
        typer.Option(
            help="target or current, of the inversion of a first edit.", show_default="both"
        ),
    ] = None,
    edit: Annotated[
        list[str] | None, typer.Option(help=f"first or next; {LISTED}.", show_default="both")
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(help=f"What else is run; {LISTED}; none: no peer.", show_default="all"),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            help="Cell that ratios are against, or a part of its name.",
            show_default="the reference way for P2P",
        ),
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Timed runs of each cell.")] = 5,
    warmup: Annotated[int, typer.Option(min=0, help="Untimed runs before.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of every runtime.", show_default="their own choice")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(min=0, help="Of pictures' last bits and noise.")] = 0,
    short: Annotated[
        bool, typer.Option("--short", help="10 steps, 3 rounds, fewer peers: within ten minutes.")
    ] = False,
    memory: Annotated[bool, typer.Option(help="Measure peaks of memory.")] = True,
    loading: Annotated[bool, typer.Option(help="Measure the time to load.")] = True,
    limits: Annotated[bool, typer.Option(help="Set variants against the device.")] = True,
    growth: Annotated[bool, typer.Option(help="Measure what time grows with.")] = True,
    gradient: Annotated[bool, typer.Option(help="Compare the gradient's graph.")] = True,
    export: Annotated[bool, typer.Option("--export", help="Time the export of packs.")] = False,
    build: Annotated[bool, typer.Option("--build", help="Time the building of engines.")] = False,
    shapes: Annotated[
        Path | None,
        typer.Option(help="Folder of SD1.5's shapes, 3.4 GB, written if it is not there."),
    ] = None,
    shapes_pack: Annotated[Path | None, typer.Option(help="A pack of that folder.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report.")] = Path("out/bench"),
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two reports: print the ratios of cells of one name; nothing is run."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure latency: methods, engines, peers and the device's limits, as ratios."""
    console = Console(stderr=as_json)
    if compare is not None:
        _compare(*compare, console, as_json)
        return
    # Here and not above: help must not need a runtime.
    try:
        from scumble_bench.latency.bench import BenchPlan, run_bench, shortened
        from scumble_bench.latency.matrix.axes import Axes
        from scumble_bench.latency.printing import failures, print_bench
        from scumble_bench.reports import write
    except ImportError as error:
        raise _missing(error) from error
    usual = Axes()
    edits: Any = tuple(edit or usual.edits)
    if not set(edits) <= set(usual.edits):
        raise OptionError(f"edit is {', '.join(edits)}; want first or next.")
    told: Any = tuple(convention or usual.conventions)
    if not set(told) <= set(usual.conventions):
        raise OptionError(f"convention is {', '.join(told)}; want target or current.")
    axes = Axes(
        methods=tuple(method or usual.methods),
        engines=tuple(engine or usual.engines),
        precisions=tuple(precision or usual.precisions),
        models=tuple(model or usual.models),
        sizes=tuple(pixels(each) for each in size) if size else usual.sizes,
        steps=tuple(steps or usual.steps),
        edits=edits,
        conventions=told,
    )
    plan = BenchPlan(
        axes=axes, baseline=baseline, rounds=rounds, warmup=warmup, threads=threads, device=device,
        seed=seed, memory=memory, loading=loading, build=build, export=export, limits=limits,
        growth=growth, gradient=gradient, shapes=shapes, shapes_pack=shapes_pack,
    )  # fmt: skip
    if peer:
        plan = replace(plan, peers=() if peer == ["none"] else tuple(peer))
    with Progress(*COLUMNS, console=console, transient=True) as bar:
        made = run_bench(shortened(plan) if short else plan, _beginner(bar))
    paths = write(made, out)
    if as_json:
        print(made.model_dump_json())
    else:
        print_bench(made, console)
        console.print(f"{out}/: {', '.join(path.name for path in paths)}", markup=False)
    if any(cell.failure for cell in made.cells):
        for line in failures(made) if as_json else ():
            console.print(f"failed: {line}", markup=False)
        raise typer.Exit(FAILED)


def pixels(text: str) -> tuple[int, int]:
    """Return (height, width) of what was given as `HEIGHTxWIDTH`.

    Raises:
        OptionError: it is something else.
    """
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None:
        raise OptionError(f"size is {text!r}; want HEIGHTxWIDTH in pixels, such as 128x128.")
    return int(found[1]), int(found[2])


def _beginner(bar: Progress) -> Callable[[str, int], Callable[[str], object]]:
    """Return what shows each stretch of work as a bar of its own."""

    def begin(what: str, turns: int) -> Callable[[str], object]:
        task = bar.add_task(what, total=turns, what="")
        return lambda name: bar.update(task, advance=1, what=name)

    return begin


def _compare(first: Path, second: Path, console: Console, as_json: bool) -> None:
    """Print two reports side by side."""
    from scumble_bench.reports import compare
    from scumble_bench.reports.comparison_table import print_comparison

    found = compare(_read(first), _read(second))
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        print_comparison(found, console)


def _read(path: Path) -> "Bench":
    from pydantic import ValidationError

    from scumble_bench.latency.records import Bench

    try:
        return Bench.read(path)
    except (OSError, ValidationError) as error:
        raise OptionError(
            f"'{path}' is no report of this program; give a {JSON} that `scumble bench` wrote."
        ) from error


def _missing(error: ImportError) -> EngineError:
    return EngineError(
        f"the benchmark needs {error.name}, which is not installed: pip install 'scumble[bench]'."
    )
