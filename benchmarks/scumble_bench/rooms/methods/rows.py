"""The rows of the table: which method, with which options, on which edits.

Options are the published defaults unless a row says otherwise; nothing was chosen for its result.
In options `{noun}`, `{word}` and `{box}` stand for what a case has there.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, cast

from scumble_bench.rooms.methods.cases import Case, Kind

__all__ = ["GENERATED", "ROWS", "Row", "Task", "cases_of", "filled"]

Task: TypeAlias = Kind | Literal["generated_pose", "repaint"]
GENERATED: tuple[Task, ...] = ("generated_pose", "layout", "repaint")
"""Tasks that edit what the model draws itself, and no picture that is brought."""
CASES: Mapping[Task, Kind] = {"generated_pose": "pose", "repaint": "layout"}
"""Tasks that take the cases of a kind of another name."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes:
        name: no two rows of a task have the same.
        task: what is asked for: a kind of edit; `repaint`, which takes the cases of `layout`; or
            `generated_pose`, which takes the prompts of `pose`.
        method: plugin; None samples the target prompt and edits nothing.
        options: of the plugin.
        inversion: plugin that inverts, where a picture is edited.
        masked: whether the true mask of the thing is given.
        gradients: whether the method needs them.
        asked: further fields of the request.
    """

    name: str
    task: Task
    method: str | None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inversion: str = "direct"
    masked: bool = False
    gradients: bool = False
    asked: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON holds it, without `asked` where that is empty."""
        given = {**asdict(self), "options": dict(self.options), "asked": dict(self.asked)}
        return given if self.asked else {n: v for n, v in given.items() if n != "asked"}

    @property
    def slug(self) -> str:
        """A name for files: readable, and different where anything of the row is."""
        text = json.dumps(self.as_json(), sort_keys=True)
        readable = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:60]
        return f"{readable}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def cases_of(task: Task) -> Kind:
    """Return whose cases a task takes."""
    return CASES.get(task) or cast("Kind", task)


def filled(template: Any, case: Case) -> Any:
    """Return options for a case: placeholders give way to what it has there."""
    known = {"{noun}": case.noun, "{word}": case.word, "{box}": case.box}
    if isinstance(template, str):
        return known.get(template, template)
    if isinstance(template, Mapping):
        given = cast("Mapping[str, Any]", template)
        return {filled(key, case): filled(value, case) for key, value in given.items()}
    if isinstance(template, Sequence):
        return [filled(one, case) for one in cast("Sequence[Any]", template)]
    return template


P2P = "prompt_to_prompt"
BLEND = {"blend_words": ["{noun}"]}
AS_MAG = {"mode": "refine", "self_window": 0.5, "self_stride": 1, "blend_start": 0.7}
"""Prompt-to-Prompt as MAG-Edit has it within, so that what is left of a difference is guidance."""

ROWS: tuple[Row, ...] = (
    Row("Prompt-to-Prompt, swap", "colour", P2P, {"mode": "replace"}),
    Row("Prompt-to-Prompt, swap, LocalBlend", "colour", P2P, {"mode": "replace", **BLEND}),
    Row("Prompt-to-Prompt, swap, DDIM inversion", "colour", P2P, {"mode": "replace"}, "ddim"),
    Row("Prompt-to-Prompt, refine", "refine", P2P, {"mode": "refine"}),
    Row("Prompt-to-Prompt, refine, LocalBlend", "refine", P2P, {"mode": "refine", **BLEND}),
    Row("MasaCtrl", "pose", "masactrl"),
    Row("Prompt-to-Prompt, swap", "pose", P2P, {"mode": "replace"}),
    # Windows of no length: the target prompt, sampled from the picture's inverted noise.
    Row("no control", "pose", P2P, {"mode": "replace", "cross_window": 0, "self_window": 0}),
    Row("MasaCtrl", "silent_pose", "masactrl"),
    Row("Prompt-to-Prompt, swap", "silent_pose", P2P, {"mode": "replace"}),
    Row("no control", "silent_pose", P2P,
        {"mode": "replace", "cross_window": 0, "self_window": 0}),
    Row("MasaCtrl", "generated_pose", "masactrl"),
    Row("Prompt-to-Prompt, swap", "generated_pose", P2P, {"mode": "replace"}),
    Row("no control", "generated_pose", P2P,
        {"mode": "replace", "cross_window": 0, "self_window": 0}),
    Row("MAG-Edit", "crowded", "mag_edit", {"words": ["{word}"]}, masked=True, gradients=True),
    Row("Prompt-to-Prompt, swap", "crowded", P2P, {"mode": "replace"}),
    Row("Prompt-to-Prompt, same mask", "crowded", P2P, AS_MAG, masked=True),
    Row("plain sampling", "layout", None),
    Row("layout swap", "layout", "initial_noise", {"layout": {"{noun}": "{box}"}}),
    Row("noise of blocks", "layout", "noise_blocks",
        {"layout": {"{noun}": "{box}"}, "collect": 16}),
    Row("a new seed", "repaint", None),
    Row("re-painting", "repaint", "initial_noise", {"repaint": ["{box}"]}),
    Row("re-painting, outside kept", "repaint", "initial_noise",
        {"repaint": ["{box}"], "keep_outside": True}),
)  # fmt: skip
