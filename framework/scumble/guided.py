"""What a guided step needs beside its UNet call: the ports of the gradients that come before it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scumble.arrays import Array, Floats
from scumble.bindings import Bindings
from scumble.controls import Also, Branch, Control, Guide, Mix, Read, Route, Term, Watch
from scumble.errors import OptionError
from scumble.ports import PortSizes

__all__ = ["GuideCall", "GuideStep", "plan_guide"]

OWN, RECORDED = 0, 1
"""Rows of a gradient: the guided one, and the source's recorded state beyond it."""
SOURCE = Branch(0)


@dataclass(frozen=True, slots=True, eq=False)
class GuideCall:
    """One gradient an iteration: the maps of one prompt.

    Attributes:
        text: the prompt.
        ports: routes and mixes in force, and the loss.
    """

    text: str
    ports: dict[str, Array]


@dataclass(frozen=True, slots=True, eq=False)
class GuideStep:
    """One guide at one step.

    Attributes:
        picture: whose latent moves.
        calls: whose losses and gradients add up.
        constant: added to the loss.
        iterations: most updates.
        rate: size of an update.
        within: (height, width) where the latent may move.
        stop: the loss at which updates end; None is never.
    """

    picture: int
    calls: tuple[GuideCall, ...]
    constant: float
    iterations: int
    rate: float
    within: Floats
    stop: float | None


def plan_guide(
    owner: str,
    guide: Guide,
    active: Sequence[tuple[str, Control]],
    text: str,
    sizes: PortSizes,
    index: int,
) -> GuideStep:
    """Return a guide's calls at a step.

    Args:
        owner: the plugin, for messages.
        guide: active at the step.
        active: every control of the step.
        text: the prompt of the guided branch.
        sizes: the model's axes.
        index: the step.

    Raises:
        OptionError: the branch is edited in a way that has no gradient here.
    """
    rows = {guide.branch: OWN}
    # What the source told is its state without any control.
    edits = [c for _, c in active if not isinstance(c, Read | Guide | Watch | Also)]
    if not any(control.branch == SOURCE for control in edits):
        rows[SOURCE] = RECORDED
    bindings = Bindings(sizes, 1, True, rows, index)
    for name, control in active:
        if isinstance(control, Guide | Watch | Also) or control.branch != guide.branch:
            continue
        if not _has_gradient(control, rows):
            raise OptionError(
                f"{owner}: picture {guide.branch.picture} is guided at step {index} while "
                f"{name}'s {type(control).__name__} is in force; a guided row takes nothing but "
                "routes and mixes, from the source's row with text while that is not edited."
            )
        if isinstance(control, Route | Mix):
            bindings.bind(name, control)
    bindings.force(("route", "mix"))
    edit, _ = bindings.ports()
    texts = dict.fromkeys(text if term.text is None else term.text for term in guide.terms)
    calls = tuple(
        GuideCall(
            wanted,
            edit
            | _loss(
                [t for t in guide.terms if (text if t.text is None else t.text) == wanted],
                guide.sites,
                sizes,
            ),
        )
        for wanted in texts
    )
    return GuideStep(
        guide.branch.picture,
        calls,
        guide.constant,
        guide.iterations,
        float(guide.rate[index]),
        guide.within,
        None if guide.stop is None else float(guide.stop[index]),
    )


def _has_gradient(control: Control, rows: Mapping[Branch, int]) -> bool:
    match control:
        case Route():
            taken = {control.query, control.key, control.value} - {None}
            return taken <= set(rows)
        case Mix():
            return control.source in rows
        case Read():
            return True
        case _:
            return False


def _loss(terms: Sequence[Term], sites: tuple[int, ...], sizes: PortSizes) -> dict[str, Array]:
    gate = np.zeros(sizes.sites.count("cross"))
    gate[list(sites)] = 1
    weights = [(t.weight, 0.0) if t.kind == "token" else (0.0, t.weight) for t in terms]
    return {
        "loss.words": np.stack([term.words for term in terms])[None],
        "loss.rest": np.stack([np.asarray(term.rest) for term in terms])[None],
        "loss.masks": np.stack([term.mask for term in terms])[None],
        "loss.weights": np.array([weights]),
        "loss.sites": gate,
    }
