"""The targets of the accelerated core, each with its threshold, and the verdict on what was found.

Ratios are of interleaved runs in one process: at least so many times as fast as the reference way,
at most so many times as slow as the plain variant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from scumble_bench.latency.interleaving import Spread

__all__ = ["TARGETS", "Finding", "Target", "verdicts"]


@dataclass(frozen=True, slots=True)
class Target:
    """What is aimed at.

    Attributes:
        name: `PART.WHAT`.
        says: in words.
        bound: the threshold.
        side: which side of it is good.
        unit: of the value.
    """

    name: str
    says: str
    bound: float
    side: Literal["at least", "at most"]
    unit: Literal["times", "seconds", "dB", "ms", "of a step"]

    @property
    def part(self) -> str:
        """The part of the measurements that decides it."""
        return self.name.partition(".")[0]

    def met_by(self, value: float) -> bool:
        """Return whether a value is on the good side; the threshold itself is."""
        return value >= self.bound if self.side == "at least" else value <= self.bound


TARGETS = (
    Target("demo.first", "demo checkpoint: first edit of a picture against the reference way",
           4, "at least", "times"),
    Target("demo.next", "demo checkpoint: next edit of it against the reference way",
           8, "at least", "times"),
    Target("demo.seconds", "demo checkpoint: first edit, in the low seconds, which is read as five",
           5, "at most", "seconds"),
    Target("shapes.first", "SD1.5 shapes, composed: first edit against the reference way",
           4, "at least", "times"),
    Target("shapes.next", "SD1.5 shapes, composed: next edit against the reference way",
           8, "at least", "times"),
    Target("variants.routed", "SD1.5 shapes: routed variant with neutral ports over plain",
           1.10, "at most", "times"),
    Target("variants.reading", "SD1.5 shapes: reading variant over plain",
           1.15, "at most", "times"),
    Target("precision.bf16", "SD1.5 shapes: a step in fp32 over one in bf16 with AMX",
           2, "at least", "times"),
    Target("precision.psnr", "demo edits: bf16 picture to fp32 picture, the worst of them",
           35, "at least", "dB"),
    Target("gradient.graph", "demo checkpoint: a gradient of MAG-Edit by torch over the graph's",
           1, "at least", "times"),
    Target("gpu.row", "SD1.5 shapes, 512x512, fp16 on a GPU: one row of three",
           2.5, "at most", "ms"),
    Target("gpu.next", "SD1.5 shapes, 512x512, fp16 on a GPU, composed: next edit without VAE",
           0.3, "at most", "seconds"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """What was measured for a target on an engine.

    Attributes:
        target: its name.
        engine: what ran.
        value: the median, or None where nothing was measured.
        why: a sentence where nothing was, or where the value does not decide the target.
    """

    target: str
    engine: str
    value: Spread | float | None
    why: str = ""


def verdicts(
    part: str, findings: Iterable[Finding], why: str = "", targets: Iterable[Target] = TARGETS
) -> list[dict[str, Any]]:
    """Return an entry for each target of a part and engine: met, missed, or not measured and why.

    Args:
        part: whose targets.
        findings: what it measured.
        why: said of a target without any.
        targets: of all parts.
    """
    known = list(findings)
    found: list[dict[str, Any]] = []
    for target in targets:
        if target.part == part:
            mine = [finding for finding in known if finding.target == target.name]
            missing = Finding(target.name, "any", None, why)
            found += [_verdict(target, finding) for finding in mine or [missing]]
    return found


def _verdict(target: Target, finding: Finding) -> dict[str, Any]:
    value = finding.value.median if isinstance(finding.value, Spread) else finding.value
    verdict = "not measured"
    if value is not None and not finding.why:
        verdict = "met" if target.met_by(value) else "missed"
    return {
        "target": target.name,
        "says": target.says,
        "engine": finding.engine,
        "threshold": f"{target.side} {target.bound:g} {target.unit}",
        "value": None if value is None else float(f"{value:.6g}"),
        "spread": finding.value.as_json() if isinstance(finding.value, Spread) else None,
        "verdict": verdict,
        "why": finding.why,
    }
