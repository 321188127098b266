"""MAG-Edit's guides against the released loop written out: maps in memory, autograd, two branches.

The source branch takes the recorded latents of direct inversion, as Scumble's does; everything else
is as the publication and its code's documented behaviour say. Nothing is shared with the plugin but
prompt embeddings, alignment and the recorded latents.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble import Editor, refine_matrix
from scumble.session import Session

pytestmark = pytest.mark.thorough

STEPS, ITERATIONS, GUIDANCE = 6, 3, 7.5
WINDOWS = {"guide_window": 0.5, "cross_window": 0.7, "self_window": 0.34, "blend_start": 0.7}
GUIDED, CROSS, SELF, BLENDED = 3, 4, 2, 4
"""Steps of these windows."""
SOURCE, TARGET = "a red cat on a sofa", "a blue cat on a sofa"


class Maps:
    """Attention with its maps in the open: kept by the source's pass, taken by the target's."""

    def __init__(self, unet: UNet2DConditionModel, matrix: np.ndarray) -> None:
        self.matrix = torch.from_numpy(matrix)
        self.new = (self.matrix.sum(0) == 0).double()
        self.kept: dict[str, Tensor] | None = {}
        self.taken: tuple[bool, bool] | None = None
        self.seen: list[Tensor] = []
        for path, module in unet.named_modules():
            if isinstance(module, Attention):
                cast("Any", module).set_processor(self._processor(path))

    def _processor(self, path: str) -> Callable[..., Tensor]:
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
            maps = self._edited(path, maps)
            return modules.to_out[0]((maps @ v).transpose(1, 2).flatten(2))

        return process

    def _edited(self, path: str, maps: Tensor) -> Tensor:
        assert self.kept is not None
        if self.taken is None:
            self.kept[path] = maps[-1:].detach()
            return maps
        cross, same = self.taken
        theirs, own = self.kept[path], maps[-1:]
        if path.endswith("attn2"):
            if cross:
                own = theirs @ self.matrix + own * self.new
            # 16x16 of a 64x64 latent: the coarser of two strides, and not the middle's.
            if own.shape[2] == 16 and not path.startswith("mid_block"):
                self.seen.append(own)
        elif same and own.shape[2] <= 64:
            own = theirs
        return torch.cat([maps[:-1], own])


class Released:
    """The released loop, of one target."""

    def __init__(self, folder: Path, session: Session, mask: np.ndarray, words: list[int]) -> None:
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet").double().eval()
        self.unet.requires_grad_(False)
        encode = session.tokenizer.encode
        self.maps = Maps(self.unet, refine_matrix(encode(SOURCE), encode(TARGET)))
        self.text = {
            text: torch.from_numpy(session.embed(text).states)[None]
            for text in ("", SOURCE, TARGET)
        }
        self.mask, self.words = torch.from_numpy(mask), words
        betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
        self.alphas = np.cumprod(1 - betas)
        self.times = [i * (1000 // STEPS) + 1 for i in reversed(range(STEPS))]
        self.losses: list[float] = []

    def run(self, levels: np.ndarray, ratio: str) -> np.ndarray:
        z = torch.from_numpy(levels[0])[None]
        for i, t in enumerate(self.times):
            source = torch.from_numpy(levels[i])[None]
            if i < GUIDED:
                z = self._moved(z, source, i, t, ratio)
            self.maps.taken = None
            self._noise(torch.cat([source, source]), t, "", SOURCE)
            self.maps.taken = (i < CROSS, i < SELF)
            u, c = self._noise(torch.cat([z, z]), t, "", TARGET)
            noise = u + GUIDANCE * (c - u)
            now, then = self.alphas[t], self.alphas[max(t - 1000 // STEPS, 0)]
            clean = (z - (1 - now) ** 0.5 * noise) / now**0.5
            z = then**0.5 * clean + (1 - then) ** 0.5 * noise
            if i >= BLENDED:
                wide = torch.nn.functional.max_pool2d(self.mask[None, None], 3, 1, 1) > 0
                z = torch.where(wide, z, torch.from_numpy(levels[i + 1])[None])
        return z[0].numpy()

    def _moved(self, z: Tensor, source: Tensor, i: int, t: int, ratio: str) -> Tensor:
        sigma = ((1 - self.alphas[t]) / self.alphas[t]) ** 0.5
        for _ in range(ITERATIONS):
            self.maps.taken = None
            self._noise(source, t, SOURCE)
            self.maps.taken, self.maps.seen = (i < CROSS, i < SELF), []
            z = z.detach().requires_grad_()
            with torch.enable_grad():
                self._noise(z, t, TARGET)
                losses = [getattr(self, ratio)(maps[0]) for maps in self.maps.seen]
                assert len(losses) == 3
                loss = torch.stack(losses).mean()
            (slope,) = torch.autograd.grad(loss, z)
            self.losses.append(float(loss.detach()))
            step = 2.5 * sigma if ratio == "token" else 2.5
            z = (z - self.mask * step * slope).detach()
        return z

    def token(self, maps: Tensor) -> Tensor:
        inside = self.mask[::2, ::2].flatten()
        share = maps[..., self.words].mean(-1) / maps.sum(-1)
        rho = (share * inside).sum(-1) / inside.sum()
        return (1 - rho).square().mean()

    def space(self, maps: Tensor) -> Tensor:
        inside = self.mask[::2, ::2].flatten()
        word = maps[..., self.words].sum(-1)
        r = (word * inside).sum(-1) / word.sum(-1)
        return (3 * (1 - r) - r).mean()

    def _noise(self, latents: Tensor, t: int, *texts: str) -> Tensor:
        text = torch.cat([self.text[text] for text in texts])
        return cast("Any", self.unet)(latents, t, encoder_hidden_states=text).sample


@pytest.mark.parametrize("ratio", ["token", "space"])
@pytest.mark.parametrize("known", [False, True])
def test_it_is_the_released_loop(editor: Editor, folder: Path, ratio: str, known: bool):
    rng = np.random.default_rng(7)
    picture = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    painted = np.zeros((16, 16), dtype=bool)
    painted[4:12, 4:12] = True
    editor.session.sources.clear()
    edit = partial(
        editor.edit,
        picture, source=SOURCE, target=TARGET, mask=painted, method="mag_edit", steps=STEPS,
        size=(16, 16),
        options={"words": "blue", "ratio": ratio, "iterations": ITERATIONS, **WINDOWS},
    )  # fmt: skip
    if known:
        edit()
    run = edit()
    assert run.trajectory is not None
    words = list(editor.session.tokenizer.encode(TARGET).tokens_of("blue"))
    mask = painted[::2, ::2].astype(np.float64)
    released = Released(folder, editor.session, mask, words)
    wanted = released.run(run.trajectory.latents, ratio)
    assert np.abs(run.latents[1] - wanted).max() < 1e-9
    assert released.losses[0] > released.losses[ITERATIONS - 1]
    # Half of the source's rows went into its own pass for the gradients, and no row ran twice.
    assert run.rows["gradient"] == GUIDED * ITERATIONS
    steps = sum(n for name, n in run.rows.items() if name not in ("inversion", "gradient"))
    assert steps == (2 if known else 3) * CROSS + 2 * (STEPS - CROSS)
