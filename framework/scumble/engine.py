"""What every engine is: a small typed contract, with the checks that all of them share.

An engine runs one UNet step with a plan's ports. Subclasses write the `_`-methods; the public ones
check what goes in and what comes out. The device is untouched before `load`.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, cast

import numpy as np

from scumble.answers import Gradient, ModelInfo, StepOutput
from scumble.arrays import Array, Floats, Indices
from scumble.embeddings import Embedding
from scumble.errors import (
    ControlError,
    EngineError,
    OptionError,
    PortError,
    ScumbleError,
    UnsupportedError,
)
from scumble.models import Checkpoint, Form
from scumble.plugins import list_entries, load_entry
from scumble.ports import Group, check_inputs, groups_of

__all__ = [
    "GUIDED",
    "MATCHED",
    "Engine",
    "EngineSettings",
    "Gradient",
    "Mode",
    "ModelInfo",
    "Precision",
    "StepOutput",
    "engines_with",
]

Precision = Literal["fp32", "fp64", "bf16", "fp16"]
Mode = Literal["eager", "compile", "graph"]
GUIDED: frozenset[Group] = frozenset({"route", "mix", "replay", "loss"})
"""The port groups of a gradient of maps."""
MATCHED: frozenset[Group] = frozenset({"match"})
"""The port groups of a gradient of how far noise is from a wanted one."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How an engine is to run.

    Attributes:
        precision: of the UNet; text and pictures are encoded in fp32 at least.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads; None leaves the runtime's default.
        mode: `eager` runs the UNet as it is, `compile` and `graph` in a form made for its shapes.
    """

    precision: Precision = "fp32"
    device: str = "auto"
    threads: int | None = None
    mode: Mode = "eager"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise OptionError(f"device is {self.device!r}, want auto, cpu or cuda.")
        if self.threads is not None and self.threads < 1:
            raise OptionError(f"threads is {self.threads}, want 1 or more.")


class Engine(ABC):
    """Base of every engine; use it as a context manager.

    Attributes:
        name: as registered in the `scumble.engines` entry points.
        groups: the port groups it can bind; with `loss` or `match` it has their gradients.
        modes: the modes it can run in.
        runs: which form of a model it loads.
    """

    name: ClassVar[str]
    groups: ClassVar[frozenset[Group]]
    modes: ClassVar[frozenset[Mode]] = frozenset(("eager",))
    runs: ClassVar[Form] = "checkpoint"

    def __init__(self, settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        self._info: ModelInfo | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def info(self) -> ModelInfo:
        """The loaded model."""
        if self._info is None:
            raise EngineError(f"engine {self.name!r} has no model; call load first.")
        return self._info

    @property
    def dtype(self) -> type[np.floating]:
        """The dtype in which the host keeps latents for this engine."""
        return np.float64 if self.settings.precision == "fp64" else np.float32

    @property
    def most_rows(self) -> int | None:
        """Rows of the largest step that the loaded model takes; None is no limit."""
        return None

    def supports(self, groups: frozenset[Group]) -> bool:
        """Return whether the loaded model binds these port groups in one step."""
        return groups <= self.groups

    def size_of(self, handle: object) -> int:
        """Return the bytes that a handle of recorded state keeps on the device."""
        return int(cast("Any", handle).nbytes)

    def to_host(self, handle: object) -> Array:
        """Return a handle's content as an array, to be kept elsewhere."""
        return np.asarray(handle)

    def to_handle(self, array: Array) -> object:
        """Return a handle of what `to_host` gave, to be replayed."""
        return array

    def load(self, checkpoint: Checkpoint) -> ModelInfo:
        """Load a model onto the device.

        Raises:
            ModelError: the folder holds no model that this engine runs.
            OptionError: a setting that this engine does not have.
            EngineError: the runtime or device is missing.
        """
        if self.settings.mode not in self.modes:
            raise OptionError(
                f"engine {self.name!r} has no mode {self.settings.mode!r}; it has "
                f"{', '.join(sorted(self.modes))}."
            )
        self._info = self._load(checkpoint)
        return self._info

    def step(self, ports: Mapping[str, object]) -> StepOutput:
        """Run the UNet once.

        Args:
            ports: name -> array, as declared in `scumble.ports`.

        Raises:
            PortError: an undeclared name, shape or dtype.
            UnsupportedError: a port group that this engine lacks.
            ControlError: a port was fed and did not take effect.
            OutOfMemoryError: the device has no memory left for it; `trim` may help.
        """
        sample = np.asarray(ports.get("sample"))
        latent = (int(sample.shape[-2]), int(sample.shape[-1])) if sample.ndim == 4 else (1, 1)
        check_inputs(ports, self.info.sizes(latent))
        asked = groups_of(ports)
        for group in sorted(asked & {"loss", "match"}):
            raise PortError(f"a step has no {group} ports; ask for a gradient.")
        self._require_groups(asked)
        output = self._step(ports)
        if asked - output.bound:
            missing = ", ".join(sorted(asked - output.bound))
            raise ControlError(
                f"engine {self.name!r} was given {missing} ports and they had no effect; "
                "the attention of the UNet was replaced after loading: load the model anew."
            )
        return output

    def gradient(self, ports: Mapping[str, object]) -> Gradient:
        """Return the derivative of a declared loss: of maps by the sample, of a match by the text.

        Args:
            ports: as of `step`: one row that routes and mixes from itself or from the replayed
                source alone, and the loss, with route, mix and replay among them; or rows with
                nothing but the match.

        Raises:
            PortError, UnsupportedError, OutOfMemoryError: as `step` does.
        """
        sample = np.asarray(ports.get("sample"))
        latent = (int(sample.shape[-2]), int(sample.shape[-1])) if sample.ndim == 4 else (1, 1)
        rows = check_inputs(ports, self.info.sizes(latent))
        asked = groups_of(ports)
        if asked != MATCHED and (rows != 1 or asked != GUIDED):
            raise PortError(
                f"a gradient is of one row with {', '.join(sorted(GUIDED))}; got {rows} with "
                f"{', '.join(sorted(asked))}, and match goes alone."
            )
        self._require_groups(asked)
        return self._gradient(ports)

    def look(self, ports: Mapping[str, object]) -> dict[int, Floats]:
        """Return the maps of a step, stride -> (rows, words, height, width), without its noise.

        An engine that can ends where the last map is known; it costs about half a step.

        Raises:
            PortError, UnsupportedError, ControlError: as `step` does.
        """
        return self.step(ports).reads

    def trim(self) -> None:
        """Free what is only cached on the device; called when memory ran out."""
        return

    def widened(self) -> AbstractContextManager[Precision] | None:
        """Return a context in which steps run in the precision it gives, a higher one.

        None where there is no higher one; the host then does not repeat a step that gave NaN.
        """
        return None

    def all_finite(self, handles: Iterable[object]) -> bool:
        """Return whether recorded state holds neither NaN nor Inf."""
        return all(bool(np.isfinite(self.to_host(handle)).all()) for handle in handles)

    @property
    @abstractmethod
    def provenance(self) -> dict[str, str]:
        """What really runs: runtime and version, device, precision, threads."""

    @abstractmethod
    def encode_text(self, *ids: Indices) -> Embedding:
        """Return prompts as the UNet takes them, of (prompts, tokens) ids by each tokenizer."""

    @abstractmethod
    def encode_image(self, pixels: Floats) -> Floats:
        """Return the scaled (1, channels, height, width) latent of pixels in -1 to 1."""

    @abstractmethod
    def decode(self, latents: Floats) -> Floats:
        """Return (n, 3, height, width) pixels, about -1 to 1, of scaled latents."""

    @abstractmethod
    def close(self) -> None:
        """Free the device; safe to call twice."""

    def _require_groups(self, asked: frozenset[Group]) -> None:
        if asked - self.groups:
            missing = ", ".join(sorted(asked - self.groups))
            others = ", ".join(engines_with(asked)) or "none that is installed"
            raise UnsupportedError(
                f"engine {self.name!r} has no ports for: {missing}; engines that do: {others}."
            )

    def _gradient(self, ports: Mapping[str, object]) -> Gradient:
        raise NotImplementedError("an engine with the group 'loss' or 'match' has gradients")

    @abstractmethod
    def _load(self, checkpoint: Checkpoint) -> ModelInfo: ...

    @abstractmethod
    def _step(self, ports: Mapping[str, object]) -> StepOutput: ...


def engines_with(groups: frozenset[Group]) -> list[str]:
    """Return the installed engines that have these port groups; those that do not load have none.

    An engine that runs packs is named where a pack could have them.
    """
    found: list[str] = []
    for name in list_entries("scumble.engines"):
        try:
            _, kind = load_entry("scumble.engines", name, "engine")
        except ScumbleError:
            continue
        if isinstance(kind, type) and issubclass(kind, Engine) and groups <= kind.groups:
            found.append(name)
    return found


def as_float(array: Array, dtype: type[np.floating]) -> Array:
    """Return the array in the host's float dtype; integer arrays are left alone."""
    return array.astype(dtype, copy=False) if array.dtype.kind == "f" else array
