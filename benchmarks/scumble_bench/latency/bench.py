"""The whole of `scumble bench`: every part of the report, one after the other."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from scumble.errors import OptionError
from scumble.models import Checkpoint, find_checkpoint
from scumble_bench.latency import gradients
from scumble_bench.latency.growth import AXES, GrowthPlan, measure_growth
from scumble_bench.latency.interleaving import cause_of
from scumble_bench.latency.limits.ceiling import COPIED, SHAPES, measure_ceilings
from scumble_bench.latency.limits.variant_costs import Subject, measure_variants
from scumble_bench.latency.matrix.axes import Axes, CellSpec, native_pixels
from scumble_bench.latency.matrix.editors import Editors
from scumble_bench.latency.matrix.judging import NOT_ASKED, judged
from scumble_bench.latency.matrix.loading import measure_loading
from scumble_bench.latency.matrix.measuring import Begin, Matrix, measure_matrix
from scumble_bench.latency.matrix.shaped import measure_shapes
from scumble_bench.latency.parts import Settings
from scumble_bench.latency.provenance import provenance
from scumble_bench.latency.records import (
    Bench,
    Ceiling,
    Growth,
    Loading,
    Measured,
    VariantCost,
)
from scumble_bench.latency.targets import Finding
from scumble_bench.peers.peer import PEERS, PeerEntry

__all__ = ["SHORT_PEERS", "BenchPlan", "peers_named", "run_bench", "shortened"]

T = TypeVar("T")

SHORT_PEERS = (
    "plain diffusers", "plain onnxruntime", "reference prompt_to_prompt", "reference masactrl",
    "reference mag_edit",
)  # fmt: skip
"""Those that need no compiler and no runtime that may be missing."""


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is to be measured.

    Attributes:
        axes: of the matrix.
        peers: names in the registry.
        baseline: part of the name of the cell that ratios are against; empty chooses.
        rounds: timed runs of each cell.
        warmup: untimed runs before.
        threads: of every runtime; None leaves their own choice.
        device: `auto`, `cpu` or `cuda`.
        seed: of pictures' last bits, and of what is generated.
        memory: whether peaks of memory are measured.
        loading: whether the time to load is.
        build: whether engines are built anew.
        export: whether packs are exported.
        limits: whether variants are set against the device's limits.
        growth: whether growth is measured.
        gradient: whether a gradient's graph is compared with torch's gradient.
        rows: of each variant's step.
        grows: where growth is measured.
        shapes: folder of a checkpoint with SD1.5's shapes, written if it is not there; None leaves
            these cells out.
        shapes_pack: a pack of it, for engines that run packs.
        products: (m, k, n) of matrix products for the ceiling.
        copied: bytes of the copy for the bandwidth.
    """

    axes: Axes = field(default_factory=Axes)
    peers: tuple[str, ...] = tuple(entry.name for entry in PEERS)
    baseline: str = ""
    rounds: int = 5
    warmup: int = 1
    threads: int | None = None
    device: str = "cpu"
    seed: int = 0
    memory: bool = True
    loading: bool = True
    build: bool = False
    export: bool = False
    limits: bool = True
    growth: bool = True
    gradient: bool = True
    rows: int = 3
    grows: GrowthPlan = field(default_factory=GrowthPlan)
    shapes: Path | None = None
    shapes_pack: Path | None = None
    products: tuple[tuple[int, int, int], ...] = SHAPES
    copied: int = COPIED


def shortened(plan: BenchPlan) -> BenchPlan:
    """Return a plan that ends within ten minutes on two cores; what was asked for is kept."""
    usual = BenchPlan()
    return replace(
        plan,
        axes=plan.axes.shortened(10),
        peers=SHORT_PEERS if plan.peers == usual.peers else plan.peers,
        rounds=3 if plan.rounds == usual.rounds else plan.rounds,
        grows=GrowthPlan(steps=(4, 8, 16), edits=(1, 2, 3), edit_steps=4, rounds=3),
    )


def run_bench(plan: BenchPlan, begin: Begin = lambda what, turns: lambda name: None) -> Bench:
    """Measure everything and return the report.

    Args:
        plan: what is measured.
        begin: told of what is done.

    Raises:
        ModelError: no such model.
        OptionError: a peer that there is not, no cell at all, or no such baseline.
    """
    models = {model: find_checkpoint(model) for model in plan.axes.models}
    peers = peers_named(plan.peers)
    specs = plan.axes.cells({name: native_pixels(found) for name, found in models.items()})
    weights = {name: found.fingerprint() for name, found in models.items()}
    origin = provenance(plan.threads, weights)
    with Editors(plan.device, plan.threads) as editors:
        matrix = Matrix(
            specs, peers, plan.baseline, plan.rounds, plan.warmup, plan.memory, plan.seed
        )
        cells, baseline = measure_matrix(matrix, editors, begin)
        loaded = list({(s.model, s.engine, s.precision): s for s in specs}.values())
        ceilings = _ceilings(plan, begin) if plan.limits else ()
        variants = _variants(plan, editors, models, loaded, ceilings, begin) if plan.limits else ()
        growth = _growth(plan, editors, loaded, begin) if plan.growth else ()
    gc.collect()
    gradient, why = _gradient(plan, begin)
    shapes, whyless = _shapes(plan, begin)
    return Bench(
        provenance=origin,
        settings=_settings(plan),
        baseline=baseline,
        cells=(*cells, *shapes),
        ceilings=ceilings,
        variants=variants,
        growth=growth,
        loading=_loading(plan, loaded, begin) if plan.loading else (),
        targets=judged(cells, gradient, why, shapes, whyless),
    )


def peers_named(names: Sequence[str]) -> tuple[PeerEntry, ...]:
    """Return entries of the registry.

    Raises:
        OptionError: there is none of a name.
    """
    known = {entry.name: entry for entry in PEERS}
    for name in names:
        if name not in known:
            raise OptionError(f"no peer {name!r}; there are: {', '.join(known)}.")
    return tuple(known[name] for name in names)


def _ceilings(plan: BenchPlan, begin: Begin) -> tuple[Ceiling, ...]:
    tell = begin("matrix products", 1)
    device = "cuda" if plan.device.startswith("cuda") else "cpu"
    found = measure_ceilings(
        plan.axes.precisions, plan.threads, device, plan.products, plan.rounds, plan.copied
    )
    tell("best of all shapes")
    return found


def _variants(
    plan: BenchPlan,
    editors: Editors,
    models: dict[str, Checkpoint],
    loaded: Sequence[CellSpec],
    ceilings: Sequence[Ceiling],
    begin: Begin,
) -> tuple[VariantCost, ...]:
    def measure(spec: CellSpec) -> tuple[VariantCost, ...]:
        editor = editors.for_cell(spec)
        subject = Subject(editor, spec.model, spec.engine, spec.precision, models[spec.model])
        return measure_variants(subject, ceilings, plan.rows, plan.rounds)

    def failed(spec: CellSpec, why: str) -> tuple[VariantCost, ...]:
        where = _where(spec)
        return (VariantCost(**where, variant="plain", rows=plan.rows, size=spec.size, failure=why),)

    return _each("variants", loaded, measure, failed, begin)


def _growth(
    plan: BenchPlan, editors: Editors, loaded: Sequence[CellSpec], begin: Begin
) -> tuple[Growth, ...]:
    def measure(spec: CellSpec) -> tuple[Growth, ...]:
        return measure_growth(editors.for_cell(spec), spec.model, AXES, plan.grows)

    def failed(spec: CellSpec, why: str) -> tuple[Growth, ...]:
        where: dict[str, Any] = {"engine": spec.engine, "model": spec.model}
        return (Growth(axis="rows", unit="rows", points=(), failure=why, **where),)

    # Of one precision only: a line says how time grows, and a report has one for each engine.
    one = {(spec.model, spec.engine): spec for spec in reversed(loaded)}
    return _each("growth", list(one.values())[::-1], measure, failed, begin)


def _loading(plan: BenchPlan, loaded: Sequence[CellSpec], begin: Begin) -> tuple[Loading, ...]:
    def measure(spec: CellSpec) -> tuple[Loading, ...]:
        given: dict[str, Any] = {"device": plan.device, "threads": plan.threads}
        return (measure_loading(spec, build=plan.build, export=plan.export, **given),)

    def failed(spec: CellSpec, why: str) -> tuple[Loading, ...]:
        where = _where(spec)
        return (Loading(**where, failure=why),)

    return _each("loading", loaded, measure, failed, begin)


def _where(spec: CellSpec) -> dict[str, Any]:
    return {"engine": spec.engine, "precision": spec.precision, "model": spec.model}


def _each(
    what: str,
    loaded: Sequence[CellSpec],
    measure: Callable[[CellSpec], tuple[T, ...]],
    failed: Callable[[CellSpec, str], tuple[T, ...]],
    begin: Begin,
) -> tuple[T, ...]:
    """Return what is measured of each model on each engine, or why it was not."""
    tell = begin(what, len(loaded))
    found: list[T] = []
    for spec in loaded:
        # Whatever hinders one engine is reported as the reason, and the others go on.
        try:
            found += measure(spec)
        except Exception as error:  # as said above
            found += failed(spec, cause_of(error))
        tell(f"{spec.model}, {spec.engine} {spec.precision}")
    return tuple(found)


def _gradient(plan: BenchPlan, begin: Begin) -> tuple[Sequence[Finding], str]:
    """Return the findings on a gradient's graph, or none and why."""
    if not plan.gradient:
        return (), NOT_ASKED
    tell = begin("gradients", 1)
    settings = Settings(
        shape=Path(), model=plan.axes.models[0], rounds=plan.rounds, threads=plan.threads
    )
    # Whatever hinders it is the reason why there is no verdict.
    try:
        return gradients.measure(settings).findings, ""
    except Exception as error:  # as said above
        return (), cause_of(error)
    finally:
        tell("torch and onnxruntime")


def _shapes(plan: BenchPlan, begin: Begin) -> tuple[tuple[Measured, ...], str]:
    """Return the cells with SD1.5's shapes, or none and why."""
    if plan.shapes is None:
        return (), "no checkpoint with SD1.5's shapes was asked for: --shapes FOLDER"
    tell = begin("SD1.5 shapes", 1)
    settings = Settings(
        shape=plan.shapes,
        shape_pack=plan.shapes_pack,
        engines=tuple(plan.axes.engines),
        steps=max(plan.axes.steps),
        rounds=plan.rounds,
        warmup=plan.warmup,
        threads=plan.threads,
        device=plan.device,
    )
    # Whatever hinders it is the reason why there is no verdict.
    try:
        return measure_shapes(settings), NOT_ASKED
    except Exception as error:  # as said above
        return (), cause_of(error)
    finally:
        tell("composed, and a short edit run whole")


def _settings(plan: BenchPlan) -> dict[str, Any]:
    """Return the plan as JSON takes it, axes among the rest; of a folder its name alone.

    Where it lies is the machine's own affair, and a report is shown to others.
    """
    told: dict[str, Any] = {}
    for part in (plan.axes, plan):
        for each in fields(part):
            value: Any = getattr(part, each.name)
            if each.name not in ("axes", "grows", "products", "copied"):
                told[each.name] = value.name if isinstance(value, Path) else value
    return told
