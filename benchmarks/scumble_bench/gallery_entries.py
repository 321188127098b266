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


SCENES: dict[str, tuple[int, str | None]] = {
    "lamp": (1_000_000_024, "lamp"), "pink-dog": (1_000_000_010, None),
}  # fmt: skip
"""Pictures that the gallery draws itself: name -> held-out seed, and whose mask, or None."""

DRAWN = "a room with a green sofa and a yellow ball"
DRAWN_AFTER = "a room with a blue sofa and a yellow ball"
CAT = "a room with a brown cat and a blue carpet"
CAT_AFTER = "a room with a brown cat and a yellow carpet"
DOG = "a bright room with a white carpet and a sitting dog"
DOG_AFTER = "a bright room with a white carpet and a jumping dog"
CARPET = "a room with a blue carpet"
SOFA = "a room with a red sofa"


def _prompts(source: str, target: str) -> tuple[str, ...]:
    return "--source", source, "--target", target


def _set(*settings: str) -> tuple[str, ...]:
    return tuple(word for setting in settings for word in ("--set", setting))


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "swap", "Prompt-to-Prompt: a word swapped",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, DRAWN_AFTER), *_set("blend_words=sofa")),
        "The middle of the sofa and its right arm are blue; the left arm stays green, and a "
        "patch of the seat: the word's map, by which LocalBlend decides what may change, does "
        "not reach them at the published threshold. Everything outside the sofa stays.",
        works=False,
    ),
    Entry(
        "swap-threshold", "The same, with a lower threshold",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, DRAWN_AFTER),
         *_set("blend_words=sofa", "blend_threshold=0.03")),
        "The sofa is blue but for a green rim at the left and below, and everything outside it "
        "stays.",
    ),
    Entry(
        "swap-unblended", "The same without LocalBlend",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, DRAWN_AFTER)),
        "The sofa is blue to its corners, a little smaller and without feet. The ball has kept "
        "its place and lost its round, wall and floor their grain: nothing holds the rest as it "
        "was.",
    ),
    Entry(
        "swap-ddim", "The same, inverted by DDIM",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, DRAWN_AFTER), "--inversion", "ddim"),
        "The sofa is blue, and stands a little higher than by direct inversion; the ball is "
        "taller, and darker at its rim. Under guidance the source drifts from the picture, and "
        "what is taken from it drifts too.",
    ),
    Entry(
        "refine", "Prompt-to-Prompt: words added",
        (f"{PICTURES}/drawn.jpg", *_prompts(DRAWN, f"{DRAWN} at night")),
        "The floor is that of the night, the wall is not. The sofa has lost its feet, and has a "
        "black patch at the left.",
        works=False,
    ),
    Entry(
        "crowded-p2p", "A crowded picture, Prompt-to-Prompt",
        (f"{PICTURES}/cat.png", *_prompts(CAT, CAT_AFTER)),
        "The carpet is yellow. Of the sofa, of which neither prompt speaks, nothing is left: "
        "the cat has grown into its place. The white ball is a block, the wall pink and the "
        "floor brown.",
        works=False,
    ),
    Entry(
        "crowded-mag", "The same picture, MAG-Edit",
        (f"{PICTURES}/cat.png", *_prompts(CAT, CAT_AFTER), "--method", "mag_edit",
         "--mask", f"{PICTURES}/cat-carpet.png", *_set("words=yellow")),
        "The carpet is yellow, with a darker spot where it had its pattern. Nothing else has "
        "changed, but for what the autoencoder blurs.",
    ),
    Entry(
        "lamp-mag", "MAG-Edit: the released setting",
        (f"{SHOWN}/lamp.png", *_prompts("a white lamp", "a green lamp"), "--method", "mag_edit",
         "--mask", f"{SHOWN}/lamp-lamp.png", *_set("words=green")),
        "The lamp is green, its outline ragged. The source prompt, a caption of this scene, "
        "names the lamp alone, though a table and a vase are green already.",
    ),
    Entry(
        "lamp-mag-sequence", "MAG-Edit: space, then token",
        (f"{SHOWN}/lamp.png", *_prompts("a white lamp", "a green lamp"), "--method", "mag_edit",
         "--mask", f"{SHOWN}/lamp-lamp.png", *_set("words=green", "ratio=sequence")),
        "Nearly the same; the shade is lighter at its left edge.",
    ),
    Entry(
        "pose", "MasaCtrl: another pose",
        (f"{PICTURES}/dog.png", *_prompts("a jumping yellow dog", "a standing yellow dog"),
         "--method", "masactrl"),
        "A yellow dog that neither jumps nor stands, its legs and tail lumps. The model draws "
        "fewer than half of the poses named. The room is the same; the window has a second, "
        "fainter frame.",
        works=False,
    ),
    Entry(
        "who", "MasaCtrl: a colour that no prompt names",
        (f"{SHOWN}/pink-dog.png", *_prompts(DOG, DOG_AFTER), "--method", "masactrl"),
        "The dog stays pink, though no prompt says so, and is off the floor. But it has no legs, "
        "has turned round, and the window is gone.",
        works=False,
    ),
    Entry(
        "who-alone", "The same by the prompt alone",
        (f"{SHOWN}/pink-dog.png", *_prompts(DOG, DOG_AFTER), "--method", "prompt_to_prompt",
         *_set("cross_window=0", "self_window=0")),
        "The same shape from the same noise, and the dog is black: nothing tells the model who it "
        "was.",
        works=False,
    ),
    Entry(
        "layout", "Initial noise: a thing moved to its box",
        (*_prompts(CARPET, CARPET), "--method", "initial_noise",
         *_set("layout.carpet=[16,88,112,120]")),
        "The carpet lies in its box, whose corners are 16, 88 and 112, 120, and reaches over it "
        "at the right. The wall is another: its noise was moved too.",
        seed=3,
    ),
    Entry(
        "layout-sofa", "Initial noise: a box at the right",
        (*_prompts(SOFA, SOFA), "--method", "initial_noise", *_set("layout.sofa=[64,64,128,112]")),
        "The sofa stands in the box at the right, with nothing below it.",
    ),
    Entry(
        "repaint", "Initial noise: a box painted anew",
        (*_prompts(CARPET, CARPET), "--method", "initial_noise", *_set("repaint=[[64,40,128,96]]")),
        "The noise in the box, the middle of the right half, was drawn anew. The right end of "
        "the carpet has another outline; its left, wall and floor are nearly the same.",
        seed=3,
    ),
    Entry(
        "blocks", "Noise of blocks that became a sofa before",
        (*_prompts(SOFA, SOFA), "--method", "noise_blocks",
         *_set("layout.sofa=[64,64,128,112]", "collect=16")),
        "The sofa stands in the box at the right, with nothing below it. Nothing is kept of "
        "the picture before it: all of its noise is new.",
    ),
)  # fmt: skip
