"""What each precision costs in exactness: `python -m scumble_bench.precision_errors`.

Steps of the torch engine with every edit in force, compared with fp64; and the pictures of the
demo's edits, compared with fp32. Written to benchmarks/results/precision_errors.json.
"""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from scumble import Editor
from scumble.arrays import Array, Floats
from scumble.engine import EngineSettings, Precision
from scumble.models import find_checkpoint
from scumble.ports import PortSizes, neutral
from scumble.session import Session
from scumble_bench.demo_edits import EDITS, PICTURES
from scumble_bench.latency.precision import psnr
from scumble_bench.latency.provenance import provenance
from scumble_bench.latency.report import write_report
from scumble_engines.torch import TorchEngine

__all__ = ["edited_step", "main", "parser", "picture_errors", "step_errors"]

RESULTS = Path(__file__).resolve().parents[1] / "results" / "precision_errors.json"
TIMESTEPS = (900, 500, 100)
ROWS = 3


def edited_step(session: Session, timestep: int) -> dict[str, Array]:
    """Return a step of random latents that routes, mixes and reads as an edit does.

    Rows are [source, target without text, target with it]; the last takes the source's queries and
    keys, and half of its cross-attention. Two words are read where words separate best.
    """
    info = session.info
    sites, sizes = info.sites, info.sizes(info.sites.native)
    rng = np.random.default_rng(timestep)
    ports: dict[str, Array] = {
        "sample": rng.standard_normal((ROWS, *sizes.latent)),
        "timestep": np.full(ROWS, timestep, dtype=np.int64),
        **session.text_ports(("a red sofa", "", "a blue sofa"), info.sites.native),
        **neutral("route", sizes, ROWS),
        **_mix(sizes),
        **neutral("read", sizes, ROWS),
    }
    ports["route"][:, :2, 2] = 0
    ports["read.weights"] = np.zeros((ROWS, 2, sizes.tokens))
    ports["read.weights"][:, [0, 1], [3, 6]] = 1
    ports["read.sites"][list(sites.select("cross", strides=(sites.map_stride,)))] = 1
    return ports


def _mix(sizes: PortSizes) -> dict[str, Array]:
    ports = neutral("mix", sizes, ROWS)
    ports["mix.source"][2] = np.eye(sizes.tokens) / 2
    ports["mix.own"][2] = 0.5
    ports["mix.row"][2] = 0
    ports["mix.sites"][:, 2] = 1
    return ports


def step_errors(model: str | Path, precisions: Sequence[Precision]) -> dict[str, dict[str, float]]:
    """Return each precision's distance to fp64, the worst over the timesteps.

    `noise` is the root of the mean square, `noise_most` the largest value, both relative to the
    noise's own; `map` is the largest difference of maps scaled to a maximum of 1, as blends are.
    """
    with ExitStack() as stack:
        sessions: dict[Precision, Session] = {}
        for precision in ("fp64", *precisions):
            engine = stack.enter_context(TorchEngine(EngineSettings(precision, "cpu")))
            sessions[precision] = Session(find_checkpoint(model), engine)
        found: dict[str, dict[str, float]] = {}
        for timestep in TIMESTEPS:
            ports = edited_step(sessions["fp64"], timestep)
            noise, maps = _outputs(sessions["fp64"], ports)
            for precision in precisions:
                mine, read = _outputs(sessions[precision], ports)
                apart = {
                    "noise": float(np.linalg.norm(mine - noise) / np.linalg.norm(noise)),
                    "noise_most": float(np.abs(mine - noise).max() / np.abs(noise).max()),
                    "map": float(np.abs(read - maps).max()),
                }
                worst = found.setdefault(precision, apart)
                found[precision] = {name: max(worst[name], apart[name]) for name in apart}
    return found


def _outputs(session: Session, ports: Mapping[str, Array]) -> tuple[Floats, Floats]:
    """Return noise, and the maps scaled to a maximum of 1 each."""
    output = session.step(ports, "precision")
    (read,) = output.reads.values()
    return output.noise, read / read.max(axis=(2, 3), keepdims=True)


def picture_errors(model: str, precision: Precision, edits: int, steps: int) -> dict[str, float]:
    """Return the PSNR in dB of each demo edit's picture to the one in fp32."""
    found: dict[str, float] = {}
    with ExitStack() as stack:
        editors = [
            stack.enter_context(Editor.load(model, engine="torch", device="cpu", precision=chosen))
            for chosen in ("fp32", precision)
        ]
        for edit in EDITS[:edits]:
            (picture,) = (p for p in PICTURES if p.name == edit.picture)
            asked: dict[str, Any] = {
                "source": picture.prompt,
                "target": edit.target,
                "options": edit.options,
                "steps": steps,
            }
            one, other = (editor.edit(picture.path, **asked).image for editor in editors)
            found[f"{edit.picture}, {edit.kind}"] = round(psnr(one, other), 2)
    return found


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="scumble_bench.precision_errors", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--out", type=Path, default=RESULTS, help="file of the figures")
    made.add_argument("--models", nargs="+", default=["rooms"], help="whose steps are compared")
    made.add_argument("--edits", type=int, default=len(EDITS), help="demo edits to compare")
    made.add_argument("--steps", type=int, default=50, help="of each")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    chosen = parser().parse_args(arguments)
    report: dict[str, Any] = {"steps_to_fp64": {}}
    for model in chosen.models:
        report["steps_to_fp64"][Path(model).name] = step_errors(model, ("fp32", "bf16"))
    if chosen.edits:
        report["pictures_to_fp32"] = {
            "bf16, PSNR in dB": picture_errors("rooms", "bf16", chosen.edits, chosen.steps),
            "steps": chosen.steps,
        }
    weights = {Path(model).name: find_checkpoint(model).fingerprint() for model in chosen.models}
    write_report(chosen.out, {**report, "provenance": provenance(None, weights)})


if __name__ == "__main__":
    main()
