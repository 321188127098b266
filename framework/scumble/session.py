"""A loaded model: engine, tokenizer and schedule together, counting the rows that it runs."""

import platform
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np

from scumble.arrays import Array, Floats, Indices, require_finite
from scumble.embeddings import Embedding, text_ports
from scumble.engine import Engine, Gradient, ModelInfo, StepOutput, as_float
from scumble.models import Checkpoint
from scumble.ports import RECORD, Group, neutral
from scumble.recovery import Recovery
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
        self.tokenizers = tuple(Tokenizer.load(folder) for folder in checkpoint.tokenizers)
        self.tokenizer = self.tokenizers[0]
        self.info: ModelInfo = engine.load(checkpoint)
        self.rows: Counter[str] = Counter()
        self.probed: set[Group] = set()
        self._texts: OrderedDict[str, Embedding] = OrderedDict()
        self._fingerprint: str | None = None
        # Only what goes to disk meets other models; a fingerprint reads every file.
        identity = (
            "" if folder is None else f"{self.fingerprint} {sorted(engine.provenance.items())}"
        )
        self.sources = SourceMemory(engine, budget, folder, identity)
        self.recovery = Recovery(engine, self.sources.release)
        self.gradients: Session = self

    def close(self) -> None:
        """Forget recorded sources and free the device; safe to call twice."""
        self.sources.clear()
        self.engine.close()
        if self.gradients is not self:
            self.gradients.close()

    def take_gradients_from(self, other: "Session") -> None:
        """Let another engine, with the same model, compute what needs a derivative."""
        other.rows = self.rows
        self.gradients = other

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

    def embed(self, text: str) -> Embedding:
        """Return the embedding of one prompt, (tokens, features); the latest ones are kept."""
        if text not in self._texts:
            ids = (tokenizer.encode(text).ids[None] for tokenizer in self.tokenizers)
            states, pooled = self.recovery.encode_text(*ids).of(0)
            # Zeros are what the UNet was told in training where no text was given.
            share = self.engine.dtype(bool(text) or not self.checkpoint.zeroes_empty)
            self._texts[text] = Embedding(
                states.astype(self.engine.dtype) * share,
                None if pooled is None else pooled.astype(self.engine.dtype) * share,
            )
            if len(self._texts) > TEXTS:
                self._texts.popitem(last=False)
        self._texts.move_to_end(text)
        return self._texts[text]

    def forget_texts(self) -> None:
        """Drop the embeddings that are kept, so that the next run encodes its prompts anew."""
        self._texts.clear()

    def embedding(self, states: Floats, text: str) -> Embedding:
        """Return (tokens, features) of no prompt as one, pooled as a prompt is."""
        return Embedding(states.astype(self.engine.dtype, copy=False), self.embed(text).pooled)

    def text_ports(
        self, texts: Sequence[str | Embedding], latent: tuple[int, ...]
    ) -> dict[str, Array]:
        """Return the ports that tell the UNet its texts, a row each.

        Args:
            texts: prompt of each row, or its embedding.
            latent: (height, width).
        """
        height, width = latent
        size = (height * self.info.factor, width * self.info.factor)
        told = [self.embed(text) if isinstance(text, str) else text for text in texts]
        return text_ports(told, size)

    def step(self, ports: Mapping[str, object], variant: str, where: str = "") -> StepOutput:
        """Run one UNet step in the host's dtype and count its rows.

        Args:
            ports: of any number of rows.
            variant: under which the rows are counted.
            where: for messages, e.g. `step 12`; empty is the variant.

        Raises:
            NumericalError: NaN or Inf in what the engine gave, at a higher precision too.
            OutOfMemoryError: also when run in parts.
        """
        dtype = self.engine.dtype
        prepared = {name: _for_engine(value, dtype) for name, value in ports.items()}
        output = self.recovery.step(prepared, where or variant)
        self.rows[variant] += self.recovery.rows
        return output

    def predict(self, latent: Floats, timestep: int, text: str) -> Floats:
        """Return the unguided noise of one (channels, height, width) latent; one row."""
        return self.predict_rows(latent[None], np.array([timestep]), [text])[0]

    def predict_source(self, latent: Floats, step: int, timestep: int, text: str) -> Floats:
        """Return what `predict` does, and set the row's state aside, if the engine records any.

        Args:
            latent: (channels, height, width).
            step: whose source row it may turn out to be.
            timestep: of that step.
            text: the source prompt.
        """
        if not (self.sources.keeps and self.engine.supports(RECORD)):
            return self.predict(latent, timestep, text)
        ports = {
            "sample": latent[None],
            "timestep": np.array([timestep], dtype=np.int64),
            **self.text_ports([text], latent.shape[-2:]),
            **neutral("record", self.info.sizes(latent.shape[-2:]), 1),
        }
        output = self.step(ports, "plain", f"timestep {timestep}")
        self.sources.set_aside(step, latent, output.recorded)
        return output.noise[0]

    def predict_rows(
        self, latents: Floats, timesteps: Indices, texts: Sequence[str | Embedding]
    ) -> Floats:
        """Return the unguided noise of (rows, channels, height, width) latents, a text each."""
        ports = {
            "sample": latents,
            "timestep": timesteps.astype(np.int64),
            **self.text_ports(texts, latents.shape[-2:]),
        }
        told = " to ".join(dict.fromkeys((str(timesteps[0]), str(timesteps[-1]))))
        return self.step(ports, "plain", f"timestep {told}").noise

    def gradient(self, ports: Mapping[str, object], where: str) -> Gradient:
        """Return a gradient in the host's dtype and count it, one a row.

        Raises:
            NumericalError: NaN or Inf in it.
        """
        dtype = self.engine.dtype
        found = self.engine.gradient({n: _for_engine(v, dtype) for n, v in ports.items()})
        self.rows["gradient"] += len(found.losses)
        require_finite(found.latents, f"the gradient at {where}")
        require_finite(found.losses, f"the loss at {where}")
        if found.text is not None:
            require_finite(found.text, f"the gradient by the text at {where}")
        return found

    def look(
        self, latent: Floats, timestep: int, text: str, weights: Floats, sites: tuple[int, ...]
    ) -> Floats:
        """Return (k, height / stride, width / stride) attention; one row, cut short if it can be.

        Args:
            latent: (channels, height, width).
            timestep: of training.
            text: the prompt.
            weights: (k, tokens).
            sites: of cross-attention, all of one stride.
        """
        gate = np.zeros(self.info.sites.count("cross"))
        gate[list(sites)] = 1
        ports = {
            "sample": latent[None],
            "timestep": np.array([timestep], dtype=np.int64),
            **self.text_ports([text], latent.shape[-2:]),
            "read.weights": np.asarray(weights)[None],
            "read.sites": gate,
        }
        maps = self.engine.look(
            {name: _for_engine(value, self.engine.dtype) for name, value in ports.items()}
        )
        self.rows["look"] += 1
        (found,) = maps.values()
        require_finite(found, f"the attention maps at timestep {timestep}")
        return found[0]


def _for_engine(value: object, dtype: type[np.floating]) -> object:
    """Return an array contiguous and in the host's float dtype; handles are left alone."""
    if not isinstance(value, np.ndarray):
        return value
    return np.ascontiguousarray(as_float(cast("Array", value), dtype))
