"""What is edited to time a method: the demo's edit of that method, or what the plugin is tried on.

Every method runs with its published defaults, but for what an edit cannot do without (a word, a
mask) and what the demo sets for its small model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np

from scumble import Editor, Run
from scumble.arrays import Array
from scumble.images import load_picture
from scumble.plugins import load_class
from scumble_bench.demo_edits import EDITS, METHOD_EDITS, PICTURES
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.peers.peer import Work

__all__ = ["Case", "Pictures", "case_of"]

ROOM = PICTURES[2]
"""What a plugin's trial describes: a room with a green sofa."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An edit by a method.

    Attributes:
        work: as peers are given it too.
        pixels: (height, width, 3) uint8 of the picture; None where the source is generated.
        masks: by name, beyond the one of the work, for a method that takes several.
        another: a target whose edit makes the picture known.
        inversion_options: of the plugin that inverts; empty leaves its defaults.
    """

    work: Work
    pixels: Array | None
    another: str
    masks: Mapping[str, Array] = field(default_factory=dict[str, Array])
    inversion_options: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def edit(
        self, editor: Editor, picture: Array | None, seed: int = 0, target: str | None = None
    ) -> Run:
        """Run the edit.

        Args:
            editor: with the model and engine.
            picture: as `pixels`.
            seed: of what is generated.
            target: prompt; None takes the case's own.
        """
        work = self.work
        given: Any = self.masks or work.mask
        return editor.edit(
            picture,
            source=work.source or "",
            target=target or work.target,
            mask=given,
            method=work.method,
            options=work.options,
            inversion_options=self.inversion_options,
            steps=work.steps,
            size=work.size,
            seed=seed,
        )


class Pictures:
    """Pictures of a case that no editor has seen, and one that is the same each time.

    An unseen one differs in last bits, and in the seed where it is generated.

    Args:
        case: whose.
        seed: of all of them.
    """

    def __init__(self, case: Case, seed: int = 0) -> None:
        self._pixels = case.pixels
        self._rng = np.random.default_rng(seed)
        self._seeds = count(seed)
        self.known, self.known_seed = self.unseen()

    def unseen(self) -> tuple[Array | None, int]:
        """Return a picture, or None and a seed."""
        seed = next(self._seeds)
        if self._pixels is None:
            return None, seed
        return self._pixels ^ self._rng.integers(0, 2, self._pixels.shape, dtype=np.uint8), 0


def case_of(spec: CellSpec) -> Case:
    """Return the edit of a cell.

    Raises:
        OptionError: no such plugin.
        PluginError: it cannot be imported.
    """
    case = _demo(spec.method) or _trial(spec.method)
    told = {} if spec.convention == "target" else {"convention": spec.convention}
    work = replace(case.work, steps=spec.steps, size=spec.size)
    return replace(case, work=work, inversion_options=told)


def _demo(method: str) -> Case | None:
    if method == "prompt_to_prompt":
        work = Work(EDITS[0].target, PICTURES[0].prompt, method, options=EDITS[0].options)
        return Case(work, load_picture(PICTURES[0].path).pixels, EDITS[1].target)
    found = next((edit for edit in METHOD_EDITS if edit.method == method), None)
    if found is None:
        return None
    mask = found.picture.mask_of(found.thing) if found.picture and found.masked else None
    work = Work(found.target, found.source, method, options=found.options, mask=mask)
    pixels = None if found.picture is None else load_picture(found.picture.path).pixels
    return Case(work, pixels, found.target)


def _trial(method: str) -> Case:
    _, plugin = load_class(method)
    trial = plugin.trial
    pixels = load_picture(ROOM.path).pixels if trial.picture else None
    half = np.zeros((128, 128) if pixels is None else pixels.shape[:2], np.uint8)
    half[:, : half.shape[1] // 2] = 255
    plain = half if trial.masks == ("",) else None
    named = {} if plain is not None else dict.fromkeys(trial.masks, half)
    work = Work(trial.target, trial.source, method, options=trial.options, mask=plain)
    return Case(work, pixels, trial.target, named)
