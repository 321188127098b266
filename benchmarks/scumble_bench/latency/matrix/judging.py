"""The targets of the benchmark, and the verdict on each, told by the cells of a report.

A ratio is that of the reference way of the same method, model, size, steps and precision over ours,
round by round; it is not the ratio to the report's baseline, which may be something else.
"""

from collections.abc import Iterable, Sequence

from scumble_bench.latency.interleaving import Spread
from scumble_bench.latency.records import Measured, TargetVerdict
from scumble_bench.latency.targets import Finding, Target, verdicts

__all__ = ["TARGETS", "judged", "ratio_of"]

METHODS = ("prompt_to_prompt", "masactrl", "mag_edit")
BOUNDS = {"first": 4.0, "next": 8.0}
SHARE = 0.02
"""Of a step with SD1.5's shapes, what may pass outside the UNet."""
NOT_ASKED = "no cell of it was asked for"


def _edits() -> Iterable[Target]:
    for method in METHODS:
        for edit, bound in BOUNDS.items():
            # Of MAG-Edit nothing is said of a next edit: its gradients are all new.
            if (method, edit) != ("mag_edit", "next"):
                says = f"{edit} edit by {method}, against the reference way"
                yield Target(f"{method}.{edit}", says, bound, "at least", "times")


TARGETS: tuple[Target, ...] = (
    *_edits(),
    Target("shapes.first", "first edit by prompt_to_prompt with SD1.5's shapes, composed, against "
           "the reference way", 4, "at least", "times"),
    Target("shapes.next", "next edit of it, likewise", 8, "at least", "times"),
    Target("gradient.graph", "a gradient of MAG-Edit's loss by torch over the ONNX graph's",
           1, "at least", "times"),
    Target("host.share", "host overhead with SD1.5's shapes", SHARE, "at most", "of a step"),
)  # fmt: skip


def judged(
    cells: Sequence[Measured],
    gradient: Sequence[Finding] = (),
    why_no_gradient: str = NOT_ASKED,
    shapes: Sequence[Measured] = (),
    why_no_shapes: str = NOT_ASKED,
) -> tuple[TargetVerdict, ...]:
    """Return a verdict on each target and engine.

    Args:
        cells: of the matrix.
        gradient: findings on the gradient's graph.
        why_no_gradient: said where there is none.
        shapes: cells with SD1.5's shapes, with the reference way's beside them.
        why_no_shapes: said where there is none.
    """
    found: list[TargetVerdict] = []
    for method in METHODS:
        findings = [f for edit in BOUNDS for f in _against_reference(cells, method, edit)]
        found += _verdicts(method, findings, NOT_ASKED)
    composed = [
        Finding(f"shapes.{f.target.partition('.')[2]}", f.engine, f.value, f.why)
        for edit in BOUNDS
        for f in _against_reference([c for c in shapes if c.composed], "prompt_to_prompt", edit)
    ]
    found += _verdicts("shapes", composed, why_no_shapes)
    found += _verdicts("gradient", gradient, why_no_gradient)
    shares = [
        Finding("host.share", c.engine, None if c.host_share is None else c.host_share.median,
                c.failure or ("" if c.host_share is not None else "its stages are not known"))
        for c in shapes
        if not c.peer and not c.composed
    ]  # fmt: skip
    found += _verdicts("host", shares, why_no_shapes)
    return tuple(found)


def ratio_of(above: Measured, below: Measured) -> Spread | None:
    """Return the spread of above / below over the rounds that both have; None for no round."""
    pairs = zip(above.seconds, below.seconds, strict=False)
    return Spread.of(tuple(first / second for first, second in pairs))


def _verdicts(part: str, findings: Sequence[Finding], why: str) -> list[TargetVerdict]:
    told = verdicts(part, findings, why, TARGETS)
    return [TargetVerdict.model_validate(verdict) for verdict in told]


def _against_reference(cells: Sequence[Measured], method: str, edit: str) -> Iterable[Finding]:
    for cell in cells:
        if cell.peer or cell.method != method or cell.edit != edit:
            continue
        name = f"{method}.{edit}"
        # Where several engines were composed, each has the reference's steps of its own rounds.
        mine = [c for c in cells if c.method == f"reference {method}" and _alike(c, cell)]
        if not mine:
            yield Finding(name, cell.engine, None, "the reference way was not run beside it")
            continue
        reference = mine[0]
        why = "; ".join(f"{c.name}: {c.failure}" for c in (reference, cell) if c.failure)
        yield Finding(name, _who(cell), ratio_of(reference, cell), why)


def _alike(reference: Measured, cell: Measured) -> bool:
    same = ("model", "size", "steps", "precision", "composed")
    alike = all(getattr(reference, name) == getattr(cell, name) for name in same)
    return alike and (not cell.composed or reference.name.endswith(f"beside {cell.engine}"))


def _who(cell: Measured) -> str:
    precision = "" if cell.precision == "fp32" else f" {cell.precision}"
    told = "" if cell.convention == "target" else f", {cell.convention}"
    return f"{cell.engine}{precision}{told}"
