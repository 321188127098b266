"""`scumble demo`: three picture files, three edits each, what changed and what stayed."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from PIL import Image, ImageFilter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from scumble import Editor, Run
from scumble.errors import EngineError
from scumble.images import from_model, load_picture, to_model
from scumble.masks import load_mask
from scumble.strips import strip
from scumble_bench.demo_edits import EDITS, PICTURES, DemoEdit, DemoPicture
from scumble_bench.rooms import CHECKPOINT

if TYPE_CHECKING:
    from scumble_bench.rooms.judge import Judge

SIZE = 128
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)
HEADINGS = ("picture", "edit", "the judge sees", "asked", "stayed dB", "VAE dB", "rows", "s")

__all__ = ["Outcome", "demo", "edit_all", "psnr"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row of the demo's table.

    Attributes:
        picture: file name.
        kind: swap, refine or reweight.
        target: target prompt.
        changed: what the judge sees of the thing before and after.
        as_asked: True if the judge sees what was asked for; None where it cannot tell.
        stayed: PSNR in dB to the source outside the thing.
        autoencoder: the same for the source encoded and decoded: the best there is.
        rows: row evaluations, inversion included.
        seconds: of the edit, loading excluded.
        engine: that ran the UNet.
    """

    picture: str
    kind: str
    target: str
    changed: str
    as_asked: bool | None
    stayed: float
    autoencoder: float
    rows: int
    seconds: float
    engine: str


def psnr(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any], where: np.ndarray[Any, Any]) -> float:
    """Return the peak signal-to-noise ratio in dB of two uint8 pictures where a mask is True."""
    error = (a.astype(float) - b.astype(float))[where] / 255
    return float(-10 * np.log10(max(float(np.square(error).mean()), 1e-10)))


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
    """Edit three pictures by word swap, refinement and re-weighting, and measure the result."""
    console = Console(stderr=as_json)
    out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    with Progress(*COLUMNS, console=console, transient=True) as progress:
        task = progress.add_task("loading", total=len(EDITS) * steps)

        def advance(what: str) -> None:
            progress.update(task, advance=1, description=what)

        outcomes = edit_all(out, steps, advance, model, engine)
    spent = time.perf_counter() - begun
    if as_json:
        edits = [asdict(outcome) for outcome in outcomes]
        print(json.dumps({"seconds": spent, "out": str(out), "edits": edits}))
        return
    console.print(_table(outcomes))
    console.print(f"{spent:.0f} s in all; pictures, strips and heat maps are in {out}/")


def edit_all(
    out: Path,
    steps: int,
    advance: Callable[[str], None],
    model: str = "rooms",
    engine: str | None = None,
) -> list[Outcome]:
    """Edit every picture in every way, write the results, and return the table's rows.

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
                outcomes.append(_outcome(picture, edit, run, judge, editor, seconds))
            _save_strip(out, picture, runs)
    return outcomes


def _outcome(
    picture: DemoPicture,
    edit: DemoEdit,
    run: Run,
    judge: "Judge",
    editor: Editor,
    seconds: float,
) -> Outcome:
    before, after = np.asarray(run.source), np.asarray(run.image)
    first, second = judge(np.stack([before, after]))
    original = load_picture(picture.path).size
    inside = load_mask(picture.mask_of(edit.thing), original, fitted=(SIZE, SIZE))
    # A little more than the thing: its shadow and outline change with it.
    grown = Image.fromarray(inside.astype(np.uint8)).filter(ImageFilter.MaxFilter(13))
    outside = np.asarray(grown) == 0
    engine = editor.session.engine
    rebuilt = from_model(engine.decode(engine.encode_image(to_model(before))))
    shown = edit.becomes or edit.thing
    now = f"{second.colour[shown]} {shown}" if second.sees(shown) else f"no {shown}"
    judged = edit.becomes is not None or edit.colour is not None
    return Outcome(
        picture=picture.path.name,
        kind=edit.kind,
        target=edit.target,
        changed=f"{first.colour[edit.thing]} {edit.thing} -> {now}",
        as_asked=bool(second.sees(shown, edit.colour)) if judged else None,
        stayed=psnr(before, after, outside),
        autoencoder=psnr(before, rebuilt, outside),
        rows=run.row_count,
        seconds=seconds,
        engine=run.provenance["engine"],
    )


def _save_strip(out: Path, picture: DemoPicture, runs: list[tuple[DemoEdit, Run]]) -> None:
    """Write one strip a picture: source, where the thing's word looks, and every result."""
    thing = runs[0][0].thing
    source = runs[0][1].source
    heat = runs[0][1].maps.of(thing, 0)
    heat.heat((SIZE, SIZE)).save(out / f"{picture.path.stem}-{thing}-heat.png")
    panels = [source, heat.overlay(source), *(run.image for _, run in runs)]
    labels = [picture.prompt, f"where {thing!r} looks", *(e.label for e, _ in runs)]
    strip(panels, labels, scale=2).save(out / f"{picture.path.stem}-strip.png")


def _table(outcomes: list[Outcome]) -> Table:
    engines = ", ".join(dict.fromkeys(row.engine for row in outcomes))
    table = Table(title=f"What changed, what stayed ({engines})")
    for heading in HEADINGS:
        table.add_column(heading)
    for row in outcomes:
        asked = {True: "yes", False: "no", None: "-"}[row.as_asked]
        table.add_row(
            row.picture,
            row.kind,
            row.changed,
            asked,
            f"{row.stayed:.1f}",
            f"{row.autoencoder:.1f}",
            str(row.rows),
            f"{row.seconds:.1f}",
        )
    return table
