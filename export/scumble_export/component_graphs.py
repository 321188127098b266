"""The components traced, compared with torch, and written beside the UNet's graphs."""

import numpy as np
from torch import nn

from scumble.arrays import Array
from scumble.ports import PortSizes
from scumble_engines.torch.engine import Parts
from scumble_export.components import Decoder, Encoder, TextEncoder
from scumble_export.tracing import computed, parity
from scumble_export.writing import GraphWriter

__all__ = ["write_components"]


def write_components(
    parts: Parts,
    sizes: PortSizes,
    factor: int,
    writer: GraphWriter,
) -> dict[str, str]:
    """Trace, check and write the text encoder and both halves of the autoencoder.

    Args:
        parts: the model's modules.
        sizes: the model's axes.
        factor: pixels for each latent cell along a side.
        writer: of the pack.

    Returns:
        Component -> file.

    Raises:
        ModelError: a graph differs from torch.
    """
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
        module.eval()
        graph = writer.write(files[name], module, {given: example}, [dynamic], [name])
        both = ({given: example}, {given: example[:1]})
        parity(graph, [(one, computed(module, one)) for one in both])
    return files
