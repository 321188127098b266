"""Guides carried out: before a step, latents move down the gradient of a loss on their maps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scumble.arrays import Floats
from scumble.guided import GuideStep
from scumble.hookspecs import RunView
from scumble.schedule import SOURCE, Step
from scumble.session import Session

__all__ = ["Guided", "guide", "recorded_of", "tell_source"]


@dataclass(frozen=True, slots=True, eq=False)
class Guided:
    """What a guide did at a step.

    Attributes:
        step: 0 is the noisiest.
        picture: whose latent moved.
        losses: before each update, and of the last gradient if it ended the updates.
    """

    step: int
    picture: int
    losses: tuple[float, ...]


def tell_source(
    session: Session, run: RunView, step: Step, latents: Mapping[int, Floats]
) -> dict[str, object]:
    """Run the source row by itself and return its recorded state, as replay ports."""
    timestep = int(run.scheduler.timesteps[step.index])
    ports: dict[str, object] = {
        "sample": latents[SOURCE][None],
        "timestep": np.array([timestep], dtype=np.int64),
        **session.text_ports([run.source.text], run.latent),
        "record.row": np.zeros(1, dtype=np.int64),
    }
    recorded = session.step(ports, "record", f"step {step.index}").recorded
    return {**recorded, "source.text": session.embed(run.source.text).states[None]}


def recorded_of(state: Mapping[str, object]) -> dict[str, object]:
    """Return what an engine recorded, without the text that is replayed beside it."""
    return {name: handle for name, handle in state.items() if name != "source.text"}


def guide(
    session: Session,
    run: RunView,
    index: int,
    guided: GuideStep,
    latent: Floats,
    source: Mapping[str, object],
) -> tuple[Floats, Guided]:
    """Return a picture's latent after a guide's updates at a step.

    Args:
        session: whose engine has gradients.
        run: the run.
        index: the step.
        guided: the guide.
        latent: (channels, height, width).
        source: replay ports of the step's source row, on that engine.
    """
    timestep = np.array([int(run.scheduler.timesteps[index])], dtype=np.int64)
    fixed = [
        {
            "timestep": timestep,
            **session.text_ports([call.text], run.latent),
            **call.ports,
            **source,
        }
        for call in guided.calls
    ]
    rate = guided.rate * guided.within.astype(latent.dtype)
    losses: list[float] = []
    for _ in range(guided.iterations):
        loss, slope = guided.constant, np.zeros_like(latent)
        for ports in fixed:
            found = session.gradient({"sample": latent[None], **ports}, f"step {index}")
            loss += float((np.asarray(ports["loss.weights"]) * found.losses).sum())
            slope += found.latents[0]
        losses.append(loss)
        if guided.stop is not None and loss <= guided.stop:
            break
        latent = latent - rate * slope
    return latent, Guided(index, guided.picture, tuple(losses))
