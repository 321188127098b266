"""What the host does when an engine gives NaN or Inf, or runs out of memory.

NaN or Inf in a step's output: the call is repeated once at a higher precision, where the engine
has one; else, or if that does not help, the run ends and says what broke and where.

Out of memory, in this order:

1. what is only cached is freed, by the engine and by the host, and the call is repeated;
2. a step is run in parts of half as many rows, and again half, down to what its rows need;
3. the run ends with one sentence.

The next run starts afresh.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

import numpy as np

from scumble.arrays import Array, Floats, Indices
from scumble.batches import join, least_rows, split_rows
from scumble.embeddings import Embedding
from scumble.engine import Engine, StepOutput
from scumble.errors import NumericalError, OutOfMemoryError

__all__ = ["Recovery"]

T = TypeVar("T")

FREED = "memory ran out: what was cached was freed, and the call repeated."


class Recovery:
    """Calls an engine, and repeats a call that failed in another way.

    Args:
        engine: loaded.
        release: frees what the host holds of the engine's memory and can make anew; called when
            memory ran out. What the call in hand was given must stay.

    Attributes:
        rows: that the last step ran: more than it was given if it was split or repeated.
    """

    def __init__(self, engine: Engine, release: Callable[[], object] = lambda: None) -> None:
        self._engine = engine
        self._release = release
        self.rows = 0
        self._limit: int | None = None
        self._freed = False
        self._widened: list[str] = []
        self._higher: str = ""

    def begin(self) -> None:
        """Start a run: what the last one met does not bind it."""
        self._limit = None
        self._freed = False
        self._widened = []

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user on what had to be repeated in this run."""
        found: list[str] = []
        if self._widened:
            precision = self._engine.settings.precision
            more = f" and {len(self._widened) - 1} more" if len(self._widened) > 1 else ""
            found.append(
                f"{precision} gave NaN or Inf at {self._widened[0]}{more}; repeated in "
                f"{self._higher}, which takes longer: choose fp32 if it happens often."
            )
        if self._freed:
            found.append(FREED)
        if self._limit is not None:
            found.append(f"memory ran out: steps were run in parts of at most {self._limit} rows.")
        return tuple(found)

    def encode_text(self, *ids: Indices) -> Embedding:
        """Return the engine's embeddings of (prompts, tokens) ids by each tokenizer.

        Raises:
            NumericalError: NaN or Inf in them.
            OutOfMemoryError: also after what is cached was freed.
        """
        found = self._once_freed(lambda: self._engine.encode_text(*ids), "encoding the text")
        self._require_finite(found.states, "the embedding of the text")
        if found.pooled is not None:
            self._require_finite(found.pooled, "the pooled text")
        return found

    def encode_image(self, pixels: Floats) -> Floats:
        """Return the engine's latent of (1, 3, height, width) pixels; raises as `encode_text`."""
        found = self._once_freed(lambda: self._engine.encode_image(pixels), "encoding the picture")
        self._require_finite(found, "the latent of the picture")
        return found

    def decode(self, latents: Floats) -> Floats:
        """Return the engine's pixels of (n, channels, h, w) latents; raises as `encode_text`."""
        self._require_finite(latents, "the latent to be decoded")
        found = self._once_freed(lambda: self._engine.decode(latents), "decoding the picture")
        self._require_finite(found, "the decoded picture")
        return found

    def step(self, ports: Mapping[str, object], where: str) -> StepOutput:
        """Return the output of one UNet step.

        Args:
            ports: as the engine takes them, of any number of rows.
            where: for messages, e.g. `step 12`.

        Raises:
            NumericalError: NaN or Inf in noise, reads or recorded state; the message says which.
            OutOfMemoryError: also with as few rows at once as the ports allow.
            UnsupportedError: a row depends on more others than the engine takes.
        """
        self.rows = 0
        output = self._in_memory(ports, where)
        broken = self._broken(output)
        if broken is None:
            return output
        for name, value in ports.items():
            if isinstance(value, np.ndarray) and cast("Array", value).dtype.kind == "f":
                self._require_finite(cast("Floats", value), f"port {name!r} at {where}")
        if self._engine.widened() is None:
            raise NumericalError(f"{broken} at {where}; {self._advice()}.")
        wide = self._wide(ports, where)
        if wide is None:
            self._free()
            wide = self._wide(ports, where)
        if wide is None:
            raise NumericalError(
                f"{broken} at {where}, and memory is too short to repeat it in a higher "
                f"precision; use a smaller size, or {self._advice()}."
            )
        still = self._broken(wide)
        if still is not None:
            raise NumericalError(
                f"{still} at {where}, when repeated in {self._higher} too; {DAMAGED}."
            )
        self._widened.append(where)
        return wide

    def _wide(self, ports: Mapping[str, object], where: str) -> StepOutput | None:
        """Return a step's output in the engine's higher precision, or None if memory ran out."""
        wider = self._engine.widened()
        assert wider is not None
        try:
            with wider as self._higher:
                return self._in_memory(ports, where)
        except OutOfMemoryError:
            return None

    def _in_memory(self, ports: Mapping[str, object], where: str) -> StepOutput:
        """Run a step in as few parts as memory allows."""
        rows = cast("Array", ports["sample"]).shape[0]
        least = 1 if self._limit is None else least_rows(ports)
        limit = min(rows, max(self._limit or rows, least), self._engine.most_rows or rows)
        output = self._attempt(ports, limit)
        if output is None:
            self._free()
            output = self._attempt(ports, limit)
        least = least_rows(ports)
        while output is None:
            if limit <= least:
                raise OutOfMemoryError(
                    f"memory ran out at {where}, with nothing cached and no more than {limit} "
                    f"row{'s' * (limit > 1)} at once; use a smaller size or a lower precision, or "
                    "free the memory that other programs hold."
                )
            limit = max(-(-limit // 2), least)
            self._limit = limit
            output = self._attempt(ports, limit)
        return output

    def _attempt(self, ports: Mapping[str, object], limit: int) -> StepOutput | None:
        """Return the step's output, or None if memory ran out.

        Not an exception: one that is being handled keeps alive the frames it passed through, and
        with them the tensors that have to go.
        """
        parts = split_rows(ports, limit)
        outputs: list[StepOutput] = []
        try:
            for part in parts:
                outputs.append(self._engine.step(part.ports))
                self.rows += len(part.rows)
        except OutOfMemoryError:
            return None
        return outputs[0] if len(parts) == 1 else join(parts, outputs)

    def _once_freed(self, call: Callable[[], T], what: str) -> T:
        try:
            return call()
        except OutOfMemoryError:
            pass  # and not here, where the error still holds what has to go
        self._free()
        try:
            return call()
        except OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"memory ran out in {what}, with nothing cached; use a smaller size, or free the "
                "memory that other programs hold."
            ) from error

    def _free(self) -> None:
        self._release()
        self._engine.trim()
        self._freed = True

    def _broken(self, output: StepOutput) -> str | None:
        """Return what of a step's output is not finite, or None."""
        fields: Iterable[tuple[str, Floats]] = (
            ("the noise", output.noise),
            *((f"the read at stride {stride}", field) for stride, field in output.reads.items()),
        )
        for what, field in fields:
            if not np.isfinite(field).all():
                return _holds(what, field)
        if output.recorded and not self._engine.all_finite(output.recorded.values()):
            return "the recorded source state holds NaN or Inf"
        return None

    def _require_finite(self, array: Floats, what: str) -> None:
        if not np.isfinite(array).all():
            raise NumericalError(f"{_holds(what, array)}; {self._advice()}.")

    def _advice(self) -> str:
        halved = self._engine.settings.precision in ("bf16", "fp16")
        return "load the model with precision fp32" if halved else DAMAGED


DAMAGED = "lower the guidance or the method's strengths, or load another copy of the model"


def _holds(what: str, array: Floats) -> str:
    bad = int(array.size - np.isfinite(array).sum())
    return f"{what} holds {bad} values that are not finite, of {array.size}"
