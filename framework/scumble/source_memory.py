"""What an editor remembers of pictures it has seen: their inversion, and their source row's state.

The next edit of such a picture replays the source row instead of running it, and inverts nothing.
Memory is bounded by a byte budget; the picture that was used longest ago goes first. With a folder,
what leaves the memory is read back from disk, in later processes too.
"""

import dataclasses
import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scumble.arrays import Array, Bools, Floats
from scumble.engine import Engine
from scumble.hookspecs import RunView, Trajectory
from scumble.source_folder import SourceFolder

__all__ = ["SourceMemory", "source_key", "trajectory_key"]


def trajectory_key(run: RunView, inversion: str) -> str:
    """Return the key of an inversion: all that it may depend on.

    Args:
        run: as the inversion sees it, without targets and mask.
        inversion: the plugin's name, origin and options.
    """
    assert run.image is not None
    parts = (
        run.source.text,
        run.steps,
        run.start,
        run.unconditional,
        run.guidance,
        run.seed,
        run.latent,
        tuple(int(t) for t in run.scheduler.timesteps),
        inversion,
    )
    return _digest(repr(parts).encode(), run.image)


def source_key(run: RunView, trajectory: Trajectory) -> str:
    """Return the key of a source row's state: its latents, text and timesteps."""
    parts = (run.source.text, run.steps, tuple(int(t) for t in run.scheduler.timesteps))
    return _digest(repr(parts).encode(), trajectory.latents)


def _digest(text: bytes, array: Array) -> str:
    digest = hashlib.sha256(text)
    digest.update(repr((array.shape, array.dtype.str)).encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Aside:
    """State of a step that nobody owns yet, and the latent that it was computed from."""

    latent: Floats
    handles: Mapping[str, object]
    size: int


@dataclass(slots=True)
class _Entry:
    """An inversion, or the handles of one source row, step by step."""

    trajectory: Trajectory | None = None
    steps: dict[int, dict[str, object]] = field(default_factory=dict[int, dict[str, object]])
    size: int = 0


class SourceMemory:
    """Recorded source state, by picture.

    Args:
        engine: whose handles these are.
        budget: bytes to keep on its device; 0 remembers nothing.
        folder: where to keep a copy on disk, or None.
        model: what the state depends on beside the picture: fingerprint of the model, engine and
            precision, for the disk.
    """

    def __init__(
        self, engine: Engine, budget: int, folder: Path | None = None, model: str = ""
    ) -> None:
        self._engine = engine
        self._budget = budget
        self._disk = SourceFolder(folder, model) if folder is not None else None
        self._held: frozenset[str] = frozenset()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # used longest ago first
        self._aside: dict[int, _Aside] = {}

    @property
    def keeps(self) -> bool:
        """True if anything is remembered at all."""
        return self._budget > 0 or self._disk is not None

    @property
    def size(self) -> int:
        """Bytes in memory, trajectories included."""
        kept = (*self._entries.values(), *self._aside.values())
        return sum(one.size for one in kept)

    def hold(self, *keys: str) -> None:
        """Let these entries, of the run that begins, not make room for others."""
        self._held = frozenset(keys)

    def trajectory(self, key: str) -> Trajectory | None:
        """Return an inversion that was remembered, or None."""
        entry = self._touched(key)
        if entry is not None:
            return entry.trajectory
        stored = self._disk.read(key, "trajectory") if self._disk is not None else None
        if stored is None:
            return None
        embeddings = stored.get("embeddings")
        if embeddings is not None and embeddings.dtype.kind == "U":
            embeddings = str(embeddings)
        return Trajectory(
            stored["latents"],
            bool(stored["pinned"]),
            stored.get("noises"),
            float(stored["eta"]),
            embeddings,
        )

    def remember(self, key: str, trajectory: Trajectory) -> None:
        """Keep an inversion."""
        fields = (each.name for each in dataclasses.fields(trajectory))
        held = {name: getattr(trajectory, name) for name in fields}
        arrays = {name: np.asarray(value) for name, value in held.items() if value is not None}
        if self._disk is not None:
            self._disk.write(key, "trajectory", arrays)
        size = sum(array.nbytes for array in arrays.values())
        if self._make_room(size):
            self._entries[key] = _Entry(trajectory, size=size)

    def steps(self, key: str, steps: int) -> Bools:
        """Return (steps,) bool, True where the source's state is at hand."""
        entry = self._entries.get(key)
        known = set(entry.steps) if entry is not None else set[int]()
        if self._disk is not None:
            known |= {int(name) for name in self._disk.names(key) if name.isdecimal()}
        return np.isin(np.arange(steps), list(known))

    def recall(self, key: str, step: int) -> dict[str, object]:
        """Return the handles of a step, by port name.

        Raises:
            KeyError: it is not at hand, or what lay on disk is damaged.
        """
        entry = self._touched(key)
        if entry is not None and step in entry.steps:
            return entry.steps[step]
        stored = self._disk.read(key, str(step)) if self._disk is not None else None
        if stored is None:
            raise KeyError(f"no source state of step {step}")
        return {name: self._engine.to_handle(array) for name, array in stored.items()}

    def record(self, key: str, step: int, handles: Mapping[str, object]) -> None:
        """Keep the state of a step, if the budget allows it."""
        if self._disk is not None:
            arrays = {name: self._engine.to_host(handle) for name, handle in handles.items()}
            self._disk.write(key, str(step), arrays)
        size = sum(self._engine.size_of(handle) for handle in handles.values())
        if not self._make_room(size):
            return
        entry = self._entries.setdefault(key, _Entry())
        entry.steps[step] = dict(handles)
        entry.size += size
        self._entries.move_to_end(key)

    def set_aside(self, step: int, latent: Floats, handles: Mapping[str, object]) -> None:
        """Keep the state of a step of an inversion under way, until `take_up` says whose it is.

        Where the budget is short, the noisiest steps are kept: there the source row is needed.

        Args:
            step: at whose level it was computed.
            latent: (channels, height, width) that it was computed from.
            handles: the state, by port name.
        """
        size = sum(self._engine.size_of(handle) for handle in handles.values())
        while not self._make_room(size):
            last = max(self._aside, default=step)
            if last <= step:
                return
            del self._aside[last]
        self._aside[step] = _Aside(latent, dict(handles), size)

    def take_up(self, key: str, levels: Floats) -> None:
        """Record what was set aside under a key, where it is the state of the key's own latents.

        The rest is forgotten.

        Args:
            key: of the source row, or empty where none is remembered.
            levels: (steps + 1, channels, height, width), its latents.
        """
        while self._aside:
            step, found = self._aside.popitem()
            if key and np.array_equal(found.latent, levels[step]):
                self.record(key, step, found.handles)

    def release(self) -> None:
        """Forget what the run at hand does not use, for memory is short."""
        self._aside.clear()
        for key in [key for key in self._entries if key not in self._held]:
            del self._entries[key]

    def clear(self) -> None:
        """Forget everything in memory; what is on disk stays."""
        self._aside.clear()
        self._entries.clear()

    def _touched(self, key: str) -> _Entry | None:
        if key in self._entries:
            self._entries.move_to_end(key)
        return self._entries.get(key)

    def _make_room(self, size: int) -> bool:
        """Forget what was used longest ago until `size` more bytes fit; False if they cannot."""
        while self.size + size > self._budget:
            oldest = next((key for key in self._entries if key not in self._held), None)
            if oldest is None:
                return False
            del self._entries[oldest]
        return True
