"""SDEdit, Blended Latent Diffusion, DiffEdit, Plug-and-Play and LEDITS++ against plain loops.

Each reference below is the published algorithm written out: every row at every step, features and
probability maps in memory, in the publication's own batch. It shares nothing with the plugins but
prompt embeddings.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble import Editor

pytestmark = pytest.mark.thorough

STEPS = 10
FACTOR = 2  # pixels for each latent cell, of the tiny checkpoint
CELLS = (8, 12)
SEED = 5
GUIDANCE = 7.5
CAT = "a red cat on a sofa"
DOG = "a red dog on a sofa"

BLOCK = np.ones((FACTOR, FACTOR), bool)
INSIDE = np.zeros(CELLS, bool)
INSIDE[1:5, 2:9] = True
PICTURE = np.random.default_rng(4).integers(0, 256, (16, 24, 3), dtype=np.uint8)


class Edits:
    """What a publication changes inside the UNet: nothing, until it is told."""

    def __init__(self) -> None:
        self.self_attention: Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        self.feature: Callable[[Tensor], Tensor] | None = None
        self.seen: list[Tensor] | None = None


class Reference:
    """The tiny UNet with its maps in the open, and DDIM as published."""

    def __init__(self, editor: Editor, unet: UNet2DConditionModel) -> None:
        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.alphas = np.cumprod(1 - betas)
        self.gap = 1000 // STEPS
        self.timesteps = [i * self.gap + 1 for i in reversed(range(STEPS))]
        self.edits = Edits()
        self.editor, self.unet = editor, unet
        pixels = PICTURE.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
        clean = editor.session.engine.encode_image(pixels.astype(np.float64))
        self.clean = torch.from_numpy(clean)
        self._install()

    def _install(self) -> None:
        count = {"attn1": 0, "attn2": 0}
        for place in ("down_blocks.0", "down_blocks.1", "mid_block", "up_blocks.0", "up_blocks.1"):
            coarse = place in ("down_blocks.1", "up_blocks.0")
            for path, module in self.unet.named_modules():
                if isinstance(module, Attention) and path.startswith(place):
                    kind = path[-5:]
                    process = self._processor(kind, count[kind], coarse)
                    cast("Any", module).set_processor(process)
                    count[kind] += 1
        assert count == {"attn1": 7, "attn2": 7}

        def changed(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
            return output if self.edits.feature is None else self.edits.feature(output)

        # The second resnet of four in the decoder, as the fifth of twelve.
        resnet = cast("Any", self.unet.up_blocks[0]).resnets[1]
        self.hook = resnet.conv2.register_forward_hook(changed)

    def _processor(self, kind: str, site: int, coarse: bool) -> Callable[..., Tensor]:
        def process(
            attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None,
            attention_mask: Tensor | None = None, **_: Any,
        ) -> Tensor:  # fmt: skip
            modules = cast("Any", attn)
            text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            q, k, v = (
                project(given).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
                for project, given in (
                    (modules.to_q, hidden_states), (modules.to_k, text), (modules.to_v, text)
                )
            )  # fmt: skip
            if kind == "attn1" and self.edits.self_attention is not None:
                q, k = self.edits.self_attention(site, q, k)
            maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
            if kind == "attn2" and coarse and self.edits.seen is not None:
                self.edits.seen.append(maps)
            return modules.to_out[0]((maps @ v).transpose(1, 2).flatten(2))

        return process

    def noise(self, x: Tensor, t: int, texts: Sequence[str]) -> Tensor:
        session = self.editor.session
        text = torch.stack([torch.from_numpy(session.embed(one).states) for one in texts])
        return self.unet(x, torch.full((len(x),), t), encoder_hidden_states=text).sample

    def guided(self, x: Tensor, t: int, text: str, negative: str = "") -> Tensor:
        u, c = self.noise(torch.cat([x, x]), t, [negative, text]).chunk(2)
        return u + GUIDANCE * (c - u)

    def move(self, x: Tensor, noise: Tensor, t: int, *, up: bool = False) -> Tensor:
        ends = float(self.alphas[t]), float(self.alphas[max(t - self.gap, 0)])
        start, end = ends[::-1] if up else ends
        clean = (x - (1 - start) ** 0.5 * noise) / start**0.5
        return end**0.5 * clean + (1 - end) ** 0.5 * noise

    def noised(self, noise: np.ndarray, t: int) -> Tensor:
        alpha = float(self.alphas[t])
        return alpha**0.5 * self.clean + (1 - alpha) ** 0.5 * torch.from_numpy(noise)[None]

    def inverted(self, text: str) -> list[Tensor]:
        levels = [self.clean]
        for t in reversed(self.timesteps):
            levels.insert(0, self.move(levels[0], self.noise(levels[0], t, [text]), t, up=True))
        return levels


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def of_all(editor: Editor, unet: UNet2DConditionModel) -> Reference:
    return Reference(editor, unet)


@pytest.fixture
def reference(of_all: Reference) -> Reference:
    of_all.edits = Edits()
    return of_all


def edited(editor: Editor, method: str, mask: np.ndarray | None = None, **asked: Any) -> Any:
    return editor.edit(
        PICTURE,
        source=asked.pop("source", CAT),
        target=asked.pop("target", DOG),
        mask=None if mask is None else np.kron(mask, BLOCK),
        method=method,
        steps=STEPS,
        seed=SEED,
        size=(CELLS[0] * FACTOR, CELLS[1] * FACTOR),
        **asked,
    )


def require_close(run: Any, wanted: Tensor) -> None:
    error = float(np.abs(run.latents[1] - wanted[0].numpy()).max())
    assert error <= 1e-9, f"{error:.1e}"


def drawn(count: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((count, 4, *CELLS))


@pytest.mark.parametrize(("strength", "first"), [(0.8, 2), (0.29, 8), (1.0, 0)])
def test_sdedit(editor: Editor, reference: Reference, strength: float, first: int):
    x = reference.noised(drawn(1)[0], reference.timesteps[first])
    for t in reference.timesteps[first:]:
        x = reference.move(x, reference.guided(x, t, DOG), t)
    run = edited(editor, "sdedit", options={"strength": strength})
    require_close(run, x)
    assert run.rows == {"plain": 2 * (STEPS - first)}


@pytest.mark.parametrize("fresh", [True, False])
def test_blended_latent_diffusion(editor: Editor, reference: Reference, fresh: bool):
    noises = drawn(STEPS) if fresh else drawn(1).repeat(STEPS, axis=0)
    inside = torch.from_numpy(INSIDE)
    times = reference.timesteps
    x = reference.noised(noises[2], times[2])
    for i in range(2, STEPS):
        x = reference.move(x, reference.guided(x, times[i], DOG, "a vase"), times[i])
        last = i + 1 == STEPS
        around = reference.clean if last else reference.noised(noises[i + 1], times[i + 1])
        x = torch.where(inside, x, around)
    options = {} if fresh else {"fresh": False}
    run = edited(editor, "blended_latent_diffusion", INSIDE, options=options, negative="a vase")
    require_close(run, x)
    kept = run.latents[1] - reference.clean[0].numpy()
    assert np.abs(kept[:, ~INSIDE]).max() <= 1e-9 < np.abs(kept[:, INSIDE]).max()
    assert run.rows == {"plain": 2 * (STEPS - 2)}


NEAR = {"clip": 1.4, "threshold": 0.75}


@pytest.mark.parametrize(("source", "maps"), [(CAT, 10), ("", 3)])
def test_diffedit(editor: Editor, reference: Reference, source: str, maps: int):
    noises, t = drawn(maps), reference.timesteps[5]
    total = torch.zeros(CELLS, dtype=torch.float64)
    for noise in noises:
        x = reference.noised(noise, t)
        # As published, with guidance: four rows a noising.
        difference = reference.guided(x, t, DOG) - reference.guided(x, t, source)
        total += difference.abs().mean(dim=(0, 1)) / maps
    # The maps of a UNet with random weights have no peaks: they are cut nearer to their mean.
    limit = float(1.4 * total.mean())
    mask = total.clamp(0, limit) / limit > 0.75
    assert 0.02 < mask.double().mean() < 0.6, "the mask says nothing"

    levels = reference.inverted(source)
    x = levels[2]
    for i in range(2, STEPS):
        t = reference.timesteps[i]
        x = reference.move(x, reference.guided(x, t, DOG), t)
        x = torch.where(mask, x, levels[i + 1])
    editor.session.sources.clear()
    run = edited(editor, "diffedit", source=source, options={"maps": maps, **NEAR})
    assert np.array_equal(run.masks[""] > 0, mask.numpy())
    require_close(run, x)
    assert run.rows == {"masking": 2 * maps, "inversion": 8, "plain": 16}


@pytest.mark.parametrize(
    ("options", "features", "attention", "rows"),
    [
        ({}, 8, 5, {"feature+route": 15, "feature": 9, "plain": 4}),
        ({"features": 0.2, "attention": 1}, 2, 10, {"feature+route": 6, "route": 24}),
        ({"attention": 0}, 8, 0, {"feature": 24, "plain": 4}),
    ],
)
def test_plug_and_play(
    editor: Editor, reference: Reference, options: dict[str, Any], features: int, attention: int,
    rows: dict[str, int],
):  # fmt: skip
    levels = reference.inverted(CAT)
    x = levels[0]
    moved = 0.0

    def feature(output: Tensor) -> Tensor:
        nonlocal moved
        given = output[:1].expand_as(output)
        moved = max(moved, float((given - output).abs().max()))
        return given

    def shared(site: int, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return (q[:1].expand_as(q), k[:1].expand_as(k)) if site >= 4 else (q, k)

    for i, t in enumerate(reference.timesteps):
        reference.edits.feature = feature if i < features else None
        reference.edits.self_attention = shared if i < attention else None
        batch = torch.cat([levels[i], x, x])
        _, u, c = reference.noise(batch, t, ["", "a vase", DOG]).chunk(3)
        x = reference.move(x, u + GUIDANCE * (c - u), t)
    reference.edits = Edits()
    editor.session.sources.clear()
    run = edited(editor, "plug_and_play", options=options, negative="a vase")
    require_close(run, x)
    assert moved > 1e-2
    assert run.rows == {"inversion": STEPS} | rows


TWO = {"a blue vase": 4.0, "sofa": -3.0}


@pytest.mark.parametrize(
    ("options", "masks", "masked"),
    [
        ({}, "both", False),
        ({"edits": TWO, "threshold": 0.7}, "both", False),
        ({"edits": TWO, "threshold": 0.6, "words": ("dog",)}, "both", True),
        ({"edits": TWO, "threshold": 0.7, "masks": "attention"}, "attention", False),
        ({"edits": TWO, "threshold": 0.8, "masks": "noise", "skip": 0}, "noise", True),
    ],
)
def test_ledits_pp(
    editor: Editor, reference: Reference, options: dict[str, Any], masks: str, masked: bool
):
    first = STEPS - round(STEPS / (1 + options.get("skip", 0.15)))
    edits = {DOG: GUIDANCE} | options.get("edits", {})
    threshold = options.get("threshold", 0.9)
    prompts = [editor.session.tokenizer.encode(text) for text in edits]
    tokens = [list(range(1, prompt.length - 1)) for prompt in prompts]
    if "words" in options:
        tokens[0] = list(prompts[0].tokens_of("dog"))
    inside = torch.from_numpy(INSIDE).double()
    # As in the published code: exp(-(d / (2 sigma))^2) with sigma 0.5, to sum 1.
    line = torch.exp(-(torch.tensor([-1.0, 0, 1], dtype=torch.float64) ** 2))
    kernel = torch.outer(line, line)
    kernel = (kernel / kernel.sum())[None, None]
    levels = reference.inverted("")
    x = levels[first]
    shares: list[float] = []
    for i in range(first, STEPS):
        t = reference.timesteps[i]
        reference.edits.seen = []
        rows = reference.noise(x.expand(len(edits) + 1, -1, -1, -1), t, ["", *edits])
        assert len(reference.edits.seen) == 3  # one down, two up
        maps = torch.stack([one.mean(1) for one in reference.edits.seen]).mean(0)
        guidance = torch.zeros_like(x)
        for row, scale in enumerate(edits.values(), start=1):
            change = scale * (rows[row] - rows[0])[None]
            if masked:
                change = change * inside
            looked = maps[row, :, tokens[row - 1]].sum(-1).reshape(1, 1, 4, 6)
            looked = F.conv2d(F.pad(looked, (1, 1, 1, 1), mode="reflect"), kernel)
            m1 = F.interpolate((looked >= looked.quantile(threshold)).double(), CELLS)
            size = change.abs().sum(1, keepdim=True)
            m2 = (size >= size.quantile(threshold)).double()
            both = {"both": m1 * m2 if t <= 800 else m1, "attention": m1, "noise": m2}[masks]
            shares.append(float(both.mean()))
            guidance = guidance + change * both
        x = reference.move(x, rows[:1] + guidance, t)
    reference.edits.seen = None
    assert 0.005 < np.mean(shares) < 0.6, "the masks say nothing"
    editor.session.sources.clear()
    mask = INSIDE if masked else None
    run = edited(editor, "ledits_pp", mask, source="", options=options)
    require_close(run, x)
    variant = "plain" if masks == "noise" else "read"
    taken = STEPS - first
    assert run.rows == {"inversion": taken, variant: taken * (1 + len(edits))}


def test_the_mask_of_diffedit_serves_prompt_to_prompt(editor: Editor, reference: Reference):
    """Outside the mask that DiffEdit makes, Prompt-to-Prompt's result is the recorded source."""
    found = edited(editor, "diffedit", options=NEAR).masks[""]
    run = edited(editor, "prompt_to_prompt", masking="diffedit", masking_options=NEAR)
    given = edited(editor, "prompt_to_prompt", found > 0)
    assert np.array_equal(run.masks[""], found)
    assert np.array_equal(run.latents[1], given.latents[1])
    assert run.rows["masking"] == 20
    outside = found == 0
    wanted = reference.inverted(CAT)[-1][0].numpy()
    assert np.abs(run.latents[1] - wanted)[:, outside].max() <= 1e-9
    assert np.abs(run.latents[1] - wanted)[:, ~outside].max() > 1e-3
