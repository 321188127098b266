"""Measures the baselines on held-out scenes: `python -m scumble_bench.rooms.baselines`.

Every row edits the same pictures: another colour of one thing (the cases `colour` of
`scumble_bench.rooms.methods`, scored as there), in as many steps as there, with every option at its
default unless the row says otherwise. Measures beside those:

- `mask_iou`: of the mask that was used with the true one of the thing, both at latent size; only
  where there was one.
- `kept`: the share of the edits whose thing still has its old colour.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from scumble import Editor
from scumble.masks import mask_to_latent
from scumble.models import find_checkpoint
from scumble_bench.latency.provenance import provenance
from scumble_bench.latency.report import write_report
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import Case, draw_cases
from scumble_bench.rooms.methods.measures import Bytes, iou
from scumble_bench.rooms.methods.report import row_report
from scumble_bench.rooms.methods.rows import filled
from scumble_bench.rooms.methods.scoring import Made, score

__all__ = ["BASELINES", "Baseline", "edited", "main"]

RESULTS = Path(__file__).resolve().parents[2] / "results" / "baselines.json"
P2P = "prompt_to_prompt"
THING = {"words": ["{word}", "{noun}"]}


@dataclass(frozen=True, slots=True)
class Baseline:
    """One row of the table.

    Attributes:
        name: no two rows have the same.
        method: the plugin.
        options: of it; `{noun}` and `{word}` stand for what a case has there.
        masked: whether the true mask of the thing is given.
        asked: further fields of the request.
    """

    name: str
    method: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    masked: bool = False
    asked: Mapping[str, Any] = field(default_factory=dict[str, Any])


# Windows of no length: the target prompt, sampled from the picture's inverted noise.
NOTHING = {"cross_window": 0, "self_window": 0}
BASELINES: tuple[Baseline, ...] = (
    Baseline("no control", P2P, NOTHING),
    Baseline("SDEdit", "sdedit"),
    Baseline("SDEdit, strength 0.5", "sdedit", {"strength": 0.5}),
    Baseline("Blended Latent Diffusion, true mask", "blended_latent_diffusion", masked=True),
    Baseline("DiffEdit", "diffedit"),
    Baseline("DiffEdit, true mask", "diffedit", masked=True),
    Baseline("Plug-and-Play", "plug_and_play"),
    Baseline("LEDITS++, target alone", "ledits_pp", asked={"source": ""}),
    Baseline("LEDITS++, words named", "ledits_pp", THING, asked={"source": ""}),
    Baseline("Prompt-to-Prompt", P2P),
    Baseline("Prompt-to-Prompt, DiffEdit's mask", P2P, asked={"masking": "diffedit"}),
    Baseline("Prompt-to-Prompt, true mask", P2P, masked=True),
)


def edited(editor: Editor, row: Baseline, case: Case, steps: int) -> tuple[Made, dict[str, float]]:
    """Make one edit, and tell how its mask compares with the true one.

    Args:
        editor: a loaded model that remembers no sources, so that each edit pays for its own.
        row: says how.
        case: says what.
        steps: DDIM steps.
    """
    asked: dict[str, Any] = {"source": case.source, **row.asked}
    run = editor.edit(
        case.image,
        target=case.target,
        method=row.method,
        options=filled(row.options, case),
        mask=case.mask if row.masked else None,
        steps=steps,
        **asked,
    )
    made = Made(np.asarray(run.source), np.asarray(run.image), run.row_count, run.gradient_count)
    found: dict[str, float] = {}
    if "" in run.masks:
        mask = run.masks[""] > 0
        found["mask_iou"] = iou(mask, mask_to_latent(case.mask, (mask.shape[0], mask.shape[1])))
    return made, found


def measured(
    editor: Editor, row: Baseline, cases: Sequence[Case], judge: Judge, steps: int
) -> tuple[dict[str, Any], Bytes]:
    """Return what the file holds of a row, and the results' pictures, (edits, h, w, 3) bytes."""
    values: list[dict[str, float]] = []
    pictures: list[Bytes] = []
    for case in track(cases, description=row.name, transient=True):
        made, found = edited(editor, row, case, steps)
        (verdict,) = judge(made.after[None])
        (before,) = judge(made.before[None])
        kept = float(verdict.sees(case.noun, before.colour[case.noun]))
        values.append(score("colour", case, made, judge, editor) | found | {"kept": kept})
        pictures.append(made.after)
    engine = editor.session.provenance()["engine"]
    described = {**asdict(row), "options": dict(row.options), "asked": dict(row.asked)}
    return row_report(described, values, {"engine": engine}), np.stack(pictures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(prog="scumble_bench.rooms.baselines", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--sheets", type=Path, help="folder for a sheet of pictures a row")
    parser.add_argument("--model", default="rooms")
    parser.add_argument("--edits", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in BASELINES])
    chosen = parser.parse_args(arguments)
    judge = Judge.load(CHECKPOINT / "judge")
    found = draw_cases("colour", chosen.edits, judge)
    origin = provenance(chosen.threads, {chosen.model: find_checkpoint(chosen.model).fingerprint()})
    done: list[dict[str, Any]] = []
    sheets: dict[str, Bytes] = {"source": np.stack([case.image for case in found.cases])}
    wanted = [row for row in BASELINES if not chosen.rows or row.name in chosen.rows]
    with Editor.load(
        chosen.model, "onnxruntime", source_memory=0, threads=chosen.threads
    ) as editor:
        for row in wanted:
            report, sheets[row.name] = measured(editor, row, found.cases, judge, chosen.steps)
            done.append(report)
    if chosen.sheets is not None:
        save_sheets(sheets, chosen.sheets)
    report = {
        "steps": chosen.steps,
        "guidance": 7.5,
        "cases": {
            "looked_at": found.looked_at,
            "misjudged": found.misjudged,
            "seeds": " ".join(str(case.seed) for case in found.cases),
        },
        "rows": done,
        "provenance": origin,
    }
    write_report(chosen.out, report)
    Console().print(table(report))
    return 0


def save_sheets(pictures: Mapping[str, Bytes], folder: Path) -> None:
    """Write the pictures of each row side by side as a PNG, all in the same order."""
    # Loads torch, which nothing else here needs.
    from scumble_bench.rooms.samples import save_sheet

    for name, of in pictures.items():
        save_sheet(of, folder / f"{name.replace(' ', '-').replace(',', '')}.png")


def table(report: Mapping[str, Any]) -> Table:
    """Return the rows as they are printed."""
    headings = ("success", "kept", "psnr", "ssim", "structure", "mask_iou", "rows")
    made = Table("method", *headings, title=f"{report['steps']} steps, colours")
    for row in report["rows"]:
        mean = row["mean"]
        made.add_row(row["name"], *(f"{mean[n]:.2f}" if n in mean else "" for n in headings))
    return made


if __name__ == "__main__":
    sys.exit(main())
