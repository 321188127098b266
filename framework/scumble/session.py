"""A loaded model: engine, tokenizer and schedule together, counting the rows that it runs."""

import platform
from collections import Counter, OrderedDict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np

from scumble.arrays import Array, Floats
from scumble.engine import Engine, ModelInfo, StepOutput, as_float
from scumble.models import Checkpoint
from scumble.ports import Group
from scumble.source_memory import SourceMemory
from scumble.words import Tokenizer

__all__ = ["Session"]

TEXTS = 128
"""Embeddings that a session keeps: more than a run has prompts."""


class Session:
    """One model on one engine.

    Args:
        checkpoint: where the model is.
        engine: not yet loaded.
        budget: bytes of recorded source state to keep on the engine's device; 0 keeps none.
        folder: where to keep it on disk too, or None.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        engine: Engine,
        *,
        budget: int = 0,
        folder: Path | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.engine = engine
        self.tokenizer = Tokenizer.load(checkpoint.tokenizer)
        self.info: ModelInfo = engine.load(checkpoint)
        self.rows: Counter[str] = Counter()
        self.probed: set[Group] = set()
        self._texts: OrderedDict[str, Floats] = OrderedDict()
        self._fingerprint: str | None = None
        # Only what goes to disk meets other models; a fingerprint reads every file.
        identity = (
            "" if folder is None else f"{self.fingerprint} {sorted(engine.provenance.items())}"
        )
        self.sources = SourceMemory(engine, budget, folder, identity)

    @property
    def fingerprint(self) -> str:
        """The sha256 over the model's files, read once a session."""
        if self._fingerprint is None:
            self._fingerprint = self.checkpoint.fingerprint()
        return self._fingerprint

    def provenance(self) -> dict[str, Any]:
        """Return what a result depends on beside its request: engine, model, versions."""
        return {
            **self.engine.provenance,
            "model_sha256": self.fingerprint,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "scumble": version("scumble"),
        }

    def count_as(self, stage: str) -> None:
        """Book the plain rows counted so far to a stage of their own."""
        plain = self.rows.pop("plain", 0)
        if plain:
            self.rows[stage] += plain

    def embed(self, text: str) -> Floats:
        """Return the (tokens, features) embedding of a prompt; the latest ones are kept."""
        if text not in self._texts:
            ids = self.tokenizer.encode(text).ids[None]
            self._texts[text] = self.engine.encode_text(ids)[0].astype(self.engine.dtype)
            if len(self._texts) > TEXTS:
                self._texts.popitem(last=False)
        self._texts.move_to_end(text)
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
