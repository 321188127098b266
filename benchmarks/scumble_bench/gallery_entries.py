"""What the gallery shows: commands as they are typed, and what is to be seen in their pictures."""

from dataclasses import dataclass

__all__ = ["ENTRIES", "PICTURES", "SCENES", "Entry"]

PICTURES = "benchmarks/scumble_bench/pictures"
SHOWN = "docs/pictures/gallery"
STEPS = ("--steps", "20")


@dataclass(frozen=True, slots=True)
class Entry:
    """One edit.

    Attributes:
        name: of its files.
        title: its heading.
        arguments: of `scumble edit`, but for seed and files to write.
        caption: what is to be seen, by the eye and not by a metric.
        works: whether the picture shows what was asked for.
        seed: of what is random.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    caption: str
    works: bool = True
    seed: int = 0

    @property
    def command(self) -> tuple[str, ...]:
        """The words that are typed after `scumble`; it writes a result and a strip beside it."""
        files = ("--out", f"{self.name}.png", "--strip", f"{self.name}-strip.png")
        return ("edit", *self.arguments, *STEPS, "--seed", str(self.seed), *files)


SCENES: dict[str, tuple[int, str]] = {"lamp": (1_000_000_024, "lamp")}
"""Pictures that the gallery draws itself: name -> held-out seed, and the thing of its mask."""

DRAWN = "a room with a green sofa and a yellow ball"
CAT = "a room with a brown cat and a blue carpet"
CAT_AFTER = "a room with a brown cat and a yellow carpet"
CARPET = "a room with a blue carpet"
SOFA = "a room with a red sofa"


def _prompts(source: str, target: str) -> tuple[str, ...]:
    return "--source", source, "--target", target


def _set(*settings: str) -> tuple[str, ...]:
    return tuple(word for setting in settings for word in ("--set", setting))


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "swap", "Prompt-to-Prompt: a word swapped",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, "a room with a blue sofa and a yellow ball"),
         *_set("blend_words=sofa")),
        "The sofa is blue, and everything outside it stays. The corners of its back stay "
        "green: the word's map, by which LocalBlend decides what may change, does not reach "
        "them.",
    ),
    Entry(
        "swap-unblended", "The same without LocalBlend",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, "a room with a blue sofa and a yellow ball")),
        "The sofa is blue to its corners. But two yellow blobs lie on the floor now, and the "
        "wall has turned greenish at the left: nothing holds the rest where it was.",
        works=False,
    ),
    Entry(
        "swap-ddim", "The same, inverted by DDIM",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, "a room with a blue sofa and a yellow ball"),
         "--inversion", "ddim"),
        "The sofa is blue; the ball has grown a second one, and yellow covers half the floor. "
        "Under guidance the source drifts from the picture, and what is taken from it drifts "
        "too.",
        works=False,
    ),
    Entry(
        "refine", "Prompt-to-Prompt: words added",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, f"{DRAWN} at night")),
        "It does not get dark. The wall turns greenish and the sofa lighter.",
        works=False,
    ),
    Entry(
        "crowded-p2p", "A crowded picture, Prompt-to-Prompt",
        (f"{PICTURES}/cat.png", *_prompts(CAT, CAT_AFTER)),
        "The carpet is yellow. The sofa, of which neither prompt speaks, is as brown as the "
        "cat, and the wall is green.",
        works=False,
    ),
    Entry(
        "crowded-mag", "The same picture, MAG-Edit",
        (f"{PICTURES}/cat.png", *_prompts(CAT, CAT_AFTER), "--method", "mag_edit",
         "--mask", f"{PICTURES}/cat-carpet.png", *_set("words=yellow")),
        "The carpet is yellow and nothing else has changed, but for what the autoencoder "
        "blurs. Its edge is ragged.",
    ),
    Entry(
        "lamp-mag", "MAG-Edit: the released setting",
        (f"{SHOWN}/lamp.png", *_prompts("a white lamp", "a green lamp"), "--method", "mag_edit",
         "--mask", f"{SHOWN}/lamp-lamp.png", *_set("words=green")),
        "Only the stand turns green; the shade stays white. The source prompt, a caption of "
        "this scene, names the lamp alone, though a table and a vase are green already.",
        works=False,
    ),
    Entry(
        "lamp-mag-sequence", "MAG-Edit: space, then token",
        (f"{SHOWN}/lamp.png", *_prompts("a white lamp", "a green lamp"), "--method", "mag_edit",
         "--mask", f"{SHOWN}/lamp-lamp.png", *_set("words=green", "ratio=sequence")),
        "The shade turns green too, in patches.",
    ),
    Entry(
        "pose", "MasaCtrl: another pose",
        (f"{PICTURES}/dog.png", *_prompts("a jumping yellow dog", "a standing yellow dog"),
         "--method", "masactrl"),
        "A yellow blob that stands as little as it jumps. The model hardly knows poses, and "
        "other words for the pose give nearly the same. What MasaCtrl is for, that it is "
        "still a yellow dog in the same room, can be guessed.",
        works=False,
    ),
    Entry(
        "layout", "Initial noise: a thing moved to its box",
        (*_prompts(CARPET, CARPET), "--method", "initial_noise",
         *_set("layout.carpet=[16,88,112,120]")),
        "The carpet lies in its box, whose corners are 16, 88 and 112, 120, and reaches a "
        "little over it. Wall and floor are others: their noise was moved too.",
        seed=3,
    ),
    Entry(
        "layout-sofa", "Initial noise: a box at the right",
        (*_prompts(SOFA, SOFA), "--method", "initial_noise", *_set("layout.sofa=[64,64,128,112]")),
        "Half of the sofa goes to the box at the right, the other half stays where it was.",
        works=False,
    ),
    Entry(
        "repaint", "Initial noise: a box painted anew",
        (*_prompts(CARPET, CARPET), "--method", "initial_noise", *_set("repaint=[[64,40,128,96]]")),
        "The noise in the box was drawn anew, and the thing in it became another shapeless "
        "one. Outside the box the rest is kept roughly: the window is gone, a white patch has "
        "come.",
        works=False,
        seed=3,
    ),
    Entry(
        "blocks", "Noise of blocks that became a sofa before",
        (*_prompts(SOFA, SOFA), "--method", "noise_blocks",
         *_set("layout.sofa=[64,64,128,112]", "collect=16")),
        "The sofa lies in the box at the right, where the one above did not all go. Nothing "
        "is kept of the picture before it: all of its noise is new.",
    ),
)  # fmt: skip
