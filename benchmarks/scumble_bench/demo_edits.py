"""The demo's pictures and edits, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["EDITS", "METHOD_EDITS", "PICTURES", "DemoEdit", "DemoPicture", "MethodEdit"]

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


@dataclass(frozen=True, slots=True)
class MethodEdit:
    """One edit by a method other than Prompt-to-Prompt.

    Attributes:
        method: plugin.
        target: target prompt; where there is no picture, the source prompt too.
        thing: the thing that is to change, or to lie in its box.
        label: under the result.
        picture: that is edited; None generates one.
        colour: that the thing is to have.
        pose: likewise, None where it has none.
        box: where it is to lie, in pixels; None where the picture says so.
        options: of the plugin.
        masked: whether the mask of the thing is given.
        gradients: whether the method needs them.
        seed: of what is generated.
    """

    method: str
    target: str
    thing: str
    label: str
    picture: DemoPicture | None
    colour: str
    pose: str | None = None
    box: tuple[int, int, int, int] | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    masked: bool = False
    gradients: bool = False
    seed: int = 0

    @property
    def source(self) -> str:
        """The source prompt."""
        return self.target if self.picture is None else self.picture.prompt


PICTURES: tuple[DemoPicture, ...] = (
    # Held-out scenes of the world, and a picture painted by other means in another size.
    DemoPicture("table", "table.png", "a room with a red sofa and a purple table"),
    DemoPicture("cat", "cat.png", "a room with a brown cat, a blue carpet and a red sofa"),
    DemoPicture("drawn", "drawn.jpg", "a room with a green sofa and a yellow ball"),
)

EDITS: tuple[DemoEdit, ...] = (
    DemoEdit(
        picture="table",
        kind="swap",
        target="a room with a green sofa and a purple table",
        thing="sofa",
        label="swap: red -> green",
        colour="green",
        options={"blend_words": ("sofa",), "blend_threshold": 0.12, "cross_window": 0.6},
    ),
    DemoEdit(
        picture="table",
        kind="refine",
        target="a room with a red sofa and a blue table",
        thing="table",
        label="refine: a blue table",
        colour="blue",
        options={"mode": "refine", "blend_words": ("table",), "cross_window": 0.8},
    ),
    DemoEdit(
        picture="table",
        kind="reweight",
        target="a room with a red sofa and a purple table",
        thing="sofa",
        label="reweight: red x 4",
        options={"reweight": {"red": 4}, "blend_words": ("sofa",), "blend_threshold": 0.12},
    ),
    DemoEdit(
        picture="cat",
        kind="swap",
        target="a room with a brown cat, a blue carpet and a green sofa",
        thing="sofa",
        label="swap: red -> green",
        colour="green",
        options={"blend_words": ("sofa",), "blend_threshold": 0.2, "cross_window": 0.6},
    ),
    DemoEdit(
        picture="cat",
        kind="refine",
        target="a room with a brown cat, a green carpet and a red sofa",
        thing="carpet",
        label="refine: a green carpet",
        colour="green",
        options={
            "mode": "refine",
            "blend_words": ("carpet",),
            "blend_threshold": 0.02,
            "cross_window": 0.8,
        },
    ),
    DemoEdit(
        picture="cat",
        kind="reweight",
        target="a room with a brown cat, a blue carpet and a red sofa",
        thing="carpet",
        label="reweight: blue x -2",
        options={"reweight": {"blue": -2}, "blend_words": ("carpet",), "blend_threshold": 0.12},
    ),
    DemoEdit(
        picture="drawn",
        kind="swap",
        target="a room with a blue sofa and a yellow ball",
        thing="sofa",
        label="swap: green -> blue",
        colour="blue",
        options={"blend_words": ("sofa",), "blend_threshold": 0.02, "cross_window": 0.6},
    ),
    DemoEdit(
        picture="drawn",
        kind="refine",
        target="a room with a green sofa and a red ball",
        thing="ball",
        label="refine: a red ball",
        colour="red",
        options={"mode": "refine", "blend_words": ("ball",), "cross_window": 0.6},
    ),
    DemoEdit(
        picture="drawn",
        kind="reweight",
        target="a room with a green sofa and a yellow ball",
        thing="sofa",
        label="reweight: green x 4",
        options={"reweight": {"green": 4}, "blend_words": ("sofa",), "blend_threshold": 0.02},
    ),
)

RIGHT = (64, 56, 128, 96)

METHOD_EDITS: tuple[MethodEdit, ...] = (
    MethodEdit(
        method="masactrl",
        target="a lying yellow dog",
        thing="dog",
        label="masactrl: jumping -> lying",
        # Held-out scene 1000000148; the mask is of the dog in either pose.
        picture=DemoPicture("dog", "dog.png", "a jumping yellow dog"),
        colour="yellow",
        pose="lying",
    ),
    MethodEdit(
        method="mag_edit",
        target="a room with a brown cat, a blue carpet and a yellow sofa",
        thing="sofa",
        label="mag_edit: red -> yellow",
        picture=PICTURES[1],
        colour="yellow",
        options={"words": ("yellow",)},
        masked=True,
        gradients=True,
    ),
    MethodEdit(
        method="initial_noise",
        target="a room with a red sofa",
        thing="sofa",
        label="initial_noise: at the right",
        picture=None,
        colour="red",
        box=RIGHT,
        options={"layout": {"sofa": RIGHT}},
    ),
    MethodEdit(
        method="noise_blocks",
        target="a room with a red sofa",
        thing="sofa",
        label="noise_blocks: at the right",
        picture=None,
        colour="red",
        box=RIGHT,
        options={"layout": {"sofa": RIGHT}, "collect": 16},
    ),
)
