"""From a diffusers checkpoint to a pack: every graph traced, compared with torch, and then written.

Nothing is left half-made: the pack is built under another name and renamed when it is whole.
"""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from torch import nn

from scumble.arrays import Array
from scumble.engine import EngineSettings
from scumble.errors import ModelError, OptionError
from scumble.models import Checkpoint
from scumble.packs import MANIFEST, Manifest, SiteEntry, Variant
from scumble.ports import Group, PortSizes
from scumble_engines.torch import TorchEngine
from scumble_export.components import Decoder, Encoder, TextEncoder
from scumble_export.graph import ROWS, WORDS, Declaration, PortedUNet, declare
from scumble_export.tracing import parity, require_declared, traced
from scumble_export.weights import WeightFile

__all__ = ["VARIANTS", "export_pack"]

VARIANTS: dict[str, tuple[Group, ...]] = {
    "plain": (),
    "routed": ("route", "mix"),
    "reading": ("route", "mix", "read"),
    "masked": ("route", "mix", "read", "region"),
}
"""Variant -> port groups, fewest first."""
OPSETS = (21, 23)
TRACED_ROWS = 3
MADE_WITH = ("scumble", "torch", "diffusers", "transformers", "onnx", "onnxscript")


def export_pack(
    checkpoint: Checkpoint,
    out: Path,
    *,
    opset: int = 23,
    variants: Sequence[str] = tuple(VARIANTS),
    progress: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Write a pack.

    Args:
        checkpoint: a diffusers folder.
        out: the pack's folder; must not exist.
        opset: 23 keeps each attention one operator; 21 is for older runtimes.
        variants: names from `VARIANTS`.
        progress: told what is being done.

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
        manifest = _write(checkpoint, draft, opset, variants, progress)
        draft.chmod(0o755)
        os.replace(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return manifest


def _write(
    checkpoint: Checkpoint,
    folder: Path,
    opset: int,
    variants: Sequence[str],
    progress: Callable[[str], None],
) -> Manifest:
    progress("loading")
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        info = engine.load(checkpoint)
        sizes = info.sizes(info.sites.native)
        weights = WeightFile(folder)
        written: dict[str, Variant] = {}
        try:
            for name in dict.fromkeys(variants):
                progress(f"unet, {name}")
                declaration = declare(VARIANTS[name], name, (info.sites.map_stride,))
                file = f"unet.{name}.onnx"
                worst = _unet(engine, declaration, sizes, folder / file, weights, opset)
                written[name] = Variant(file=file, groups=declaration.groups, parity=worst)
            progress("text encoder and autoencoder")
            components = _components(engine, sizes, info.factor, folder, weights, opset)
        finally:
            weights.close()
    for part in ("tokenizer", "scheduler"):
        shutil.copytree(checkpoint.folder / part, folder / part)
    return _finish(folder, info, opset, written, components)


def _unet(
    engine: TorchEngine,
    declaration: Declaration,
    sizes: PortSizes,
    path: Path,
    weights: WeightFile,
    opset: int,
) -> float:
    """Trace, check and write one variant; return its parity."""
    parts = engine.parts
    module = PortedUNet(parts.unet, parts.bus, declaration, sizes).eval()
    dynamic = tuple(
        {axis: "rows" for axis, name in enumerate(declaration.shape(p, sizes)) if name == "rows"}
        for p in declaration.inputs
    )
    examples = declaration.examples(sizes, TRACED_ROWS, seed=0)
    names = [port.name for port in declaration.inputs]
    model = traced(module, examples, dynamic, names, list(declaration.outputs), opset)
    require_declared(model, declaration, sizes)
    weights.take(model)
    onnx.save_model(model, path)
    return max(
        parity(module, path, declaration.examples(sizes, rows, seed=rows)) for rows in (1, 2, 5)
    )


def _components(
    engine: TorchEngine,
    sizes: PortSizes,
    factor: int,
    folder: Path,
    weights: WeightFile,
    opset: int,
) -> dict[str, str]:
    parts = engine.parts
    channels, height, width = sizes.latent
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, (1, 3, height * factor, width * factor)).astype(np.float32)
    latents = rng.standard_normal((2, channels, height, width)).astype(np.float32)
    ids = rng.integers(0, parts.text_encoder.config.vocab_size, (2, sizes.tokens))
    wanted: dict[str, tuple[nn.Module, str, Array, dict[int, str]]] = {
        "text_encoder": (TextEncoder(parts.text_encoder), "ids", ids, {0: "prompts"}),
        "vae_encoder": (Encoder(parts.vae), "pixels", picture, {}),
        "vae_decoder": (Decoder(parts.vae), "latents", latents, {0: "pictures"}),
    }
    files: dict[str, str] = {}
    for name, (module, given, example, dynamic) in wanted.items():
        files[name] = f"{name}.onnx"
        examples = {given: example}
        model = traced(module.eval(), examples, (dynamic,), [given], [name], opset)
        weights.take(model)
        onnx.save_model(model, folder / files[name])
        for several in (examples, {given: example[:1]}):
            parity(module, folder / files[name], several)
    return files


def _finish(
    folder: Path, info: Any, opset: int, variants: dict[str, Variant], components: dict[str, str]
) -> Manifest:
    files = {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    sizes = info.sizes(info.sites.native)
    fields = SiteEntry.model_fields
    manifest = Manifest(
        precision="fp32",
        opset=opset,
        latent=sizes.latent[1:],
        native=info.sites.native,
        channels=info.channels,
        factor=info.factor,
        tokens=info.tokens,
        features=info.features,
        rows=ROWS,
        words=WORDS,
        read_strides=(info.sites.map_stride,),
        sites=tuple(SiteEntry(**{f: getattr(site, f) for f in fields}) for site in info.sites),
        variants=variants,
        components=cast("Any", components),
        versions={name: importlib.metadata.version(name) for name in MADE_WITH},
        files=files,
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return manifest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
