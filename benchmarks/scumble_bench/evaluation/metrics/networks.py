"""The metrics themselves, each network loaded once however many metrics use it.

Importing it loads torch; `loading` asks for it when everything else is in order.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from scumble_bench.evaluation.metrics.fidelity import mse, psnr, ssim
from scumble_bench.evaluation.metrics.measured import (
    Measured,
    of_edited,
    of_kept,
    of_structure,
    of_whole,
)
from scumble_bench.evaluation.metrics.metric import METRICS, Metric
from scumble_bench.evaluation.metrics.protocol import MetricProtocol

__all__ = ["make"]


def make(
    names: Sequence[str], files: Mapping[str, str | Path], protocol: MetricProtocol, device: str
) -> list[Metric]:
    """The metrics of those names, in that order.

    Args:
        names: out of `METRICS`.
        files: for what these metrics need, the file or folder.
        protocol: how edits are prepared.
        device: torch's name of a device, for the networks.

    Raises:
        ModelError: a file or folder cannot be used.
    """
    similarity = partial(ssim, cropped=protocol.ssim_cropped)
    measures = {"psnr": of_kept(psnr), "mse": of_kept(mse), "ssim": of_kept(similarity)}
    needed = {need for name in names for need in METRICS[name].needs}
    # Only what is needed is imported: without transformers the others still work.
    if "lpips" in needed:
        from scumble_bench.evaluation.metrics.lpips import Lpips

        measures["lpips"] = of_kept(Lpips(files["lpips"], device=device))
    if "clip" in needed:
        from scumble_bench.evaluation.metrics.clip import Clip

        clip = Clip(files["clip"], device=device)
        measures |= {"clip_whole": of_whole(clip), "clip_edited": of_edited(clip)}
    if "dino" in needed:
        from scumble_bench.evaluation.metrics.dino import Dino

        measures["structure"] = of_structure(Dino(files["dino"], protocol, device=device))
    return [Measured(METRICS[name], protocol, measures[name]) for name in names]
