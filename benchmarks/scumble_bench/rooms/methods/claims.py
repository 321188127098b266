"""What the papers claim, as comparisons of two rows; and whether it held.

The two rows of a claim made the same edits, so the difference is taken edit by edit. A claim holds
if the 95 % interval of the mean difference lies on the claimed side (for "no worse": not below a
margin that is written down with it). It is contrary if the interval lies on the other side, and not
shown if it reaches over both. Which it is changes nothing in the rows.

Of re-painting, only what is said of generated pictures is measured. On pictures that a user brings
it works at the level of the noise, and nothing is claimed for what comes of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from scumble_bench.rooms.methods.rows import Task

__all__ = ["CLAIMS", "Claim", "Values", "Verdict", "interval", "judged"]

Values: TypeAlias = Mapping[str, Sequence[float]]
"""Measure -> what each edit of a row has of it."""
Verdict: TypeAlias = Literal["held", "not shown", "contrary"]
DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Claim:
    """That one row has more of a measure than another.

    Attributes:
        said: by the paper, in a sentence.
        task: of both rows.
        row: name of the row that is to have more.
        than: name of the other.
        measure: of which.
        margin: how much less is still no less; 0 demands more.
    """

    said: str
    task: Task
    row: str
    than: str
    measure: str
    margin: float = 0.0


P2P = "Prompt-to-Prompt, swap"
DECIBELS = 0.5
SHARE = 0.05

CLAIMS: tuple[Claim, ...] = (
    Claim("direct inversion keeps the background better than DDIM inversion", "colour",
          P2P, "Prompt-to-Prompt, swap, DDIM inversion", "psnr"),
    Claim("MasaCtrl changes the pose where Prompt-to-Prompt does not", "pose",
          "MasaCtrl", P2P, "pose"),
    Claim("MasaCtrl keeps who is seen, where the prompt alone does not", "pose",
          "MasaCtrl", "no control", "identity"),
    Claim("MasaCtrl keeps who is seen no worse than Prompt-to-Prompt", "pose",
          "MasaCtrl", P2P, "identity", SHARE),
    Claim("MasaCtrl changes the pose where Prompt-to-Prompt does not, with prompts that do not say "
          "who is seen", "silent_pose", "MasaCtrl", P2P, "pose"),
    Claim("and keeps who is seen, where the prompt alone does not", "silent_pose",
          "MasaCtrl", "no control", "identity"),
    Claim("and keeps who is seen no worse than Prompt-to-Prompt", "silent_pose",
          "MasaCtrl", P2P, "identity", SHARE),
    Claim("MasaCtrl changes the pose of what is generated where Prompt-to-Prompt does not",
          "generated_pose", "MasaCtrl", P2P, "pose"),
    Claim("and keeps who is seen no worse than Prompt-to-Prompt", "generated_pose",
          "MasaCtrl", P2P, "identity", SHARE),
    Claim("and keeps the rest better than the prompt alone", "generated_pose",
          "MasaCtrl", "no control", "psnr"),
    Claim("MAG-Edit succeeds more often than Prompt-to-Prompt in crowded scenes", "crowded",
          "MAG-Edit", P2P, "success"),
    Claim("and keeps the background no worse", "crowded", "MAG-Edit", P2P, "psnr", DECIBELS),
    Claim("MAG-Edit succeeds more often than Prompt-to-Prompt with the same mask", "crowded",
          "MAG-Edit", "Prompt-to-Prompt, same mask", "success"),
    Claim("and keeps the background no worse than with the same mask", "crowded",
          "MAG-Edit", "Prompt-to-Prompt, same mask", "psnr", DECIBELS),
    Claim("swapping blocks of noise brings a thing nearer to its box than plain sampling", "layout",
          "layout swap", "plain sampling", "box_iou"),
    Claim("re-painting keeps the rest better than a new seed, of generated pictures", "repaint",
          "re-painting", "a new seed", "psnr"),
)  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by the bootstrap's percentiles, always the same."""
    of = np.asarray(values, dtype=float)
    rng = np.random.default_rng(0)
    means = of[rng.integers(len(of), size=(DRAWS, len(of)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def judged(claim: Claim, row: Values, than: Values) -> dict[str, Any]:
    """Return a claim with what was measured: means, difference, its interval, and the verdict.

    Args:
        claim: which.
        row: of the row that is to have more, an edit at the same place of both.
        than: of the other.

    Raises:
        ValueError: the rows have not made as many edits.
    """
    one, two = row[claim.measure], than[claim.measure]
    if len(one) != len(two):
        raise ValueError(
            f"{claim.row!r} made {len(one)} edits and {claim.than!r} {len(two)}; "
            "a claim compares the same edits."
        )
    apart = np.subtract(one, two)
    low, high = interval(apart.tolist())
    verdict: Verdict = "not shown"
    if low > -claim.margin:
        verdict = "held"
    elif high < -claim.margin:
        verdict = "contrary"
    return {
        **asdict(claim),
        "measured": [round(float(np.mean(one)), 4), round(float(np.mean(two)), 4)],
        "difference": round(float(apart.mean()), 4),
        "interval": [round(low, 4), round(high, 4)],
        "verdict": verdict,
    }
