"""`scumble demo`: what changed and what stayed.

Three picture files are edited by Prompt-to-Prompt in three ways each, and four further methods
make an edit each.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scumble import Editor, Run
from scumble.engine import GUIDED, engines_with
from scumble.errors import EngineError
from scumble.strips import strip
from scumble_bench.demo_edits import (
    EDITS,
    METHOD_EDITS,
    PICTURES,
    DemoEdit,
    DemoPicture,
    MethodEdit,
)
from scumble_bench.demo_outcomes import SIZE, LeftOut, Outcome, of_edit, of_method, table_of
from scumble_bench.rooms import CHECKPOINT

if TYPE_CHECKING:
    from scumble_bench.rooms.judge import Judge

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)

__all__ = ["demo", "edit_all"]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for pictures, strips and heat maps.")] = Path(
        "out"
    ),
    steps: Annotated[int, typer.Option(min=1, help="DDIM steps.")] = 50,
    model: Annotated[str, typer.Option(help="rooms, or a model trained on its world.")] = "rooms",
    engine: Annotated[
        str | None,
        typer.Option(
            help="What runs the UNet.", show_default="onnxruntime for a model with a pack"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Edit pictures by five methods, and measure the results."""
    console = Console(stderr=as_json)
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with Progress(*COLUMNS, console=console, transient=True) as progress:
        task = progress.add_task("loading", total=(len(EDITS) + len(METHOD_EDITS)) * steps)

        def advance(what: str) -> None:
            progress.update(task, advance=1, description=what)

        outcomes, left_out = edit_all(out, steps, advance, model, engine)
    spent = time.perf_counter() - begun
    if as_json:
        edits = [asdict(outcome) for outcome in outcomes]
        missing = [asdict(one) for one in left_out]
        report = {"seconds": spent, "out": str(out), "edits": edits, "left_out": missing}
        print(json.dumps(report))
        return
    console.print(table_of(outcomes))
    for one in left_out:
        console.print(f"left out: {one.kind}, {one.target!r}: {one.why}")
    console.print(f"{spent:.0f} s in all; pictures, strips and heat maps are in {out}/")


def edit_all(
    out: Path,
    steps: int,
    advance: Callable[[str], None],
    model: str = "rooms",
    engine: str | None = None,
) -> tuple[list[Outcome], list[LeftOut]]:
    """Make every edit, write the results, and return the table's rows and what was left out.

    Args:
        out: an existing folder.
        steps: DDIM steps.
        advance: told of each step.
        model: as `Editor.load` takes it.
        engine: likewise.

    Raises:
        EngineError: the judge's runtime is not installed.
    """
    # Here and not above: help must not need a runtime.
    try:
        from scumble_bench.rooms.judge import Judge
    except ImportError as error:
        raise EngineError(
            f"the demo's judge needs {error.name}, which is not installed: "
            "pip install 'scumble[onnxruntime]'."
        ) from error
    judge = Judge.load(CHECKPOINT / "judge")
    outcomes: list[Outcome] = []
    left_out: list[LeftOut] = []
    with Editor.load(model, engine) as editor:
        for picture in PICTURES:
            runs: list[tuple[DemoEdit, Run]] = []
            for edit in (e for e in EDITS if e.picture == picture.name):
                begun = time.perf_counter()
                run = editor.edit(
                    picture.path,
                    source=picture.prompt,
                    target=edit.target,
                    options=edit.options,
                    steps=steps,
                    callback_on_step_end=lambda _, e=edit: advance(f"{e.picture}: {e.kind}"),
                )
                seconds = time.perf_counter() - begun
                run.save(out / f"{picture.path.stem}-{edit.kind}.png")
                runs.append((edit, run))
                outcomes.append(of_edit(picture, edit, run, judge, editor, seconds))
            _save_strip(out, picture, runs)
        for edit in METHOD_EDITS:
            if edit.gradients and not editor.session.gradients.engine.supports(GUIDED):
                name = editor.session.engine.name
                others = ", ".join(engines_with(GUIDED)) or "none that is installed"
                why = f"it needs gradients, which {name} has none of here; engines with: {others}."
                left_out.append(LeftOut(edit.method, edit.target, why))
                continue
            outcomes.append(_by_method(out, edit, editor, judge, steps, advance))
    return outcomes, left_out


def _by_method(
    out: Path,
    edit: MethodEdit,
    editor: Editor,
    judge: "Judge",
    steps: int,
    advance: Callable[[str], None],
) -> Outcome:
    """Make one edit by a method, and write its result and a strip."""
    picture = edit.picture
    begun = time.perf_counter()
    run = editor.edit(
        None if picture is None else picture.path,
        source=edit.source,
        target=edit.target,
        mask=picture.mask_of(edit.thing) if picture is not None and edit.masked else None,
        method=edit.method,
        options=edit.options,
        seed=edit.seed,
        steps=steps,
        callback_on_step_end=lambda _: advance(edit.method),
    )
    seconds = time.perf_counter() - begun
    stem = edit.method if picture is None else f"{picture.path.stem}-{edit.method}"
    run.save(out / f"{stem}.png")
    strip([run.source, run.image], [edit.source, edit.label], scale=2).save(
        out / f"{stem}-strip.png"
    )
    return of_method(edit, run, judge, editor, seconds)


def _save_strip(out: Path, picture: DemoPicture, runs: list[tuple[DemoEdit, Run]]) -> None:
    """Write one strip a picture: source, where the thing's word looks, and every result."""
    thing = runs[0][0].thing
    source = runs[0][1].source
    heat = runs[0][1].maps.of(thing, 0)
    heat.heat((SIZE, SIZE)).save(out / f"{picture.path.stem}-{thing}-heat.png")
    panels = [source, heat.overlay(source), *(run.image for _, run in runs)]
    labels = [picture.prompt, f"where {thing!r} looks", *(e.label for e, _ in runs)]
    strip(panels, labels, scale=2).save(out / f"{picture.path.stem}-strip.png")
