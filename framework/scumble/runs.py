"""What a user gets back: pictures, maps, timings, rows and provenance, and one way to save them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from scumble.arrays import Array, Floats
from scumble.attention_maps import RunMaps
from scumble.errors import OptionError
from scumble.guiding import Guided
from scumble.hookspecs import Trajectory
from scumble.pipeline import Finished
from scumble.recipes import write_picture

__all__ = ["Prepared", "Run"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `Editor.prepare` did.

    Attributes:
        rows: row evaluations by variant; none if all was remembered.
        steps: steps whose source state is at hand; fewer than the run's where the budget is short.
        bytes: of everything that the editor remembers.
        seconds: by stage.
    """

    rows: dict[str, int]
    steps: int
    bytes: int
    seconds: dict[str, float]


class Run:
    """One finished run.

    Attributes:
        recipe: everything needed to do it again: request, seed, model, engine, versions, sources.
        rows: row evaluations by variant; `inversion` are those of inverting. Gradients are counted
            too, as `gradient`: each runs a row forward, up to the last map it needs, and back.
        timings: seconds by stage.
        latents: picture -> (channels, height, width); 0 is the source.
        notes: sentences on what was converted on the way in.
    """

    def __init__(
        self,
        finished: Finished,
        recipe: Mapping[str, Any],
        timings: Mapping[str, float],
        given: Array | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._finished = finished
        self._given = given
        self.recipe = dict(recipe)
        self.timings = dict(timings)
        self.notes = notes
        self.rows = finished.rows
        self.latents: dict[int, Floats] = finished.latents

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The targets' pictures, or the one picture of a run without targets."""
        pixels = self._finished.pixels
        wanted = [p for p in sorted(pixels) if p > 0] or [0]
        return tuple(Image.fromarray(pixels[p]) for p in wanted)

    @property
    def image(self) -> Image.Image:
        """The first of `images`."""
        return self.images[0]

    @property
    def source(self) -> Image.Image:
        """The picture that was edited: as given, at the run's size, or as generated."""
        pixels = self._given if self._given is not None else self._finished.pixels[0]
        return Image.fromarray(pixels)

    @property
    def maps(self) -> RunMaps:
        """Word -> attention map, computed when asked for while the editor is open."""
        return self._finished.maps

    @property
    def trajectory(self) -> Trajectory | None:
        """The inversion, or None where the source was generated."""
        return self._finished.trajectory

    @property
    def path(self) -> Trajectory:
        """The latents that the first of `images` went through, for an edit that goes on from it.

        Raises:
            OptionError: the run began part-way, so that it has no latents before.
        """
        picture = min((p for p in self._finished.pixels if p > 0), default=0)
        skipped = sum(not level for level in self._finished.levels)
        if skipped:
            raise OptionError(
                f"the run to go on from began at step {skipped}, and no latent leads there; edit "
                "its picture instead."
            )
        levels = [level[picture] for level in self._finished.levels]
        latents = np.stack([*levels, self.latents[picture]])
        if self.trajectory is None:
            return Trajectory(latents, pinned=True)
        # What else its steps took, the next one's need as well.
        return replace(self.trajectory, latents=latents, pinned=True)

    @property
    def masks(self) -> Mapping[str, Floats]:
        """Name -> (height, width) 0 or 1 at latent size, given or made; '' has no name."""
        return self._finished.masks

    @property
    def row_count(self) -> int:
        """Row evaluations of the whole run, inversion included, maps and gradients not."""
        return sum(count for name, count in self.rows.items() if name != "gradient")

    @property
    def gradient_count(self) -> int:
        """Gradients of the whole run."""
        return self.rows.get("gradient", 0)

    @property
    def guided(self) -> tuple[Guided, ...]:
        """What guides did, in order: the losses before each update."""
        return self._finished.guided

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What ran: engine, versions, device, model fingerprint, plugins."""
        return self.recipe["provenance"]

    def save(self, path: str | Path) -> tuple[Path, ...]:
        """Write each image as a PNG that holds its recipe, and return the paths.

        One image goes to `path`; further ones beside it as `name-2.png`, `name-3.png`, ...

        Raises:
            OptionError: not a .png, or a folder that cannot be written; nothing is left behind.
        """
        first = Path(path)
        paths = [
            first if index == 0 else first.with_name(f"{first.stem}-{index + 1}{first.suffix}")
            for index in range(len(self.images))
        ]
        written: list[Path] = []
        try:
            for index, (target, image) in enumerate(zip(paths, self.images, strict=True)):
                write_picture(target, np.asarray(image), {**self.recipe, "result": index})
                written.append(target)
        except OptionError:
            for target in written:
                target.unlink(missing_ok=True)
            raise
        return tuple(paths)
