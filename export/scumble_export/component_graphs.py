"""The components traced, compared with torch, and written beside the UNet's graphs."""

import numpy as np
from torch import nn

from scumble.arrays import Array
from scumble.ports import PortSizes
from scumble_engines.torch.engine import Parts
from scumble_export.components import Decoder, Encoder, PairedTextEncoder, TextEncoder
from scumble_export.tracing import TOLERANCE, computed, distance, parity
from scumble_export.writing import GraphWriter

__all__ = ["write_components"]


def write_components(
    parts: Parts,
    sizes: PortSizes,
    factor: int,
    writer: GraphWriter,
) -> dict[str, str]:
    """Trace, check and write what encodes text and both halves of the autoencoder.

    Args:
        parts: the model's modules.
        sizes: the model's axes.
        factor: pixels for each latent cell along a side.
        writer: of the pack.

    Returns:
        Component -> file.

    Raises:
        ModelError: a graph is further from torch in fp64 than 1e-5 of the largest value, and than
            torch in fp32 is.
    """
    channels, height, width = sizes.latent
    rng = np.random.default_rng(0)
    picture = rng.uniform(-1, 1, (1, 3, height * factor, width * factor)).astype(np.float32)
    latents = rng.standard_normal((2, channels, height, width)).astype(np.float32)
    first, second = parts.texts
    ids = rng.integers(0, first.config.vocab_size, (2, sizes.tokens))
    texts: nn.Module = TextEncoder(first)
    tokens = {"ids": ids}
    outputs = ["text_encoder"]
    if second is not None:
        texts = PairedTextEncoder(first, second)
        tokens["ids_2"] = rng.integers(0, second.config.vocab_size, ids.shape)
        outputs.append("pooled")
    wanted: dict[str, tuple[nn.Module, dict[str, Array], str | None, list[str]]] = {
        "text_encoder": (texts, tokens, "prompts", outputs),
        "vae_encoder": (Encoder(parts.vae), {"pixels": picture}, None, ["vae_encoder"]),
        "vae_decoder": (Decoder(parts.vae), {"latents": latents}, "pictures", ["vae_decoder"]),
    }
    files: dict[str, str] = {}
    for name, (module, given, axis, names) in wanted.items():
        files[name] = f"{name}.onnx"
        module.eval()
        dynamic = [{} if axis is None else {0: axis}] * len(given)
        graph = writer.write(files[name], module, given, dynamic, names)
        both = (given, {port: example[:1] for port, example in given.items()})
        plain = [computed(module, one) for one in both]
        exact = [_exact(module, one) for one in both]
        # In fp32 the decoder of a picture of 512x512 is off by 6e-5 in torch itself.
        own = max(map(distance, plain, exact))
        parity(graph, list(zip(both, exact, strict=True)), max(TOLERANCE["fp32"], own))
    return files


def _exact(module: nn.Module, given: dict[str, Array]) -> list[Array]:
    """Return what torch makes of inputs in fp64."""
    wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in given.items()}
    try:
        return computed(module.double(), wide)
    finally:
        module.float()
