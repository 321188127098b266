"""The demo's pictures and edits, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["EDITS", "PICTURES", "DemoEdit", "DemoPicture"]

FOLDER = Path(__file__).parent / "pictures"


@dataclass(frozen=True, slots=True)
class DemoPicture:
    """A picture file that ships with the demo.

    Attributes:
        name: short, for messages.
        file: in the `pictures` folder, beside a mask `STEM-THING.png` of each edited thing.
        prompt: describes it.
    """

    name: str
    file: str
    prompt: str

    @property
    def path(self) -> Path:
        """Where the picture is."""
        return FOLDER / self.file

    def mask_of(self, thing: str) -> Path:
        """Return where the mask of a thing is, white inside."""
        return self.path.with_name(f"{self.path.stem}-{thing}.png")


@dataclass(frozen=True, slots=True)
class DemoEdit:
    """One edit of one picture.

    Attributes:
        picture: name of the picture.
        kind: what sort of edit it is.
        target: target prompt.
        thing: the thing that is to change, as in the source prompt.
        label: under the result.
        colour: the colour it is to have, if that changes.
        becomes: the noun it is to be, if that changes.
        options: of Prompt-to-Prompt.
    """

    picture: str
    kind: Literal["swap", "refine", "reweight"]
    target: str
    thing: str
    label: str
    colour: str | None = None
    becomes: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


PICTURES: tuple[DemoPicture, ...] = ()
EDITS: tuple[DemoEdit, ...] = ()
