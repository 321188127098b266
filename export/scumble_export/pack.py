"""From a diffusers checkpoint to a pack: every graph traced, compared with torch, and then written.

Nothing is left half-made: the pack is built under another name and renamed when it is whole.
"""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
from torch import nn

from scumble.arrays import Array
from scumble.engine import EngineSettings, ModelInfo
from scumble.errors import ModelError, OptionError
from scumble.models import Checkpoint
from scumble.packs import MANIFEST, Manifest, PackPrecision, SiteEntry, Variant
from scumble.ports import Group
from scumble.sites import SiteTable
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.losses import GuidedUNet
from scumble_engines.torch.ported import PortedUNet
from scumble_export.component_graphs import write_components
from scumble_export.differentiating import differentiated
from scumble_export.graph import ROWS, TERMS, WORDS, Declaration, declare
from scumble_export.probing import sensitivity
from scumble_export.tracing import TOLERANCE, computed, parity
from scumble_export.writing import GraphWriter

__all__ = ["VARIANTS", "export_pack"]

VARIANTS: dict[str, tuple[Group, ...]] = {
    "plain": (),
    "routed": ("route", "mix"),
    "reading": ("route", "mix", "read"),
    "masked": ("route", "mix", "read", "region"),
    "recording": ("route", "mix", "read", "record"),
    "replaying": ("route", "mix", "read", "replay"),
    "joint": ("route", "mix", "read", "join"),
    "featured": ("route", "feature"),
    "looking": ("read",),
    "guiding": ("route", "mix", "replay", "loss"),
}
"""Variant -> port groups. `looking` and `guiding` end where the last map is known, without noise:
one gives maps, the other the gradient of a loss on them."""
TRUNCATED = frozenset({"looking", "guiding"})
OPSETS = (21, 23)
TRACED_ROWS = 3
LARGE = 200_000_000
"""Parameters from which a step takes seconds: parity is then taken at two rows alone."""
Cases: TypeAlias = list[tuple[dict[str, Array], list[Array]]]
MADE_WITH = ("scumble", "torch", "diffusers", "transformers", "onnx", "onnxscript")


def export_pack(
    checkpoint: Checkpoint,
    out: Path,
    *,
    opset: int = 23,
    precision: PackPrecision = "fp32",
    size: tuple[int, int] | None = None,
    variants: Sequence[str] = tuple(VARIANTS),
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Manifest:
    """Write a pack.

    Args:
        checkpoint: a diffusers folder.
        out: the pack's folder; must not exist.
        opset: 23 keeps each attention one operator; 21 is for older runtimes.
        precision: of the UNet; text and pictures are encoded in fp32.
        size: (height, width) in pixels of the pictures it is for; None is the model's native size.
        variants: names from `VARIANTS`.
        progress: told what is being done, and which share is done.

    Raises:
        OptionError: an unknown variant or opset, or a folder that exists.
        ModelError: a graph that differs from its declaration or from torch; nothing is written.
    """
    unknown = sorted(set(variants) - set(VARIANTS))
    if unknown or not variants:
        raise OptionError(
            f"no variant {', '.join(unknown) or 'given'}; there are {', '.join(VARIANTS)}."
        )
    if opset not in OPSETS:
        raise OptionError(f"opset is {opset}, want {' or '.join(map(str, OPSETS))}.")
    if checkpoint.manifest is not None:
        raise ModelError(f"{checkpoint.name!r} is a pack already; export the diffusers folder.")
    if out.exists() or out.is_symlink():
        raise OptionError(f"'{out}' exists; name a folder that does not.")
    if not out.parent.is_dir():
        raise OptionError(f"'{out.parent}' is no folder; make it first.")
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise OptionError(f"'{out.parent}' cannot be written: {error.strerror}.") from error
    try:
        plan = _Plan(tuple(dict.fromkeys(variants)), opset, precision, size)
        manifest = _write(checkpoint, draft, plan, progress)
        draft.chmod(0o755)
        os.replace(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is asked of an export."""

    variants: tuple[str, ...]
    opset: int
    precision: PackPrecision
    size: tuple[int, int] | None

    def fit(self, info: ModelInfo) -> ModelInfo:
        """Return the model, its native size that of the pack."""
        if self.size is None:
            return info
        height, width = self.size
        step = info.factor * max(site.stride for site in info.sites)
        if height % step or width % step or min(self.size) < step:
            raise OptionError(f"size is {height}x{width}; this model needs multiples of {step}.")
        latent = (height // info.factor, width // info.factor)
        return replace(info, sites=SiteTable(tuple(info.sites), latent))


def _write(
    checkpoint: Checkpoint, folder: Path, plan: _Plan, progress: Callable[[str, float], None]
) -> Manifest:
    # Every variant is computed by torch, then traced; then come the components.
    stages = 2 * len(plan.variants) + 2
    progress("loading", 0)
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        info = plan.fit(engine.load(checkpoint))
        sizes = info.sizes(info.sites.native)
        strides = (info.sites.map_stride,)
        declarations = [
            declare(name, VARIANTS[name], sizes, strides, plan.precision, name in TRUNCATED)
            for name in plan.variants
        ]
        unet = engine.parts.unet
        cases: list[Cases] = []
        for done, declaration in enumerate(declarations, 1):
            progress(f"unet, {declaration.name}: torch", done / stages)
            cases.append(_cases(engine, declaration))
        if plan.precision == "fp16":
            unet.half()
        written: dict[str, Variant] = {}
        with GraphWriter(folder, plan.opset) as writer:
            for done, declaration in enumerate(declarations, 1 + len(declarations)):
                progress(f"unet, {declaration.name}", done / stages)
                probed = {port for variant in written.values() for port in variant.sensitivity}
                known = cases.pop(0)
                written[declaration.name] = _unet(engine, declaration, writer, known, probed)
            progress("text encoder and autoencoder", (stages - 1) / stages)
            components = write_components(engine.parts, sizes, info.factor, writer)
    for part in (*(path.name for path in checkpoint.tokenizers), "scheduler"):
        shutil.copytree(checkpoint.folder / part, folder / part)
    return _finish(checkpoint, folder, info, plan, written, components, writer.remarks)


def _module(engine: TorchEngine, declaration: Declaration, *, fused: bool = True) -> nn.Module:
    """Return what torch computes a variant with; it takes the declared inputs in order."""
    unet, bus, signature = engine.parts.unet, engine.parts.bus, declaration.signature
    if declaration.guiding:
        sites = declaration.map_sites
        module = GuidedUNet(unet, bus, signature.inputs, signature.latent, sites, fused=fused)
        return module.eval()
    return PortedUNet(unet, bus, signature).eval()


def _cases(engine: TorchEngine, declaration: Declaration) -> Cases:
    """Return random inputs, with what torch in fp32 makes of them."""
    large = sum(weight.numel() for weight in engine.parts.unet.parameters()) > LARGE
    module = _module(engine, declaration)
    cases: Cases = []
    for rows in (2,) if large else (1, 2, 5):
        inputs = declaration.examples(rows, seed=rows)
        # Recorded state is as wide as the graph's; torch computes in fp32.
        wide = {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in inputs.items()}
        cases.append((inputs, computed(module, wide)))
    return cases


def _unet(
    engine: TorchEngine,
    declaration: Declaration,
    writer: GraphWriter,
    cases: Cases,
    probed: set[str],
) -> Variant:
    """Trace, check and write one variant."""
    dynamic = [
        {axis: size for axis, size in enumerate(axes) if isinstance(size, str)}
        for axes, _ in declaration.taken.values()
    ]
    file = f"unet.{declaration.name}.onnx"
    examples = declaration.examples(TRACED_ROWS, seed=0)
    module = _module(engine, declaration, fused=False)
    if declaration.guiding:
        module = differentiated(module, examples)
    graph = writer.write(file, module, examples, dynamic, declaration.outputs, declaration)
    worst, found = parity(graph, cases, TOLERANCE[declaration.precision])
    # Ports are changed in a step of two rows; a gradient has one alone.
    wanted = 1 if declaration.guiding else 2
    base = next(i for i, (inputs, _) in enumerate(cases) if inputs["sample"].shape[0] == wanted)
    # By name, or by their group where a group was probed at once.
    fresh = [port.name for port in declaration.inputs if not {port.name, port.group} & probed]
    return Variant(
        file=file,
        groups=declaration.groups,
        parity=worst,
        truncated=declaration.name in TRUNCATED,
        sensitivity=sensitivity(
            graph,
            declaration,
            fresh,
            base=(cases[base][0], found[base]),
            groups_at_once=len(cases) == 1,
        ),
    )


def _finish(
    checkpoint: Checkpoint,
    folder: Path,
    info: ModelInfo,
    plan: _Plan,
    variants: dict[str, Variant],
    components: dict[str, str],
    remarks: dict[str, tuple[str, ...]],
) -> Manifest:
    files = {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    sizes = info.sizes(info.sites.native)
    fields = SiteEntry.model_fields
    manifest = Manifest(
        precision=plan.precision,
        opset=plan.opset,
        latent=sizes.latent[1:],
        native=info.sites.native,
        channels=info.channels,
        factor=info.factor,
        tokens=info.tokens,
        features=info.features,
        pooled=info.pooled,
        zeroes_empty=checkpoint.zeroes_empty,
        rows=ROWS,
        words=WORDS,
        terms=TERMS,
        read_strides=(info.sites.map_stride,),
        sites=tuple(SiteEntry(**{f: getattr(site, f) for f in fields}) for site in info.sites),
        variants=variants,
        components=cast("Any", components),
        source=checkpoint.fingerprint(),
        remarks=remarks,
        versions={name: importlib.metadata.version(name) for name in MADE_WITH},
        files=files,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
