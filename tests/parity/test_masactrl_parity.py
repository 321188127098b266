"""MasaCtrl on ports against mutual self-attention written out on materialised maps.

The reference below follows the publication and its code's documented behaviour, in their batch
layout [unconditional source, targets.., conditional source, targets..], with every row at every
step, each probability map in memory, masks in two passes. It shares nothing with the plugin but
prompt embeddings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble import Editor, hookimpl
from scumble.hookspecs import BeforeView, RunView
from scumble_plugins.masactrl import MasaCtrl, MasaCtrlOptions

STEPS = 6
FACTOR = 2  # pixels for each latent cell, of the tiny checkpoint
SELF_SITES = 7
NATIVE_CELLS = 2  # maps of 16x16 cells of the native 32x32 latent: one of 2x2 latent cells
CAT = "a red cat on a sofa"
DOG = "a red dog on a sofa"


class Case(NamedTuple):
    """One edit, as a user asks for it."""

    options: dict[str, Any]
    source: str = CAT
    targets: tuple[str, ...] = (DOG,)
    picture: Literal["generated", "direct", "ddim"] = "generated"
    latent: tuple[int, int] = (8, 8)
    masks: Literal["none", "one", "two"] = "none"
    negative: str = ""


def mask_cells(case: Case) -> dict[str, np.ndarray]:
    """The masks of a case on latent cells, by what they are named."""
    first, second = np.zeros((2, *case.latent), bool)
    first[1:5, 2:6] = True
    second[3:7, 1:7] = True
    return {"none": {}, "one": {"": first}, "two": {"source": first, "target": second}}[case.masks]


@dataclass
class Reference:
    """The published controllers of one edit, on maps."""

    case: Case
    positions: tuple[list[int], list[int]]
    step: int = 0
    moved: float = 0.0
    shares: list[float] = field(default_factory=list)
    stored: list[Tensor] = field(default_factory=list)
    before: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.options = {
            "start_step": round(4 / 50 * STEPS), "start_layer": 4, "steps": (), "layers": (),
            "keep": "identity", "text_keys": "source", "plain_keys": "source",
            "source_words": (), "target_words": (), "mask_threshold": 0.1, "masks": "previous",
            "proximal": "none", "proximal_quantile": 0.6, **self.case.options,
        }  # fmt: skip
        self.group = len(self.case.targets) + 1
        self.given = {
            name: torch.from_numpy(cells).double() for name, cells in mask_cells(self.case).items()
        }

    def active(self, site: int) -> bool:
        given = self.options
        step = self.step in given["steps"] if given["steps"] else self.step >= given["start_step"]
        layers = given["layers"]
        return step and (site in layers if layers else site >= given["start_layer"])

    def begin(self, step: int) -> None:
        self.step, self.before, self.stored = step, self.stored, []

    def see(self, maps: Tensor, stride: int) -> None:
        """Store a cross-attention's head mean, (rows, queries, tokens), at 16x16 sites."""
        if stride == NATIVE_CELLS and len(maps) == 2 * self.group:
            self.stored.append(maps.mean(1))

    def self_attention(self, q: Tensor, k: Tensor, v: Tensor, site: int, stride: int) -> Tensor:
        plain = attention(q, k, v)
        if len(q) != 2 * self.group or not self.active(site):
            return plain
        found = plain.clone()
        for half, keys in enumerate((self.options["plain_keys"], self.options["text_keys"])):
            source = half * self.group
            for target in range(source + 1, source + self.group):
                rows = (slice(target, target + 1), slice(source, source + 1))
                found[rows[0]] = self._target(q, k, v, *rows, keys, target - source, stride)
        self.moved = max(self.moved, float((found - plain).abs().max()))
        return found

    def _target(
        self, q: Tensor, k: Tensor, v: Tensor, t: slice, s: slice, keys: str, picture: int,
        stride: int,
    ) -> Tensor:  # fmt: skip
        if keys == "none":
            return attention(q[t], k[t], v[t])
        if keys == "joint":
            both = torch.cat([k[s], k[t]], dim=2), torch.cat([v[s], v[t]], dim=2)
            return attention(q[t], *both)
        if self.options["keep"] == "layout":
            return attention(q[s], k[s], v[t])
        masks = self._masks(picture, stride)
        if masks is None:
            return attention(q[t], k[s], v[s])
        of_source, of_target = masks
        least = torch.finfo(q.dtype).min
        none = torch.zeros_like(of_source)
        inner = attention(q[t], k[s], v[s], none.masked_fill(of_source == 0, least))
        outer = attention(q[t], k[s], v[s], none.masked_fill(of_source > 0, least))
        return inner * of_target[:, None] + outer * (1 - of_target[:, None])

    def _masks(self, picture: int, stride: int) -> tuple[Tensor, Tensor] | None:
        """The flattened masks of source keys and target queries, at a site's resolution."""
        size = tuple(-(-side // stride) for side in self.case.latent)
        if self.given:
            source, target = (self.given.get(n, self.given.get("")) for n in ("source", "target"))
        elif self.options["source_words"]:
            maps = self.stored if self.options["masks"] == "exact" else self.before
            if not maps:
                return None
            seen = torch.stack(maps).mean(0)
            source, target = (
                self._foreground(seen[self.group + row], self.positions[min(row, 1)])
                for row in (0, picture)
            )
        else:
            return None
        assert source is not None
        assert target is not None
        if self.options["source_words"]:
            self.shares += [float(source.mean()), float(target.mean())]
        shrink = [
            F.interpolate(mask[None, None], size=size, mode="nearest").flatten()
            for mask in (source, target)
        ]
        return shrink[0], shrink[1]

    def _foreground(self, seen: Tensor, positions: Sequence[int]) -> Tensor:
        """Sum over a word's positions, min-max over the grid, nearest to the latent, >= thres."""
        grid = tuple(-(-side // NATIVE_CELLS) for side in self.case.latent)
        field = seen[:, list(positions)].sum(-1).reshape(grid)
        field = (field - field.min()) / (field.max() - field.min())
        large = F.interpolate(field[None, None], size=self.case.latent, mode="nearest")[0, 0]
        return (large >= self.options["mask_threshold"]).double()

    def guide(self, unconditional: Tensor, conditional: Tensor, guidance: float) -> Tensor:
        delta = conditional - unconditional
        for row in range(1, self.group):
            if self.options["proximal"] == "none":
                break
            d = delta[row]
            limit = torch.quantile(d.abs().flatten(), self.options["proximal_quantile"])
            if self.options["proximal"] == "soft":
                delta[row] = d - d.clamp(-limit, limit)
            else:
                delta[row] = d * (d.abs() > limit)
        return unconditional + guidance * delta


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias
    return scores.softmax(-1) @ v


def install(unet: UNet2DConditionModel, reference: Reference) -> None:
    """Put written-out attention everywhere, numbered in execution order."""

    def at(kind: str, site: int, stride: int) -> Callable[..., Tensor]:
        def process(
            attn: Attention, hidden_states: Tensor, encoder_hidden_states: Any = None, **_: Any
        ) -> Tensor:
            modules = cast("Any", attn)
            seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k, v = (
                project(given).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
                for project, given in (
                    (modules.to_q, hidden_states), (modules.to_k, seen), (modules.to_v, seen)
                )
            )  # fmt: skip
            if kind == "attn1":
                out = reference.self_attention(q, k, v, site, stride)
            else:
                maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
                reference.see(maps, stride)
                out = maps @ v
            return modules.to_out[0](out.transpose(1, 2).flatten(2))

        return process

    places = ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1")
    strides: dict[str, int] = dict(zip(places, (1, 2, 2, 2, 1), strict=True))
    found = [
        (place, path, module)
        for place in places
        for path, module in unet.named_modules()
        if isinstance(module, Attention) and path.startswith(place)
    ]
    count = {"attn1": 0, "attn2": 0}
    for place, path, module in found:
        kind = path[-5:]
        cast("Any", module).set_processor(at(kind, count[kind], strides[place]))
        count[kind] += 1
    assert count == {"attn1": SELF_SITES, "attn2": SELF_SITES}


class Numbers:
    """DDIM as published: scaled linear betas, leading timesteps, final alpha of timestep 0."""

    def __init__(self) -> None:
        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.alphas = np.cumprod(1 - betas)
        self.gap = 1000 // STEPS
        self.timesteps = [i * self.gap + 1 for i in reversed(range(STEPS))]

    def move(self, x: Tensor, noise: Tensor, t: int, *, up: bool) -> Tensor:
        ends = float(self.alphas[t]), float(self.alphas[max(t - self.gap, 0)])
        start, end = ends[::-1] if up else ends
        clean = (x - (1 - start) ** 0.5 * noise) / start**0.5
        return end**0.5 * clean + (1 - end) ** 0.5 * noise


def by_reference(
    editor: Editor, unet: UNet2DConditionModel, case: Case, guidance: float = 7.5
) -> tuple[Reference, list[Tensor]]:
    """The latents of all pictures after each step."""
    options = case.options
    tokenizer = editor.session.tokenizer
    positions = [
        sorted({i for w in options.get(name, ()) for i in tokenizer.encode(text).tokens_of(w)})
        for name, text in (("source_words", case.source), ("target_words", case.targets[0]))
    ]
    reference = Reference(case, (positions[0], positions[1]))
    install(unet, reference)
    numbers = Numbers()

    def noise(x: Tensor, t: int, texts: Sequence[str]) -> Tensor:
        text = torch.stack([torch.from_numpy(editor.session.embed(one).states) for one in texts])
        return unet(x, torch.full((len(x),), t), encoder_hidden_states=text).sample

    texts = (case.source, *case.targets)
    recorded: list[Tensor] = []
    found: list[Tensor] = []
    with torch.inference_mode():
        if case.picture == "generated":
            start = np.random.default_rng(5).standard_normal((4, *case.latent))
            recorded = [torch.from_numpy(start)[None]]
        else:
            pixels = picture(case).transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
            clean = editor.session.engine.encode_image(pixels.astype(np.float64))
            recorded = [torch.from_numpy(clean)]
            for t in reversed(numbers.timesteps):
                level = numbers.move(recorded[0], noise(recorded[0], t, texts[:1]), t, up=True)
                recorded.insert(0, level)
        x = recorded[0].expand(len(texts), -1, -1, -1).clone()
        for i, t in enumerate(numbers.timesteps):
            reference.begin(i)
            halves = noise(torch.cat([x, x]), t, [*[case.negative] * len(x), *texts]).chunk(2)
            x = numbers.move(x, reference.guide(halves[0], halves[1], guidance), t, up=False)
            if case.picture == "direct":
                x[0] = recorded[i + 1][0]
            found.append(x.clone())
    return reference, found


def picture(case: Case) -> np.ndarray:
    height, width = (side * FACTOR for side in case.latent)
    return np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)


class Edited(NamedTuple):
    levels: list[dict[int, np.ndarray]]
    rows: dict[str, int]


def by_editor(editor: Editor, case: Case, method: Any = "masactrl") -> Edited:
    levels: list[dict[int, np.ndarray]] = []
    height, width = case.latent
    real = case.picture != "generated"
    block = np.ones((FACTOR, FACTOR), bool)
    asked: dict[str, Any] = {"options": case.options} if isinstance(method, str) else {}
    if real:
        asked["inversion"] = case.picture
    run = editor.edit(
        picture(case) if real else None,
        source=case.source,
        target=list(case.targets),
        mask={name: np.kron(cells, block) for name, cells in mask_cells(case).items()} or None,
        method=method,
        callback_on_step_end=lambda progress: levels.append(dict(progress.latents)),
        steps=STEPS,
        negative=case.negative,
        size=(height * FACTOR, width * FACTOR),
        seed=5,
        **asked,
    )
    return Edited(levels, run.rows)


def farthest(found: np.ndarray, wanted: np.ndarray | Tensor) -> float:
    return float(np.abs(np.asarray(found) - np.asarray(wanted)).max())


def compare(editor: Editor, unet: UNet2DConditionModel, case: Case) -> tuple[Reference, Edited]:
    """Hold every latent of every step to the reference."""
    edited = by_editor(editor, case)
    reference, wanted = by_reference(editor, unet, case)
    # A free source stops where nothing needs it.
    known = range(1 if case.picture == "ddim" else 0, len(case.targets) + 1)
    assert len(edited.levels) == STEPS
    for step, (latents, level) in enumerate(zip(edited.levels, wanted, strict=True)):
        for shown in known:
            error = farthest(latents[shown], level[shown])
            assert error <= 1e-9, f"step {step}, picture {shown}: {error:.1e}"
    return reference, edited


WORDS = {"source_words": ("cat",), "target_words": ("red dog",), "mask_threshold": 0.5}
CASES: dict[str, Case] = {
    "generated": Case({}),
    "window": Case({"start_step": 2, "start_layer": 5}),
    "lists": Case({"steps": (4, 1), "layers": (6, 2, 6)}),
    "encoder": Case({"start_step": 0, "start_layer": 0}),
    "direct": Case({}, picture="direct"),
    "ddim": Case({}, picture="ddim"),
    "empty": Case({}, source="", picture="direct"),
    "empty-ddim": Case({}, source="", picture="ddim"),
    "several": Case({}, targets=(DOG, "a fluffy cat on a carpet"), picture="direct"),
    "negative": Case({}, source="", picture="direct", negative="a blue vase"),
    "wide": Case({}, picture="direct", latent=(8, 12)),
    "odd": Case({}, latent=(7, 9)),
    "layout": Case({"keep": "layout", "start_layer": 1}, picture="direct"),
    "joint": Case({"text_keys": "joint", "plain_keys": "joint"}, picture="direct"),
    "joint-none": Case({"text_keys": "joint", "plain_keys": "none"}),
    "source-joint": Case({"text_keys": "source", "plain_keys": "joint"}, source="",
        picture="direct"),
    "none-source": Case({"text_keys": "none"}, picture="direct"),
    "soft": Case({"proximal": "soft"}, targets=(DOG, "a fluffy cat"), picture="direct"),
    "hard": Case({"proximal": "hard", "proximal_quantile": 0.75, "text_keys": "joint"}),
    "one-mask": Case({}, picture="direct", masks="one"),
    "two-masks": Case({"start_layer": 1}, picture="direct", masks="two"),
    "masks-wide": Case({"start_layer": 1}, picture="direct", masks="two", latent=(8, 12)),
    "masks-several": Case({}, source="", targets=(DOG, CAT), picture="direct", masks="two"),
    # The maps before layer 5 are all that a map of this stride has, as with S=4, L=10 of 16.
    "exact": Case({**WORDS, "masks": "exact", "start_layer": 5}),
    "exact-direct": Case({**WORDS, "masks": "exact", "start_layer": 5, "start_step": 2},
        picture="direct", latent=(8, 12)),
    "exact-ddim": Case({**WORDS, "masks": "exact", "start_layer": 5}, picture="ddim"),
    "previous": Case(WORDS),
    "previous-direct": Case({**WORDS, "start_step": 2, "start_layer": 5}, picture="direct"),
    "previous-lists": Case({**WORDS, "steps": (1, 4), "mask_threshold": 0.3}, picture="ddim"),
}  # fmt: skip
QUICK = ("generated", "empty", "two-masks", "exact", "previous-direct", "joint-none", "layout")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.thorough) for n in CASES]
)
def test_every_form_is_the_reference(editor: Editor, unet: UNet2DConditionModel, name: str):
    case = CASES[name]
    reference, _ = compare(editor, unet, case)
    assert reference.moved > 1e-3
    if case.options.get("source_words"):
        assert 0.1 < np.mean(reference.shares) < 0.9, "the masks say nothing"


class Seen(MasaCtrl):
    """MasaCtrl that keeps the masks it gave."""

    given: dict[int, Any]

    @hookimpl
    def scumble_before_step(self, run: RunView, step: BeforeView) -> Any:
        found = super().scumble_before_step(run, step)
        self.given = {**getattr(self, "given", {}), step.index: found}
        return found


def test_exact_masks_are_those_of_the_very_step_and_previous_of_the_one_before(editor: Editor):
    """Two runs whose latents agree until the first controlled step."""
    made = {
        kind: Seen(MasaCtrlOptions(**{**WORDS, "masks": kind, "start_layer": 5, "start_step": 3}))
        for kind in ("exact", "previous")
    }
    for plugin in made.values():
        by_editor(editor, Case({}, picture="direct"), plugin)
    earlier = Seen(MasaCtrlOptions(**{**WORDS, "masks": "exact", "start_layer": 5, "steps": (2,)}))
    by_editor(editor, Case({}, picture="direct"), earlier)
    exact, previous, before = (p.given for p in (made["exact"], made["previous"], earlier))
    assert [step for step, masks in exact.items() if masks is not None] == [3, 4, 5]
    assert set(exact[3]) == {"foreground.0", "foreground.1"}
    for name in exact[3]:
        assert np.array_equal(previous[3][name], before[2][name])
    assert any(not np.array_equal(exact[3][name], previous[3][name]) for name in exact[3])


def test_masks_of_ones_are_no_masks(editor: Editor, monkeypatch: pytest.MonkeyPatch):
    case = Case({"start_layer": 1}, source="", picture="direct")
    ones = np.ones(case.latent, bool)
    plain = by_editor(editor, case)
    monkeypatch.setitem(globals(), "mask_cells", lambda _: {"": ones})
    masked = by_editor(editor, case)
    assert any("region" in variant for variant in masked.rows)
    assert farthest(masked.levels[-1][1], plain.levels[-1][1]) <= 1e-9


def test_never_active_is_the_plain_run(editor: Editor, unet: UNet2DConditionModel):
    reference, edited = compare(editor, unet, Case({"start_step": STEPS}))
    assert reference.moved == 0
    assert set(edited.rows) == {"plain"}


def test_the_sources_picture_is_that_of_a_run_by_itself(editor: Editor):
    alone: list[np.ndarray] = []
    editor.generate(
        CAT, steps=STEPS, seed=5, size=(16, 16),
        callback_on_step_end=lambda progress: alone.append(progress.latents[0]),
    )  # fmt: skip
    for options in ({}, {"keep": "layout", "start_layer": 0}, {"text_keys": "joint"}):
        edited = by_editor(editor, Case(options))
        for found, wanted in zip(edited.levels, alone, strict=True):
            assert farthest(found[0], wanted) <= 1e-9


def test_with_the_identity_route_the_unet_is_unmodified(folder: Path):
    rng = np.random.default_rng(0)
    with Editor.load(folder, device="cpu") as editor:
        session = editor.session
        ports: dict[str, Any] = {
            "sample": rng.standard_normal((4, 4, 8, 8)).astype(np.float32),
            "timestep": np.full(4, 500),
            **session.text_ports(["", "", CAT, DOG], (8, 8)),
        }
        route = np.tile(np.arange(4), (SELF_SITES, 3, 1))
        plain, routed = (session.step({**ports, **also}, "t") for also in ({}, {"route": route}))
        route[4:, 1:] = [0, 0, 2, 2]
        changed = session.step({**ports, "route": route}, "t")
    assert np.array_equal(plain.noise, routed.noise)
    assert [farthest(a, b) > 1e-4 for a, b in zip(plain.noise, changed.noise, strict=True)] == [
        False, True, False, True
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "rows"),
    [
        # Two steps are not controlled: they cost the target's two rows.
        (Case({"start_step": 2}, source="", picture="direct"), {"plain": 4, "route": 12}),
        # The source's rows with and without text differ.
        (Case({"start_step": 2}, picture="direct"), {"plain": 4, "route": 16}),
        # A generated source is wanted too; at the first step both plain rows are one.
        (Case({"start_step": 2}), {"plain": 7, "route": 16}),
        # The step before the first controlled one reads maps of both pictures.
        (
            Case({**WORDS, "start_step": 2}, picture="direct"),
            {"plain": 2, "read": 3, "read+region+route": 12, "region+route": 4},
        ),
        # Two pictures are looked at in each of four steps.
        (
            Case({**WORDS, "start_step": 2, "masks": "exact", "start_layer": 5}, picture="direct"),
            {"plain": 4, "region+route": 16, "look": 8},
        ),
    ],
)
def test_rows_spent(folder: Path, case: Case, rows: dict[str, int]):
    with Editor.load(folder, precision="fp64", device="cpu", source_memory=0) as editor:
        found = by_editor(editor, case).rows
    inversion = {} if case.picture == "generated" else {"inversion": STEPS}
    assert found == rows | inversion


def test_the_next_edit_of_a_picture_without_words_costs_two_rows_a_step(folder: Path):
    case = Case({}, source="", picture="direct")
    with Editor.load(folder, precision="fp64", device="cpu") as editor:
        first, second = by_editor(editor, case), by_editor(editor, case)
    assert sum(second.rows.values()) == 2 * STEPS
    assert farthest(first.levels[-1][1], second.levels[-1][1]) <= 1e-9
