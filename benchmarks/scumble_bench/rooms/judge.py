"""The judge: a small network that says which things a picture of a room shows.

It knows the world's nouns, colours and poses, and is the automatic check of edits:

    judge = Judge.load(CHECKPOINT / "judge")
    verdict = judge(images)[0]
    verdict.present["sofa"], verdict.colour["sofa"], verdict.mask("sofa")
"""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from scumble_bench.rooms.dataset import COLOURS, NOUNS, POSES

MAP = 64
"""Width and height of the judge's maps."""
WIDTHS = (24, 40, 64, 96)


def _block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1),
        nn.GroupNorm(8, outside),
        nn.SiLU(),
        nn.Conv2d(outside, outside, 3, 1, 1),
        nn.GroupNorm(8, outside),
        nn.SiLU(),
    )


class JudgeNetwork(nn.Module):
    """A small U-Net from (rows, 3, 128, 128) to maps at 64x64, and presence from its bottom."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, last = WIDTHS
        self.stem = _block(3, first, 2)
        self.down1 = _block(first, second, 2)
        self.down2 = _block(second, third, 2)
        self.down3 = _block(third, last, 2)
        self.middle = _block(last, last)
        self.up2 = _block(last + third, third)
        self.up1 = _block(third + second, second)
        self.up0 = _block(second + first, 32)
        self.maps = nn.Conv2d(32, 1 + len(NOUNS) + len(COLOURS) + len(POSES), 1)
        self.presence = nn.Linear(2 * last, len(NOUNS))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits.

        Presence (rows, nouns), and at 64x64: background and nouns, colours, poses.
        """
        first = self.stem(pictures)
        second = self.down1(first)
        third = self.down2(second)
        last = self.down3(third)
        last = last + self.middle(last)
        pooled = torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1)
        up = self.up2(torch.cat([_twice(last), third], 1))
        up = self.up1(torch.cat([_twice(up), second], 1))
        up = self.up0(torch.cat([_twice(up), first], 1))
        nouns, colours, poses = self.maps(up).split([1 + len(NOUNS), len(COLOURS), len(POSES)], 1)
        return self.presence(pooled), nouns, colours, poses


def _twice(states: Tensor) -> Tensor:
    return functional.interpolate(states, scale_factor=2.0, mode="nearest")


def pooled(logits: Tensor, masks: Tensor) -> Tensor:
    """Averages maps (rows, k, h, w) over masks (rows, n, h, w) to (rows, n, k)."""
    weights = masks / masks.sum((2, 3), keepdim=True).clamp(min=1e-4)
    return torch.einsum("rnhw,rkhw->rnk", weights, logits)


Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge saw in one picture.

    Attributes:
        present: For each noun, the probability that the picture shows it.
        colour: For each noun, the colour it has, if it is there.
        pose: For cat and dog, the pose, if it is there.
        segments: (64, 64), 0 for background, else 1 + the noun's number in the world's order.
    """

    present: dict[str, float]
    colour: dict[str, str]
    pose: dict[str, str]
    segments: Bytes

    def sees(self, noun: str, colour: str | None = None) -> bool:
        """Tells whether the picture shows a noun, and in this colour if one is given."""
        return self.present[noun] >= 0.5 and (colour is None or self.colour[noun] == colour)

    def mask(self, noun: str) -> Bools:
        """Returns where the noun is, (128, 128)."""
        found = self.segments == 1 + NOUNS.index(noun)
        return found.repeat(128 // MAP, 0).repeat(128 // MAP, 1)


class Judge:
    """A trained judge."""

    def __init__(self, network: JudgeNetwork) -> None:
        self.network = network.eval().requires_grad_(False)

    @staticmethod
    def load(folder: Path, device: str = "cpu") -> "Judge":
        """Reads a judge that `save` wrote."""
        from safetensors.torch import load_file

        network = JudgeNetwork()
        network.load_state_dict(load_file(folder / "judge.safetensors"))
        return Judge(network.float().to(device))

    def save(self, folder: Path) -> None:
        """Writes `judge.safetensors` in float16, and its vocabulary beside it."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {name: t.half().cpu().contiguous() for name, t in self.network.state_dict().items()}
        save_file(state, folder / "judge.safetensors", metadata={"format": "pt"})
        names = {"nouns": NOUNS, "colours": COLOURS, "poses": POSES, "map": MAP}
        (folder / "config.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")

    def __call__(self, images: npt.ArrayLike, batch: int = 50) -> list[Verdict]:
        """Judges pictures, (n, 128, 128, 3) bytes.

        Raises:
            ValueError: The pictures have another shape or type.
        """
        pictures = np.asarray(images)
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (128, 128, 3):
            raise ValueError(
                f"the judge takes (n, 128, 128, 3) bytes, not {pictures.shape} of {pictures.dtype}"
            )
        device = next(self.network.parameters()).device
        found: list[Verdict] = []
        for part in torch.from_numpy(pictures.copy()).split(batch):
            rows = part.to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
            with torch.inference_mode():
                found += _verdicts(*self.network(rows))
        return found


def _verdicts(presence: Tensor, nouns: Tensor, colours: Tensor, poses: Tensor) -> list[Verdict]:
    chances = nouns.softmax(1)
    # Squared, so that faint doubts far away do not outweigh the few pixels of a small thing.
    masks = chances[:, 1:].square()
    of_colour = pooled(colours, masks).argmax(-1).cpu().numpy()
    of_pose = pooled(poses, masks).argmax(-1).cpu().numpy()
    present: Any = presence.sigmoid().cpu().numpy()
    segments: Any = chances.argmax(1).to(torch.uint8).cpu().numpy()
    return [
        Verdict(
            {noun: float(present[row, n]) for n, noun in enumerate(NOUNS)},
            {noun: COLOURS[of_colour[row, n]] for n, noun in enumerate(NOUNS)},
            {noun: POSES[of_pose[row, NOUNS.index(noun)]] for noun in ("cat", "dog")},
            segments[row],
        )
        for row in range(len(segments))
    ]
