"""A loaded model: engine, tokenizer and schedule together, counting the rows that it runs."""

from collections import Counter
from collections.abc import Mapping
from typing import cast

import numpy as np

from scumble.arrays import Array, Floats
from scumble.engine import Engine, ModelInfo, StepOutput, as_float
from scumble.models import Checkpoint
from scumble.ports import Group
from scumble.words import Tokenizer

__all__ = ["Session"]


class Session:
    """One model on one engine.

    Args:
        checkpoint: where the model is.
        engine: not yet loaded.
    """

    def __init__(self, checkpoint: Checkpoint, engine: Engine) -> None:
        self.checkpoint = checkpoint
        self.engine = engine
        self.tokenizer = Tokenizer.load(checkpoint.tokenizer)
        self.info: ModelInfo = engine.load(checkpoint)
        self.rows: Counter[str] = Counter()
        self.probed: set[Group] = set()
        self._texts: dict[str, Floats] = {}

    def count_as(self, stage: str) -> None:
        """Book the plain rows counted so far to a stage of their own."""
        plain = self.rows.pop("plain", 0)
        if plain:
            self.rows[stage] += plain

    def embed(self, text: str) -> Floats:
        """Return the (tokens, features) embedding of a prompt, computed once a session."""
        if text not in self._texts:
            ids = self.tokenizer.encode(text).ids[None]
            self._texts[text] = self.engine.encode_text(ids)[0].astype(self.engine.dtype)
        return self._texts[text]

    def step(self, ports: Mapping[str, object], variant: str) -> StepOutput:
        """Run one UNet step in the host's dtype and count its rows."""
        dtype = self.engine.dtype
        prepared = {name: _for_engine(value, dtype) for name, value in ports.items()}
        output = self.engine.step(prepared)
        self.rows[variant] += output.noise.shape[0]
        return output

    def predict(self, latent: Floats, timestep: int, text: str) -> Floats:
        """Return the unguided noise of one (channels, height, width) latent; one row."""
        ports = {
            "sample": latent[None],
            "timestep": np.array([timestep], dtype=np.int64),
            "text": self.embed(text)[None],
        }
        return self.step(ports, "plain").noise[0]


def _for_engine(value: object, dtype: type[np.floating]) -> object:
    """Return an array contiguous and in the host's float dtype; handles are left alone."""
    if not isinstance(value, np.ndarray):
        return value
    return np.ascontiguousarray(as_float(cast("Array", value), dtype))
