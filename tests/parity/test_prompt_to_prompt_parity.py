"""Prompt-to-Prompt by S and d against the controllers written out on materialised maps.

The reference below follows the publication and its code's documented behaviour, in their batch
layout [unconditional source, targets.., conditional source, targets..], with every row at every
step and each probability map in memory. It shares nothing with the plugin but prompt embeddings.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble import Editor
from scumble.arrays import Floats
from scumble.controls import Read
from scumble.hookspecs import RunView, StepView, Trajectory
from scumble.host import Host
from scumble.images import fit, load_picture
from scumble.masks import read_mask
from scumble.pipeline import Finished, Pipeline
from scumble.planner import compile_plans
from scumble.plans import Plan, steps_between
from scumble.requests import EditRequest
from scumble.sampler import guided, step_ports
from scumble.schedule import Job, Schedule
from scumble.session import Session
from scumble.words import Tokenizer

STEPS = 6
FACTOR = 2  # pixels for each latent cell, of the tiny checkpoint

CAT = "a red cat on a sofa"


class Case(NamedTuple):
    """One edit, as a user asks for it."""

    source: str
    targets: tuple[str, ...]
    options: dict[str, Any]
    picture: Literal["generated", "direct", "ddim"] = "generated"
    guidance: float = 7.5
    negative: str = ""
    latent: tuple[int, int] = (8, 8)
    masked: bool = False
    offset: int = 1
    steps: int = STEPS


# The reference: words, mappers, windows


def pieces(tokenizer: Tokenizer, prompt: str) -> list[str]:
    """The text of each token between BOS and EOS."""
    encoded = tokenizer.encode(prompt)
    ids = encoded.ids[1 : encoded.length - 1]
    return [(tokenizer.backend.id_to_token(int(i)) or "").removesuffix("</w>") for i in ids]


def word_tokens(tokenizer: Tokenizer, prompt: str, word: str | int) -> list[int]:
    """The published walk: add up the characters of tokens until a word's length is reached."""
    words = prompt.split(" ")
    chosen = [word] if isinstance(word, int) else [i for i, w in enumerate(words) if w == word]
    found: list[int] = []
    length = place = 0
    for i, piece in enumerate(pieces(tokenizer, prompt)):
        length += len(piece)
        if place in chosen:
            found.append(i + 1)
        if length >= len(words[place]):
            place, length = place + 1, 0
    return found


def replace_mapper(tokenizer: Tokenizer, source: str, target: str, unshifted: bool) -> Tensor:
    """(source token, target token); words after a swap shifted, padding not; or as published."""
    old, new, window = source.split(" "), target.split(" "), tokenizer.window
    assert len(old) == len(new)
    differing = [i for i in range(len(old)) if old[i] != new[i]]
    sources = [word_tokens(tokenizer, source, i) for i in differing]
    targets = [word_tokens(tokenizer, target, i) for i in differing]
    mapper = torch.zeros(window, window, dtype=torch.float64)
    i = j = at = 0
    while i < window and j < window:
        if at < len(sources) and sources[at][0] == i:
            if len(sources[at]) == len(targets[at]):
                for one, other in zip(sources[at], targets[at], strict=True):
                    mapper[one, other] = 1
            else:
                for one in sources[at]:
                    for other in targets[at]:
                        mapper[one, other] = 1 / len(targets[at])
            i, j, at = i + len(sources[at]), j + len(targets[at]), at + 1
        else:
            mapper[j if unshifted and at == len(sources) else i, j] = 1
            i, j = i + 1, j + 1
    if not unshifted:  # the identity on padding; the target's first takes what has no place
        source_ends, target_ends = (tokenizer.encode(text).length for text in (source, target))
        mapper[source_ends:] = 0
        for row in range(source_ends, window):
            mapper[row, row if row >= target_ends else target_ends] = 1
    return mapper


def refine_mapper(tokenizer: Tokenizer, source: str, target: str) -> tuple[Tensor, Tensor]:
    """Needleman-Wunsch: gap 0, match 1, mismatch -1; ties go left, then up, then diagonal."""
    x, y = (
        encoded.ids[: encoded.length].tolist()
        for encoded in (tokenizer.encode(source), tokenizer.encode(target))
    )
    score = np.zeros((len(x) + 1, len(y) + 1), int)
    came = np.full(score.shape, "", dtype=object)
    came[0, 1:], came[1:, 0] = "left", "up"
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = score[i, j - 1], score[i - 1, j]
            diagonal = score[i - 1, j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            score[i, j] = max(left, up, diagonal)
            came[i, j] = (
                "left" if score[i, j] == left else "up" if score[i, j] == up else "diagonal"
            )
    mapper, alpha = torch.arange(tokenizer.window), torch.ones(tokenizer.window)
    i, j = len(x), len(y)
    while i or j:
        if came[i, j] == "left":
            j -= 1
            mapper[j], alpha[j] = -1, 0
        elif came[i, j] == "up":
            i -= 1
        else:
            i, j = i - 1, j - 1
            mapper[j] = i
    return mapper, alpha.double()


def bounds(window: Any) -> tuple[float, float]:
    return (0.0, window) if isinstance(window, int | float) else window


def whole(share: float, steps: int) -> int:
    """int(share * steps), for the decimal that was written."""
    return math.floor(round(share * steps, 9))


@dataclass
class Reference:
    """The controllers of one edit, on maps: AttentionStore, Replace, Refine, Reweight, blend."""

    tokenizer: Tokenizer
    case: Case
    step: int = 0
    stored: Tensor | None = None
    moved: float = 0.0
    masks: list[float] = field(default_factory=list)
    _now: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        given: dict[str, Any] = {
            "mode": "auto", "cross_window": 0.8, "self_window": 0.4, "reweight": {},
            "blend_words": (), "subtract_words": (), "blend_threshold": 0.3,
            "subtract_threshold": 0.3, "blend_start": 0.2, "compat": (), **self.case.options,
        }  # fmt: skip
        self.options = given
        self.pictures = len(self.case.targets) + 1
        tokens, steps = self.tokenizer.window, self.case.steps
        rows = steps + 1 if "extra_step" in given["compat"] else steps
        windows = given["cross_window"]
        windows = dict(windows) if isinstance(windows, dict) else {"default": windows}
        default = windows.pop("default", 0.8)  # (0, 1) as published
        self.alphas = torch.zeros(rows, self.pictures - 1, tokens, dtype=torch.float64)
        self.equalizer = torch.ones(self.pictures - 1, tokens, dtype=torch.float64)
        for t, target in enumerate(self.case.targets):
            for word, window in [(None, default), *windows.items()]:
                columns = slice(None) if word is None else self._tokens(target, word)
                first, last = (whole(share, rows) for share in bounds(window))
                self.alphas[:, t, columns] = 0
                self.alphas[first:last, t, columns] = 1
            for word, factor in given["reweight"].items():
                self.equalizer[t, self._tokens(target, word)] = factor
        self.mappers = [self._mapper(target) for target in self.case.targets]
        height, width = self.case.latent
        self.cells = -(-height // 2) * -(-width // 2)
        self.most = height * width if "self_32" in given["compat"] else self.cells
        self.self_steps = range(*(whole(s, steps) for s in bounds(given["self_window"])))

    def _tokens(self, prompt: str, words: str | Sequence[str]) -> list[int]:
        words = [words] if isinstance(words, str) else words
        return sorted({i for word in words for i in word_tokens(self.tokenizer, prompt, word)})

    def _mapper(self, target: str) -> Tensor | tuple[Tensor, Tensor]:
        mode, source = self.options["mode"], self.case.source
        same = len(source.split(" ")) == len(target.split(" "))
        if mode == "replace" or (mode == "auto" and same):
            unshifted = "unshifted_tail" in self.options["compat"]
            return replace_mapper(self.tokenizer, source, target, unshifted)
        return refine_mapper(self.tokenizer, source, target)

    def _base(self, source: Tensor, own: Tensor, t: int) -> Tensor:
        mapper = self.mappers[t]
        if isinstance(mapper, Tensor):
            return torch.einsum("hpw,wn->hpn", source, mapper)
        places, alpha = mapper
        return source[..., places] * alpha + own * (1 - alpha)

    def edit(self, path: str, maps: Tensor) -> Tensor:
        """Edit (rows, heads, queries, keys) of the conditional half, and store what was made."""
        if maps.shape[0] != 2 * self.pictures:  # an inversion, or the pass of the offsets
            return maps
        maps = maps.clone()
        half = maps[self.pictures :]
        if path.endswith("attn2"):
            for t in range(self.pictures - 1):
                changed = self._base(half[0], half[t + 1], t) * self.equalizer[t]
                alpha = self.alphas[self.step, t]
                changed = changed * alpha + half[t + 1] * (1 - alpha)
                self.moved = max(self.moved, float((changed - half[t + 1]).abs().max()))
                half[t + 1] = changed
            if maps.shape[2] == self.cells and not path.startswith("mid_block"):
                self._now.append(half.clone())
        elif self.step in self.self_steps and maps.shape[2] <= self.most:
            half[1:] = half[0]
        return maps

    def between_steps(self) -> None:
        """Sum the stored maps over steps, (pictures, sites * heads, queries, tokens)."""
        now = torch.cat(self._now, dim=1)
        self._now.clear()
        self.stored = now if self.stored is None else self.stored + now

    def blend(self, latents: Tensor, mask: Tensor | None) -> Tensor:
        """LocalBlend: x = x_source + mask (x - x_source)."""
        words = self.options["blend_words"]
        if self.step + 1 <= whole(self.options["blend_start"], self.case.steps):
            return latents
        if mask is None and not words:
            return latents
        if mask is None:
            wanted = self._mask(words, self.options["blend_threshold"], pool=True)
            if self.options["subtract_words"]:
                threshold = self.options["subtract_threshold"]
                wanted &= ~self._mask(self.options["subtract_words"], threshold, pool=False)
            self.masks += wanted[1:].double().mean((1, 2, 3)).tolist()
        else:
            wanted = mask[None, None] > 0
        return latents[:1] + wanted.double() * (latents - latents[:1])

    def _mask(self, words: Sequence[str], threshold: float, *, pool: bool) -> Tensor:
        """(pictures, 1, height, width) bool, or-ed with the source's."""
        assert self.stored is not None
        height, width = self.case.latent
        maps = self.stored.unflatten(2, (-(-height // 2), -(-width // 2)))
        found: list[Tensor] = []
        for picture, prompt in enumerate((self.case.source, *self.case.targets)):
            columns = torch.zeros(self.tokenizer.window, dtype=torch.float64)
            columns[self._tokens(prompt, words)] = 1
            found.append((maps[picture] * columns).sum(-1).mean(0, keepdim=True))
        fields = torch.stack(found)
        if pool:
            fields = F.max_pool2d(fields, 3, 1, padding=1)
        fields = F.interpolate(fields, size=self.case.latent)
        fields = fields / fields.amax((2, 3), keepdim=True)
        above = fields > threshold  # 0 / 0 is above nothing
        return above[:1] | above


def install(unet: UNet2DConditionModel, reference: Reference) -> None:
    """Put attention with written-out, edited probabilities everywhere."""

    def at(path: str) -> Callable[..., Tensor]:
        def process(
            attn: Attention, hidden_states: Tensor, encoder_hidden_states: Any = None, **_: Any
        ) -> Tensor:
            modules = cast("Any", attn)
            text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k, v = (
                project(given).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
                for project, given in (
                    (modules.to_q, hidden_states), (modules.to_k, text), (modules.to_v, text)
                )
            )  # fmt: skip
            maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
            out = reference.edit(path, maps) @ v
            return modules.to_out[0](out.transpose(1, 2).flatten(2))

        return process

    for path, module in unet.named_modules():
        if isinstance(module, Attention):
            cast("Any", module).set_processor(at(path))


# The reference: schedule, inversion, loop


class Numbers:
    """DDIM as published: scaled linear betas, leading timesteps, final alpha of timestep 0."""

    def __init__(self, steps: int, offset: int) -> None:
        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.alphas = np.cumprod(1 - betas)
        self.gap = 1000 // steps
        self.timesteps = [i * self.gap + offset for i in reversed(range(steps))]

    def before(self, t: int) -> float:
        """The cumulative alpha one step nearer to the picture."""
        return float(self.alphas[max(t - self.gap, 0)])

    def forward(self, x: Tensor, noise: Tensor, t: int) -> Tensor:
        return self._move(x, noise, float(self.alphas[t]), self.before(t))

    def inverse(self, x: Tensor, noise: Tensor, t: int) -> Tensor:
        return self._move(x, noise, self.before(t), float(self.alphas[t]))

    def _move(self, x: Tensor, noise: Tensor, start: float, end: float) -> Tensor:
        clean = (x - (1 - start) ** 0.5 * noise) / start**0.5
        return end**0.5 * clean + (1 - end) ** 0.5 * noise


@dataclass
class Explicit:
    """The loops around the UNet, on float64 tensors of (pictures, 4, height, width)."""

    unet: UNet2DConditionModel
    embed: Callable[[str], Tensor]
    case: Case

    def __post_init__(self) -> None:
        self.numbers = Numbers(self.case.steps, self.case.offset)

    def noise(self, x: Tensor, t: int, texts: Sequence[str]) -> Tensor:
        text = torch.stack([self.embed(text) for text in texts])
        return self.unet(x, torch.full((len(x),), t), encoder_hidden_states=text).sample

    def guided(self, x: Tensor, t: int, texts: Sequence[str]) -> Tensor:
        both = [*[self.case.negative] * len(x), *texts]
        unconditional, conditional = self.noise(torch.cat([x, x]), t, both).chunk(2)
        return unconditional + self.case.guidance * (conditional - unconditional)

    def invert(self, clean: Tensor) -> list[Tensor]:
        """Latents from the noisiest to the clean one, each (1, 4, height, width)."""
        latents = [clean]
        for t in reversed(self.numbers.timesteps):
            predicted = self.noise(latents[0], t, [self.case.source])
            latents.insert(0, self.numbers.inverse(latents[0], predicted, t))
        return latents

    def offsets(self, recorded: list[Tensor]) -> list[Tensor]:
        """What the source lacks at each step to arrive at its recorded latent."""
        x, found = recorded[0], []
        for i, t in enumerate(self.numbers.timesteps):
            reached = self.numbers.forward(x, self.guided(x, t, [self.case.source]), t)
            found.append(recorded[i + 1] - reached)
            x = reached + found[-1]
        return found

    def run(
        self,
        reference: Reference,
        start: Tensor,
        mask: Tensor | None = None,
        recorded: list[Tensor] | None = None,
        offsets: list[Tensor] | None = None,
    ) -> list[Tensor]:
        """The latents of all pictures after each step."""
        texts = (self.case.source, *self.case.targets)
        x = start.expand(len(texts), -1, -1, -1).clone()
        found: list[Tensor] = []
        for i, t in enumerate(self.numbers.timesteps):
            reference.step = i
            x = self.numbers.forward(x, self.guided(x, t, texts), t)
            reference.between_steps()
            if recorded is not None:
                x[0] = recorded[i + 1][0]
            if offsets is not None:
                x[0] += offsets[i][0]
            x = reference.blend(x, mask)
            found.append(x.clone())
        return found


# What is compared


@pytest.fixture(scope="module")
def editor32(folder: Path) -> Iterator[Editor]:
    with Editor.load(folder, device="cpu") as loaded:
        yield loaded


def picture(case: Case) -> np.ndarray:
    height, width = (side * FACTOR for side in case.latent)
    rng = np.random.default_rng(4)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def mask_of(case: Case) -> np.ndarray | None:
    """A user's mask of the picture's size, on whole latent cells."""
    if not case.masked:
        return None
    cells = np.zeros(case.latent, bool)
    cells[1:5, 2:6] = True
    return np.kron(cells, np.ones((FACTOR, FACTOR), bool))


def marked(names: Iterable[str], *quick: str) -> list[Any]:
    """All but the quick ones are for `make test`."""
    return [pytest.param(n, marks=() if n in quick else pytest.mark.thorough) for n in names]


def request_of(case: Case) -> dict[str, Any]:
    height, width = case.latent
    asked: dict[str, Any] = {
        "source": case.source,
        "options": case.options,
        "steps": case.steps,
        "guidance": case.guidance,
        "negative": case.negative,
        "size": (height * FACTOR, width * FACTOR),
        "seed": 5,
    }
    return asked if case.picture == "generated" else {**asked, "inversion": case.picture}


class Edited(NamedTuple):
    levels: list[dict[int, np.ndarray]]
    trajectory: Trajectory | None
    rows: dict[str, int]


def by_editor(editor: Editor, case: Case) -> Edited:
    levels: list[dict[int, np.ndarray]] = []
    run = editor.edit(
        None if case.picture == "generated" else picture(case),
        target=list(case.targets),
        mask=mask_of(case),
        callback_on_step_end=lambda progress: levels.append(dict(progress.latents)),
        **request_of(case),
    )
    return Edited(levels, run.trajectory, run.rows)


def with_offset(session: Session, offset: int, patch: pytest.MonkeyPatch) -> None:
    scheduler = replace(session.checkpoint.scheduler, steps_offset=offset)
    patch.setattr(session, "checkpoint", replace(session.checkpoint, scheduler=scheduler))


def by_reference(
    editor: Editor, unet: UNet2DConditionModel, case: Case, *, form: str = "overwriting"
) -> tuple[Reference, list[Tensor], list[Tensor] | None]:
    reference = Reference(editor.session.tokenizer, case)
    install(unet, reference)
    explicit = Explicit(
        unet, lambda text: torch.from_numpy(editor.session.embed(text).states), case
    )
    recorded: list[Tensor] | None = None
    mask = mask_of(case)
    cells = None if mask is None else torch.from_numpy(mask[::FACTOR, ::FACTOR].astype(float))
    with torch.inference_mode():
        if case.picture == "generated":
            noise = np.random.default_rng(5).standard_normal((4, *case.latent))
            start = torch.from_numpy(noise)[None]
        else:
            pixels = picture(case).transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
            clean = editor.session.engine.encode_image(pixels.astype(np.float64))
            recorded = explicit.invert(torch.from_numpy(clean))
            start = recorded[0]
        pinned = recorded if case.picture == "direct" else None
        if form == "offsets":
            assert pinned is not None
            found = explicit.run(reference, start, cells, offsets=explicit.offsets(pinned))
        else:
            found = explicit.run(reference, start, cells, recorded=pinned)
    return reference, found, recorded


def farthest(found: np.ndarray, wanted: np.ndarray | Tensor) -> float:
    return float(np.abs(np.asarray(found) - np.asarray(wanted)).max())


def apart(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference, relative to the largest value or 1."""
    return farthest(found, wanted) / max(1.0, float(np.abs(wanted).max()))


def compare(
    editor: Editor, unet: UNet2DConditionModel, case: Case, *, form: str = "overwriting"
) -> Reference:
    """Hold every latent of every step, and the inversion, to the reference."""
    edited = by_editor(editor, case)
    reference, wanted, recorded = by_reference(editor, unet, case, form=form)
    if recorded is not None:
        assert edited.trajectory is not None
        for found, level in zip(edited.trajectory.latents, recorded, strict=True):
            assert farthest(found, level[0]) <= 1e-9
    known = range(1 if case.picture == "ddim" else 0, len(case.targets) + 1)
    assert len(edited.levels) == case.steps
    for step, (latents, level) in enumerate(zip(edited.levels, wanted, strict=True)):
        for shown in known:
            error = farthest(latents[shown], level[shown])
            assert error <= 1e-9, f"step {step}, picture {shown}: {error:.1e}"
    return reference


SEVERAL = ("a red dog on a sofa", "a fluffy red cat on a sofa with a vase", "a blue cat on a sofa")
CONTROLLERS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "replace": (CAT, ("a red dog on a sofa",), {}),
    "replace-longer": (CAT, ("a purple cat on a sofa",), {}),
    "replace-longer-unshifted": (
        CAT, ("a purple cat on a sofa",), {"compat": ("unshifted_tail",)}),
    "replace-shorter": ("a purple cat on a picture", ("a red cat on a sofa",), {}),
    "replace-shorter-unshifted": (
        "a purple cat on a picture", ("a red cat on a sofa",), {"compat": ("unshifted_tail",)}),
    "replace-three": ("a red cat on a vase", ("a purple dog on a carpet",), {}),
    "refine-inserts": (CAT, ("a fluffy red cat on a sofa with a vase",), {}),
    "refine-swaps": (CAT, ("a purple cat on a carpet",), {"mode": "refine"}),
    "refine-drops": ("a fluffy purple cat on a sofa", ("a cat on a sofa",), {}),
    "reweight": (CAT, (CAT,), {"reweight": {"red": 5.0, "sofa": -1.0}}),
    "reweight-replace": (
        CAT, ("a purple dog on a sofa",), {"reweight": {"purple": 3.0, "dog": -2.0}}),
    "reweight-refine": (
        CAT, ("a fluffy red cat on a carpet",), {"reweight": {"fluffy": 4.0, "cat": 0.5}}),
    "words-replace": (
        CAT, ("a purple dog on a sofa",),
        {"cross_window": {"default": 0.8, "purple": (0.2, 0.5), "dog": 0.35}}),
    "words-refine": (
        CAT, ("a fluffy red dog on a vase",),
        {"cross_window": {"default": (0.2, 0.9), "fluffy": 0.5, "vase": (0.4, 1.0)},
         "reweight": {"fluffy": 2.0}}),
    "words-no-default": (CAT, ("a red dog on a sofa",), {"cross_window": {"dog": (0.5, 1.0)}}),
    "windows": (
        CAT, ("a red dog on a sofa",), {"cross_window": (0.3, 0.7), "self_window": (0.2, 0.9)}),
    "self-only": (CAT, ("a blue dog on a sofa",), {"cross_window": 0.0, "self_window": 1.0}),
    "cross-only": (CAT, ("a blue dog on a sofa",), {"cross_window": 1.0, "self_window": 0.0}),
    "self-32": (CAT, ("a red dog on a sofa",), {"compat": ("self_32",), "self_window": 0.6}),
    "extra-step": (
        CAT, ("a red dog on a sofa",), {"compat": ("extra_step",), "cross_window": 0.29}),
    "all-quirks": (
        CAT, ("a purple cat on a sofa",),
        {"compat": ("extra_step", "self_32", "unshifted_tail"), "reweight": {"purple": 2.0}}),
    "blend": (
        CAT, ("a red dog on a sofa",), {"blend_words": ("cat", "dog"), "blend_threshold": 0.97}),
    "blend-subtract": (
        CAT, ("a blue dog on a sofa",),
        {"blend_words": ("cat", "dog"), "subtract_words": ("sofa",), "blend_threshold": 0.5,
         "subtract_threshold": 0.7, "blend_start": 0.4}),
    "blend-refine-reweight": (
        CAT, ("a fluffy red cat on a vase",),
        {"blend_words": ("fluffy", "cat", "vase"), "blend_threshold": 0.97, "blend_start": 0.0,
         "reweight": {"fluffy": 3.0}, "cross_window": {"default": 0.8, "cat": 0.4}}),
    "several": (CAT, SEVERAL, {}),
    "several-blend": (
        CAT, SEVERAL,
        {"blend_words": ("cat", "dog"), "subtract_words": ("sofa",), "blend_threshold": 0.95,
         "subtract_threshold": 0.8, "reweight": {"fluffy": 3.0}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", marked(["generated", "direct"], "generated"))
@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_controller_is_the_reference(
    editor: Editor, unet: UNet2DConditionModel, name: str, kind: Any
):
    case = Case(*CONTROLLERS[name], picture=kind)
    reference = compare(editor, unet, case)
    assert reference.moved > 1e-3 or name == "self-only"
    if "blend" in name:
        assert any(0 < share < 1 for share in reference.masks), "the masks say nothing"


VARIED: dict[str, Case] = {
    "mask": Case(*CONTROLLERS["replace"], picture="direct", masked=True),
    "mask-start": Case(
        CAT, ("a fluffy cat on a sofa",), {"blend_start": 0.5}, picture="direct", masked=True),
    "ddim": Case(*CONTROLLERS["reweight-refine"], picture="ddim"),
    "ddim-blend": Case(*CONTROLLERS["blend"], picture="ddim"),
    "unguided": Case(*CONTROLLERS["replace"], guidance=1.0),
    "unguided-direct": Case(*CONTROLLERS["blend"], picture="direct", guidance=1.0),
    "negative": Case(*CONTROLLERS["several-blend"], picture="direct", negative="a blue vase"),
    "negative-is-source": Case(*CONTROLLERS["words-refine"], negative=CAT),
    "wide": Case(*CONTROLLERS["blend-subtract"], picture="direct", latent=(8, 12)),
    "odd": Case(*CONTROLLERS["blend"], latent=(7, 9)),
    "offset-0": Case(*CONTROLLERS["replace-longer"], picture="direct", offset=0),
    "offset-0-blend": Case(*CONTROLLERS["blend"], picture="direct", offset=0),
    "offset-0-generated": Case(*CONTROLLERS["blend"], offset=0),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", marked(VARIED, "mask", "ddim", "ddim-blend", "wide", "offset-0-blend")
)
def test_so_is_every_way_to_run_it(
    editor: Editor, unet: UNet2DConditionModel, name: str, monkeypatch: pytest.MonkeyPatch
):
    case = VARIED[name]
    with_offset(editor.session, case.offset, monkeypatch)
    compare(editor, unet, case)


@pytest.mark.parametrize(
    "name", marked(["replace", "refine-inserts", "blend", "several-blend"], "blend")
)
def test_direct_inversion_by_overwriting_is_the_offset_form(
    editor: Editor, unet: UNet2DConditionModel, name: str
):
    case = Case(*CONTROLLERS[name], picture="direct")
    compare(editor, unet, case, form="offsets")


# The planner


def pipeline_of(editor: Editor, case: Case, *, reduce: bool) -> Pipeline:
    """What `Editor.edit` makes of a case, with a choice that users do not have."""
    real = case.picture != "generated"
    asked = EditRequest.model_validate({**request_of(case), "targets": case.targets})
    made = Pipeline(
        editor.session,
        asked,
        (case.source, *case.targets),
        frozenset(range(1 if real else 0, len(case.targets) + 1)),
        Host([(asked.method, asked.options)]),
        Host([(asked.inversion, {})]) if real else None,
        reduce=reduce,
    )
    if real:
        height, width = (side * FACTOR for side in case.latent)
        made.picture = fit(load_picture(picture(case)), (height, width), "crop")
        mask = mask_of(case)
        if mask is not None:
            made.masks[""] = read_mask(mask, (height, width))
    return made


PLANNED = {
    **{
        f"{name}-{kind}": Case(*CONTROLLERS[name], picture=cast("Any", kind))
        for name in ("windows", "words-refine", "several-blend", "self-only")
        for kind in ("generated", "direct", "ddim")
    },
    **VARIED,
}


@pytest.mark.parametrize(
    "name", marked(PLANNED, "several-blend-direct", "windows-ddim", "offset-0", "unguided")
)
def test_the_planner_changes_no_result(editor: Editor, name: str, monkeypatch: pytest.MonkeyPatch):
    case = PLANNED[name]
    with_offset(editor.session, case.offset, monkeypatch)
    done: list[Finished] = []
    for reduce in (True, False):
        # So that both invert, whatever was tested before.
        editor.session.sources.clear()
        done.append(pipeline_of(editor, case, reduce=reduce).finish())
    for shown in range(1 if case.picture == "ddim" else 0, len(case.targets) + 1):
        assert farthest(done[0].latents[shown], done[1].latents[shown]) <= 1e-9
    short, full = (sum(finished.rows.values()) for finished in done)
    inversion = done[1].rows.get("inversion", 0)
    assert full == 2 * (len(case.targets) + 1) * case.steps + inversion or case.guidance == 1
    assert short < full


def planned(editor: Editor, case: Case) -> tuple[RunView, Job, list[Plan], Trajectory | None]:
    """A run that has been inverted and planned, but not sampled."""
    made = pipeline_of(editor, case, reduce=True)
    run = made.view()
    trajectory = made.inversion.invert(run) if made.inversion else None
    run = replace(run, trajectory=trajectory)
    job = made._job(run, trajectory, "", made._start(run, made.host))
    return run, job, made.host.plan(run), trajectory


@pytest.mark.parametrize(("precision", "allowed"), [("fp64", 1e-12), ("fp32", 1e-5)])
@pytest.mark.parametrize(
    "name", ["windows-generated", "several-blend-direct", "words-refine-direct", "ddim"]
)
def test_the_planner_changes_no_single_step(
    editor: Editor, editor32: Editor, name: str, precision: str, allowed: float
):
    """From equal latents: every latent a step moves, and every map it reads.

    Relative to its size: guidance by 7.5 makes latents of up to 6 here, and rounding as large.
    """
    case = PLANNED[name]
    chosen = {"fp64": editor, "fp32": editor32}[precision]
    session = chosen.session
    run, job, plans, _ = planned(chosen, case)
    sizes = session.info.sizes(run.latent)
    short, full = (compile_plans(plans, job, sizes, reduce=on) for on in (True, False))
    rng = np.random.default_rng(2)
    worst = 0.0
    for one, other in zip(short.steps, full.steps, strict=True):
        # At step 0 all pictures are one, which the planner makes use of.
        shared = rng.standard_normal((4, *run.latent)).astype(np.float32)
        latents = {
            p: shared + one.index * 0.2 * rng.standard_normal(shared.shape).astype(np.float32)
            if one.index else shared
            for p in range(len(case.targets) + 1)
        }  # fmt: skip
        found, wanted = (
            session.step(step_ports(session, run, step, latents, {}), "test")
            for step in (one, other)
        )
        for shown, rows in one.noise.items():
            for mine, theirs in zip(rows, other.noise[shown], strict=True):
                if mine is not None and theirs is not None:
                    worst = max(worst, apart(found.noise[mine], wanted.noise[theirs]))
            after = [
                run.scheduler.forward(
                    latents[shown], guided(output.noise, *step.noise[shown], 7.5), one.index
                )
                for output, step in ((found, one), (wanted, other))
            ]
            worst = max(worst, apart(*after))
        slots = {slot.name: slot for slot in other.reads}
        assert {slot.name for slot in one.reads} == set(slots)
        for slot in one.reads:
            twin = slots[slot.name]
            worst = max(worst, apart(
                found.reads[slot.stride][slot.row, slot.first : slot.last],
                wanted.reads[twin.stride][twin.row, twin.first : twin.last],
            ))  # fmt: skip
    assert worst <= allowed


@pytest.mark.parametrize(
    "name", marked(["windows", "words-refine", "several-blend", "self-only"], "several-blend")
)
def test_the_next_edit_of_a_picture_replays_its_source(editor: Editor, name: str):
    """Without a source row in any batch the run is the same, and costs two rows a step a target."""
    case = Case(*CONTROLLERS[name], picture="direct")
    session = editor.session
    wanted = by_editor(editor, case).levels[-1]
    run, job, plans, trajectory = planned(editor, case)
    assert trajectory is not None
    every = np.ones(case.steps, dtype=bool)
    schedule = compile_plans(plans, replace(job, replayed=every), session.info.sizes(run.latent))
    assert schedule.row_count == 2 * len(case.targets) * case.steps - (len(case.targets) - 1)
    host = Host([("prompt_to_prompt", case.options)])
    host.plan(run)
    noisiest: Floats = trajectory.latents[0]
    latents = dict.fromkeys(range(len(case.targets) + 1), noisiest)
    for step in schedule.steps:
        ports = step_ports(session, run, step, latents, {})
        if step.replay:
            source = {
                "sample": trajectory.latents[step.index][None],
                "timestep": np.asarray(ports["timestep"])[:1],
                "text": session.embed(case.source).states[None],
            }
            recording = {**source, "record.row": np.zeros(1, np.int64)}
            ports |= session.step(recording, "test").recorded
            ports["source.text"] = source["text"]
        output = session.step(ports, "test")
        for shown, rows in step.noise.items():
            noise = guided(output.noise, *rows, run.guidance)
            latents[shown] = run.scheduler.forward(latents[shown], noise, step.index)
        latents[0] = trajectory.latents[step.index + 1]
        reads = {
            slot.name: output.reads[slot.stride][slot.row, slot.first : slot.last]
            for slot in step.reads
        }
        latents = host.after_step(run, StepView(step.index, latents, reads))
    for shown in range(1, len(case.targets) + 1):
        assert farthest(latents[shown], wanted[shown]) <= 1e-9


def test_a_read_of_some_steps_runs_without_the_planner_too(editor: Editor):
    """The read ports are then neutral at the other steps."""
    case = Case(*CONTROLLERS["replace"])
    run, job, plans, _ = planned(editor, case)
    weights = np.zeros((1, 40))
    weights[0, 2] = 1
    sites = run.sites.select("cross", places=("down", "up"), strides=(2,))
    branch = plans[0].controls[0]
    assert not isinstance(branch, Read)
    extra = Plan(
        (Read("some", cast("Any", branch).branch, weights, sites, steps_between(STEPS, 2, 4)),)
    )
    schedule = compile_plans(
        [*plans, extra], job, editor.session.info.sizes(run.latent), reduce=False
    )
    latents: dict[int, Floats] = dict.fromkeys(
        (0, 1), np.random.default_rng(0).standard_normal((4, 8, 8))
    )
    read = [
        bool(editor.session.step(step_ports(editor.session, run, step, latents, {}), "t").reads)
        for step in schedule.steps
    ]
    assert read == [False, False, True, True, False, False]


# Row counts


def rows_of(editor: Editor, case: Case, replayed: bool = False) -> Schedule:
    made = pipeline_of(editor, case._replace(picture="generated", masked=False), reduce=True)
    run = made.view()
    recorded = case.picture == "direct"
    job = replace(
        made._job(run, None, "", made._start(run, made.host)),
        recorded=recorded,
        wanted=frozenset(range(int(case.picture != "generated"), len(case.targets) + 1)),
        replayed=np.full(case.steps, replayed),
    )
    plans = made.host.plan(run)
    return compile_plans(plans, job, editor.session.info.sizes(run.latent))


PAPER = {"cross_window": 0.4, "self_window": 0.6}
BLEND = {**PAPER, "blend_words": ("cat", "dog")}
FIFTY = Case(CAT, ("a red dog on a sofa",), PAPER, "direct", steps=50)
TWO = ("a red dog on a sofa", "a blue cat on a sofa")


@pytest.mark.parametrize(
    ("case", "replayed", "inversion", "total"),
    [
        (FIFTY, False, 50, 180),  # 30 steps of 3 rows, 20 of 2
        (FIFTY._replace(options=BLEND), False, 50, 200),
        (FIFTY._replace(offset=0), False, 49, 177),
        # The last blend reads maps at t = 0, from two rows, though no latent moves there.
        (FIFTY._replace(options=BLEND, offset=0), False, 49, 49 + 49 * 3 + 2),
        (FIFTY, True, 0, 100),
        (FIFTY._replace(options=BLEND), True, 0, 100),
        (FIFTY._replace(guidance=1.0), False, 50, 50 + 30 * 2 + 20),
        # At step 0 both targets' unconditional rows are one.
        (FIFTY._replace(targets=TWO), False, 50, 50 + 30 * 5 + 20 * 4 - 1),
        # Generated: four rows, three at step 0, where the unconditional ones are one.
        (FIFTY._replace(picture="generated"), False, 0, 199),
        (FIFTY._replace(picture="generated", options=BLEND), False, 0, 199),
        # Not held and not wanted, the source stops after the last window, where it gives no noise.
        (FIFTY._replace(picture="ddim"), False, 50, 50 + 29 * 4 - 1 + 3 + 20 * 2),
        (FIFTY._replace(picture="ddim", options={}), False, 50, 50 + 39 * 4 - 1 + 3 + 10 * 2),
        (FIFTY._replace(options={"cross_window": 0.0, "self_window": 0.0}), False, 50, 150),
    ],
)
def test_rows_of_fifty_steps(
    editor: Editor, monkeypatch: pytest.MonkeyPatch, case: Case, replayed: bool, inversion: int,
    total: int,
):  # fmt: skip
    with_offset(editor.session, case.offset, monkeypatch)
    schedule = rows_of(editor, case, replayed)
    assert inversion + schedule.row_count == total


def test_outside_the_windows_the_plain_variant_runs(editor: Editor):
    rows = rows_of(editor, FIFTY).rows_by_variant
    assert rows == {"mix+route": 60, "route": 30, "plain": 40}
