"""The judge: a small network that says which things a picture of a room shows.

It knows the world's nouns, colours and poses, and is the automatic check of edits:

    judge = Judge.load(CHECKPOINT / "judge")
    verdict = judge(images)[0]
    verdict.present["sofa"], verdict.colour["sofa"], verdict.mask("sofa")

It runs on ONNX Runtime; `judge_network` holds the network that is trained.
"""

# onnxruntime leaves parts of its signatures untyped.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime

from scumble.errors import ModelError
from scumble_bench.rooms.dataset import COLOURS, NOUNS, POSES

__all__ = ["GRAPH", "MAP", "Judge", "Logits", "Verdict", "verdicts_of"]

GRAPH = "judge.onnx"
MAP = 64
"""Width and height of the judge's maps."""

Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.floating]


class Logits(NamedTuple):
    """What the network says of pictures.

    Attributes:
        presence: (rows, nouns).
        nouns: (rows, 1 + nouns, 64, 64), background first.
        colours: (rows, colours, 64, 64).
        poses: (rows, poses, 64, 64).
    """

    presence: Floats
    nouns: Floats
    colours: Floats
    poses: Floats


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
    """A trained judge, on the CPU.

    Args:
        graph: The file that `judge_network.write_graph` wrote, beside the weights.
    """

    def __init__(self, graph: Path) -> None:
        options: Any = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        providers = ["CPUExecutionProvider"]
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=providers)

    @staticmethod
    def load(folder: Path) -> "Judge":
        """Reads a judge that `judge_network.save_network` wrote.

        Raises:
            ModelError: The folder has no graph of one.
        """
        if not (folder / GRAPH).is_file():
            raise ModelError(
                f"'{folder}' has no {GRAPH}; write it: python -m scumble_bench.rooms.pack "
                f"--checkpoint '{folder.parent}'."
            )
        return Judge(folder / GRAPH)

    def logits(self, images: npt.ArrayLike, batch: int = 8) -> Logits:
        """Returns what the network says of pictures, (n, 128, 128, 3) bytes.

        Args:
            images: One picture or more.
            batch: How many are run at once, 8 at most.

        Raises:
            ValueError: The pictures have another shape or type.
        """
        pictures = np.asarray(images)
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[1:] != (128, 128, 3):
            raise ValueError(
                f"the judge takes (n, 128, 128, 3) bytes, not {pictures.shape} of {pictures.dtype}"
            )
        rows = np.moveaxis(pictures, 3, 1).astype(np.float32) / np.float32(127.5) - 1
        parts: list[list[Floats]] = [
            self._session.run(None, {"pictures": np.ascontiguousarray(rows[n : n + batch])})
            for n in range(0, len(rows), batch)
        ]
        return Logits(*(np.concatenate(of_one) for of_one in zip(*parts, strict=True)))

    def __call__(self, images: npt.ArrayLike, batch: int = 8) -> list[Verdict]:
        """Judges pictures; takes and refuses what `logits` does."""
        return verdicts_of(self.logits(images, batch))


def verdicts_of(logits: Logits) -> list[Verdict]:
    """Returns a verdict for each row."""
    raised = np.exp(logits.nouns - logits.nouns.max(1, keepdims=True))
    chances = raised / raised.sum(1, keepdims=True)
    # Squared, so that faint doubts far away do not outweigh the few pixels of a small thing.
    masks = np.square(chances[:, 1:])
    of_colour = _pooled(logits.colours, masks).argmax(-1)
    of_pose = _pooled(logits.poses, masks).argmax(-1)
    present = 0.5 + 0.5 * np.tanh(logits.presence / 2)  # the logistic function, without overflow
    segments = chances.argmax(1).astype(np.uint8)
    return [
        Verdict(
            {noun: float(present[row, n]) for n, noun in enumerate(NOUNS)},
            {noun: COLOURS[of_colour[row, n]] for n, noun in enumerate(NOUNS)},
            {noun: POSES[of_pose[row, NOUNS.index(noun)]] for noun in ("cat", "dog")},
            segments[row],
        )
        for row in range(len(segments))
    ]


def _pooled(logits: Floats, masks: Floats) -> Floats:
    """Averages maps (rows, k, h, w) over masks (rows, n, h, w) to (rows, n, k), up to a factor."""
    rows, words = masks.shape[:2]
    flat = logits.reshape(rows, logits.shape[1], -1)
    return masks.reshape(rows, words, -1) @ np.swapaxes(flat, 1, 2)
