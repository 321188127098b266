"""Measures every inversion on held-out scenes: `python -m scumble_bench.rooms.inversions`.

Each inversion is asked for three things, at guidance 7.5 and otherwise with the defaults:

- `reconstruction`: the target prompt is the source prompt, with Prompt-to-Prompt. What comes back
  is compared with the picture, and so is what the autoencoder alone gives back.
- `colour`: another colour, with Prompt-to-Prompt's word swap and without LocalBlend, so that what
  stays outside is the inversion's doing. Scored as in `scumble_bench.rooms.methods`.
- `pose`: another pose of an animal, with MasaCtrl. Scored likewise.

Every edit pays for its own inversion. Prints the table as Markdown.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from rich.console import Console
from rich.progress import track

from scumble import Editor
from scumble.images import from_model, to_model
from scumble.models import find_checkpoint
from scumble_bench.latency.provenance import commit, provenance, versions
from scumble_bench.latency.report import write_report
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import Case, CaseSet, Kind, draw_cases
from scumble_bench.rooms.methods.measures import Bytes, psnr
from scumble_bench.rooms.methods.report import Unfinished, row_report
from scumble_bench.rooms.methods.scoring import Made, score

__all__ = ["ROWS", "TASKS", "Row", "as_markdown", "main", "measured"]

RESULTS = Path(__file__).resolve().parents[2] / "results" / "inversions.json"
Task: TypeAlias = Literal["reconstruction", "colour", "pose"]
SWAP = {"mode": "replace"}
TASKS: dict[Task, tuple[Kind, str, Mapping[str, Any]]] = {
    "reconstruction": ("colour", "prompt_to_prompt", SWAP),
    "colour": ("colour", "prompt_to_prompt", SWAP),
    "pose": ("pose", "masactrl", {}),
}
"""Task -> whose cases it takes, the method and its options."""
NOTES = (
    "Fewer steps than the published 50; rates and thresholds of null-text are spread alike.",
    "The judge is a small network with faults of its own: benchmarks/results/quality.json.",
    "vae_psnr is the best that any edit can reach, where psnr is taken.",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One inversion of the table.

    Attributes:
        name: no two rows have the same.
        inversion: the plugin.
        options: that are not its defaults.
    """

    name: str
    inversion: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


ROWS: tuple[Row, ...] = (
    Row("DDIM", "ddim"),
    Row("DDIM, timestep of the level it is at", "ddim", {"convention": "current"}),
    Row("direct", "direct"),
    Row("direct, timestep of the level it is at", "direct", {"convention": "current"}),
    Row("negative-prompt", "negative_prompt"),
    Row("proximal, soft, without anchor", "proximal", {"anchor": "none"}),
    Row("proximal, soft", "proximal"),
    Row("proximal, hard", "proximal", {"threshold": "hard"}),
    Row("edit-friendly DDPM", "edit_friendly"),
    Row("null-text", "null_text"),
)


def measured(
    editor: Editor, judge: Judge, row: Row, task: Task, case: Case, steps: int
) -> dict[str, float]:
    """Return measure -> value of one edit.

    Args:
        editor: remembers no sources.
        judge: says whether the edit was made.
        row: the inversion.
        task: what is asked for.
        case: of which picture.
        steps: DDIM steps.
    """
    _, method, options = TASKS[task]
    run = editor.edit(
        case.image,
        source=case.source,
        target=case.source if task == "reconstruction" else case.target,
        method=method,
        options=options,
        inversion=row.inversion,
        inversion_options=row.options,
        steps=steps,
    )
    before, after = np.asarray(run.source), np.asarray(run.image)
    cost = {"inversion_rows": float(run.rows.get("inversion", 0))}
    if task == "reconstruction":
        every = np.ones(before.shape[:2], dtype=bool)
        found = {
            "psnr": psnr(before, after, every),
            "vae_psnr": psnr(before, _rebuilt(editor, before), every),
            "rows": float(run.row_count),
            "gradients": float(run.gradient_count),
        }
    else:
        made = Made(before, after, run.row_count, run.gradient_count)
        found = score(task, case, made, judge, editor)
    return found | cost


def as_markdown(report: Mapping[str, Any]) -> str:
    """Return the table of a report: an inversion a line."""
    lines = [
        "| inversion | rows to invert | gradients | reconstruction | swap made | outside it "
        "| pose made | outside it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    means = {(row["name"], row["task"]): row["mean"] for row in report["rows"]}
    for name in dict.fromkeys(row["name"] for row in report["rows"]):
        back, swap, pose = (means[name, task] for task in TASKS)
        lines.append(
            f"| {name} | {back['inversion_rows']:.0f} | {back['gradients']:.0f} "
            f"| {back['psnr']:.1f} dB | {swap['success']:.0%} | {swap['psnr']:.1f} dB "
            f"| {pose['success']:.0%} | {pose['psnr']:.1f} dB |"
        )
    best = (means[report["rows"][0]["name"], task]["vae_psnr"] for task in TASKS)
    back, swap, pose = (f"{value:.1f} dB" for value in best)
    lines.append(f"| the autoencoder alone | | | {back} | | {swap} | | {pose} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, print; a run that was stopped goes on where it was."""
    chosen = _parser().parse_args(arguments)
    judge = Judge.load(CHECKPOINT / "judge")
    weights = {"rooms": find_checkpoint("rooms").fingerprint()}
    origin = provenance(chosen.threads, weights)
    key = {
        "edits": chosen.edits,
        "steps": chosen.steps,
        "engine": chosen.engine,
        "commit": commit(),
        "versions": versions(),
        "weights_sha256": weights,
    }
    unfinished = Unfinished(chosen.out.with_suffix(".part.json"), key)
    sets = {kind: draw_cases(kind, chosen.edits, judge) for kind, *_ in TASKS.values()}
    known = {(row["name"], row["task"]): row for row in unfinished.rows()}
    done: list[dict[str, Any]] = []
    with Editor.load(
        "rooms", chosen.engine, source_memory=0, threads=chosen.threads, gradient_engine="torch"
    ) as editor:
        for row, task, shown in _asked(chosen.rows):
            if (row.name, task) not in known:
                cases = track(sets[TASKS[task][0]].cases, f"{row.name}: {task}", disable=not shown)
                values = [measured(editor, judge, row, task, c, chosen.steps) for c in cases]
                named = {**asdict(replace(row, options=dict(row.options))), "task": task}
                known[row.name, task] = row_report(named, values, {})
            done.append(known[row.name, task])
            unfinished.keep(done)
        engines = editor.session.provenance(), editor.session.gradients.provenance()
    report: dict[str, Any] = {
        "steps": chosen.steps,
        "guidance": 7.5,
        "notes": list(NOTES),
        "engine": engines[0]["engine"],
        "gradient_engine": engines[1]["engine"],
        "left_out": [row.name for row in ROWS if chosen.rows and row.name not in chosen.rows],
        "cases": {kind: _told(found) for kind, found in sets.items()},
        "rows": done,
        "provenance": origin,
    }
    write_report(chosen.out, report)
    unfinished.remove()
    Console().print(as_markdown(report), markup=False, soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scumble_bench.rooms.inversions", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the figures")
    parser.add_argument("--edits", type=int, default=50, help="of each row and task")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps of each edit")
    parser.add_argument("--threads", type=int, help="of the engines")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="these alone")
    parser.add_argument("--engine", default="torch", help="of rows; gradients are torch's")
    return parser


def _asked(names: Sequence[str] | None) -> Iterator[tuple[Row, Task, bool]]:
    """Yield every row, or those of some names, with each task; and whether progress is shown."""
    shown = Console().is_terminal
    for row in ROWS:
        for task in TASKS if names is None or row.name in names else ():
            yield row, task, shown


def _rebuilt(editor: Editor, picture: Bytes) -> Bytes:
    """Return a picture that was encoded and decoded again."""
    engine = editor.session.engine
    return from_model(engine.decode(engine.encode_image(to_model(picture))))


def _told(found: CaseSet) -> dict[str, Any]:
    """Return what the file holds of the cases of a kind."""
    seeds = " ".join(str(case.seed) for case in found.cases)
    return {"looked_at": found.looked_at, "misjudged": found.misjudged, "seeds": seeds}


if __name__ == "__main__":
    raise SystemExit(main())
