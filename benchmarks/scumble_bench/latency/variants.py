"""Part `variants`: what ports cost that edit nothing, with SD1.5's shapes at equal rows."""

from scumble.models import find_checkpoint
from scumble.ports import Group
from scumble_bench.latency.interleaving import Cell, cause_of, interleave
from scumble_bench.latency.neutral_steps import neutral_step
from scumble_bench.latency.parts import Part, Settings
from scumble_bench.latency.shapes import write_shape
from scumble_bench.latency.targets import Finding

__all__ = ["ROWS", "VARIANTS", "measure"]

ROWS = 3
"""Source and the two rows of a target: an edit's step under direct inversion."""

VARIANTS: dict[str, tuple[Group, ...]] = {
    "plain": (),
    "routed": ("route", "mix"),
    "reading": ("route", "mix", "read"),
}


def measure(settings: Settings) -> Part:
    """Time one step of each variant on each engine, one engine at a time."""
    folder = write_shape(settings.shape)
    part = Part({"rows": ROWS, "size": settings.size, "ports": VARIANTS})
    part.weights["shape"] = find_checkpoint(folder).fingerprint()
    for engine in settings.engines:
        targets = {"variants.routed": "routed", "variants.reading": "reading"}
        try:
            model = settings.shape_for(engine)
            with settings.load(model, engine) as editor:
                cells = [
                    Cell(name, neutral_step(editor, groups, ROWS, settings.size))
                    for name, groups in VARIANTS.items()
                ]
                done = interleave(*cells, rounds=settings.rounds, warmup=settings.warmup)
        # Whatever hinders one engine is reported as the reason, and the others go on.
        except Exception as error:
            why = cause_of(error)
            part.findings += [Finding(target, engine, None, why) for target in targets]
            continue
        part.comparisons[engine] = done
        for target, name in targets.items():
            why = done.failure("plain", name)
            part.findings.append(Finding(target, engine, done.ratio(name, "plain"), why))
    return part
