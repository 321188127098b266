"""The axes of the matrix and its cells, as data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, TypeAlias

from scumble.errors import ModelError
from scumble.models import Checkpoint, read_json
from scumble.schedulers import Convention

__all__ = ["Axes", "CellSpec", "Edit", "native_pixels"]

Edit: TypeAlias = Literal["first", "next"]


@dataclass(frozen=True, slots=True)
class CellSpec:
    """One cell of the matrix.

    Attributes:
        method: plugin.
        engine: of the UNet.
        precision: of the UNet.
        model: as `Editor.load` takes it.
        size: (height, width) in pixels.
        steps: of the schedule.
        edit: `first` of a picture not seen before, or `next` of one that is known.
        convention: of the inversion; under `current` it runs the source row by the way.
    """

    method: str
    engine: str
    precision: str
    model: str
    size: tuple[int, int]
    steps: int
    edit: Edit
    convention: Convention = "target"

    @property
    def name(self) -> str:
        """What no other cell is called."""
        told = "" if self.convention == "target" else f", convention {self.convention}"
        return f"{self.title(self.method)}, {self.edit} edit{told}"

    def title(self, who: str) -> str:
        """Return the name of what does this cell's work, whichever edit it is."""
        height, width = self.size
        how = f"{self.engine} {self.precision}, {self.model} {height}x{width}"
        return f"{who}, {how}, {self.steps} steps"


@dataclass(frozen=True, slots=True)
class Axes:
    """What is combined.

    Attributes:
        methods: plugins.
        engines: of the UNet.
        precisions: of the UNet.
        models: as `Editor.load` takes them.
        sizes: (height, width) in pixels; None is a model's native size.
        steps: of the schedule.
        edits: first, next, or both.
        conventions: of the inversion of a first edit; a next one inverts nothing.
    """

    methods: Sequence[str] = ("prompt_to_prompt", "masactrl", "mag_edit")
    engines: Sequence[str] = ("torch", "onnxruntime")
    precisions: Sequence[str] = ("fp32",)
    models: Sequence[str] = ("rooms",)
    sizes: Sequence[tuple[int, int] | None] = (None,)
    steps: Sequence[int] = (50,)
    edits: Sequence[Edit] = ("first", "next")
    conventions: Sequence[Convention] = ("target", "current")

    def cells(self, native: dict[str, tuple[int, int]]) -> list[CellSpec]:
        """Return every combination, each once.

        Args:
            native: model -> (height, width) in pixels that it was trained on.
        """
        made = (
            CellSpec(method, engine, precision, model, size or native[model], steps, edit, told)
            for model, size, steps, precision, method, engine, edit, told in product(
                self.models, self.sizes, self.steps, self.precisions, self.methods, self.engines,
                self.edits, self.conventions,
            )
            if edit == "first" or told == self.conventions[0]
        )  # fmt: skip
        return list(dict.fromkeys(made))

    def shortened(self, steps: int) -> "Axes":
        """Return the same with schedules of so many steps, where they are the default."""
        return replace(self, steps=(steps,)) if tuple(self.steps) == (50,) else self


def native_pixels(checkpoint: Checkpoint) -> tuple[int, int]:
    """Return (height, width) in pixels of the pictures that a model was trained on.

    Raises:
        ModelError: its configuration does not say.
    """
    if checkpoint.manifest is not None:
        height, width = checkpoint.manifest.latent
        return height * checkpoint.manifest.factor, width * checkpoint.manifest.factor
    vae = read_json(checkpoint.folder / "vae" / "config.json", checkpoint.name)
    side = checkpoint.unet.get("sample_size")
    levels = vae.get("block_out_channels")
    if side is None or not levels:
        raise ModelError(f"{checkpoint.name!r} does not say its native size; give one, as --size.")
    height, width = (side, side) if isinstance(side, int) else side
    factor = 2 ** (len(levels) - 1)
    return height * factor, width * factor
