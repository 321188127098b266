"""Every variant of a model's UNet against what the device could do at best."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from scumble import Editor
from scumble.errors import UnsupportedError
from scumble.models import Checkpoint
from scumble.packs import Variant
from scumble_bench.latency.gradients import gradient_ports
from scumble_bench.latency.interleaving import Cell, cause_of, interleave
from scumble_bench.latency.limits.onnx_flops import count_file
from scumble_bench.latency.neutral_steps import neutral_ports, neutral_step
from scumble_bench.latency.records import Ceiling, Range, VariantCost

__all__ = ["Subject", "against", "measure_variants", "peak_of", "variant_call"]

GRAPHLESS = (
    "there is no pack of this model to count in; export one into its folder 'pack', or name a "
    "pack as the model"
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model on an engine.

    Attributes:
        editor: with both.
        model: as it was named.
        engine: its name.
        precision: of the UNet.
        checkpoint: as `find_checkpoint` gave it; its pack's graphs are counted.
    """

    editor: Editor
    model: str
    engine: str
    precision: str
    checkpoint: Checkpoint


def measure_variants(
    subject: Subject, ceilings: Sequence[Ceiling], rows: int, rounds: int
) -> tuple[VariantCost, ...]:
    """Time one call of each variant, all interleaved, and set it against the limits.

    The FLOPs are those of the pack's graphs, on every engine: what the mathematics asks for. A
    torch step computes the same without a graph. A gradient is of one row.
    """
    info = subject.editor.session.info
    height, width = (side * info.factor for side in info.sites.native)
    given: dict[str, Any] = {
        "engine": subject.engine,
        "precision": subject.precision,
        "model": subject.model,
        "size": (height, width),
    }
    pack = subject.checkpoint.pack
    if pack is None or pack.manifest is None:
        return (VariantCost(**given, variant="plain", rows=rows, failure=GRAPHLESS),)
    cells: list[Cell] = []
    failed: dict[str, str] = {}
    engine = subject.editor.session.engine
    # Where an engine runs no packs, a look is a whole step and a gradient no graph.
    variants = {
        name: variant
        for name, variant in pack.manifest.variants.items()
        if engine.runs == "pack" or not variant.truncated
    }
    for name, variant in variants.items():
        # What an engine has no ports for is said of that variant, and the others go on.
        try:
            call = variant_call(subject.editor, variant, rows)
            cells.append(Cell(name, call, prepare=call))
        except Exception as error:  # as said above
            failed[name] = cause_of(error)
    done = interleave(*cells, rounds=rounds) if cells else None
    found: list[VariantCost] = []
    for name, variant in variants.items():
        batch = _rows_of(variant, rows)
        why = failed.get(name) or (done.failure(name) if done is not None else "")
        if why or done is None:
            found.append(VariantCost(**given, variant=name, rows=batch, failure=why))
            continue
        cost = count_file(pack.folder / variant.file, batch)
        made = VariantCost(
            **given,
            variant=name,
            rows=batch,
            flops=float(cost.flops),
            bytes=float(cost.bytes),
            seconds=Range.of(done.timings[name].seconds),
        )
        found.append(against(made, peak_of(ceilings, subject.precision)))
    return tuple(found)


def variant_call(editor: Editor, variant: Variant, rows: int) -> Callable[[], object]:
    """Return a function that runs a variant once with ports that edit nothing.

    Raises:
        UnsupportedError: the engine has no ports for it.
    """
    engine = editor.session.engine
    groups = frozenset(variant.groups)
    looks = variant.truncated and "loss" not in groups
    if not engine.supports(groups) and not looks:
        raise UnsupportedError(f"engine {engine.name!r} has no such variant")
    if "loss" in groups:
        ports = gradient_ports(editor)
        return lambda: engine.gradient(ports)
    if looks:
        ports = neutral_ports(editor, groups, rows)
        return lambda: engine.look(ports)
    return neutral_step(editor, variant.groups, rows)


def against(cost: VariantCost, peak: Ceiling | None) -> VariantCost:
    """Return a cost with its fraction of peak, its bandwidth and what would bound an ideal run.

    Args:
        cost: with FLOPs, bytes and seconds.
        peak: of its precision; None says nothing about it.
    """
    if cost.flops is None or cost.bytes is None or cost.seconds is None:
        return cost
    seconds = cost.seconds.median
    more: dict[str, Any] = {"bandwidth": cost.bytes / seconds}
    if peak is not None:
        computing = cost.flops / peak.flops_per_second
        moving = cost.bytes / peak.bytes_per_second
        more["fraction_of_peak"] = computing / seconds
        more["bound"] = "compute" if computing >= moving else "memory"
    return cost.model_copy(update=more)


def peak_of(ceilings: Sequence[Ceiling], precision: str) -> Ceiling | None:
    """Return the highest ceiling of a precision, whichever engine reached it; None without any."""
    fitting = [ceiling for ceiling in ceilings if ceiling.precision == precision]
    return max(fitting, key=lambda ceiling: ceiling.flops_per_second, default=None)


def _rows_of(variant: Variant, rows: int) -> int:
    return 1 if "loss" in variant.groups else rows
