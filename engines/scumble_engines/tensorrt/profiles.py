"""How many rows a graph is built for: fewest, best and most, on every axis that is open."""

from collections.abc import Sequence
from dataclasses import dataclass

from scumble.errors import EngineError
from scumble.packs import Manifest

__all__ = ["Profile", "profile_of"]

BEST_ROWS = 3
"""A step of Prompt-to-Prompt on an inverted picture: source, target without text and with it."""
MOST_OF = {"vae_encoder": 1, "vae_decoder": 2}
"""Component -> pictures at once, as they need by far the most memory a row; more go in turns."""

# Symbol of an open axis -> how many more than rows it has.
AXES = {"rows": 0, "rows + 1": 1, "prompts": 0, "pictures": 0}


@dataclass(frozen=True, slots=True)
class Profile:
    """Rows of one graph.

    Attributes:
        least: fewest.
        best: what it is tuned for.
        most: most.
    """

    least: int
    best: int
    most: int

    @property
    def counts(self) -> tuple[int, int, int]:
        """The three numbers, as a key of the cache has them."""
        return self.least, self.best, self.most

    def shapes(
        self, port: str, shape: Sequence[int], axes: Sequence[str | None]
    ) -> tuple[tuple[int, ...], ...] | None:
        """Return the smallest, best and largest shape of an input, or None if it has one shape.

        Args:
            port: its name.
            shape: as the graph declares it; an open axis is below 0.
            axes: the symbol of each axis, where it has one.

        Raises:
            EngineError: an open axis whose symbol is not known.
        """
        if all(size >= 0 for size in shape):
            return None
        for size, axis in zip(shape, axes, strict=True):
            if size < 0 and axis not in AXES:
                raise EngineError(
                    f"port {port!r} is open along {axis or 'an axis without a name'}, and only "
                    f"{', '.join(AXES)} may be; export the model anew."
                )
        return tuple(
            tuple(
                rows + AXES[axis or ""] if size < 0 else size
                for size, axis in zip(shape, axes, strict=True)
            )
            for rows in self.counts
        )


def profile_of(manifest: Manifest, part: str) -> Profile:
    """Return the profile of a variant or component of a pack."""
    least, most = manifest.rows
    if part in manifest.components:
        return Profile(1, 1, min(most, MOST_OF.get(part, most)))
    return Profile(least, max(least, min(BEST_ROWS, most)), most)
