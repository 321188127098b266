"""The sampling loop: a schedule carried out on an engine, with the plugins' after-step hooks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from scumble.arrays import Floats, read_only, require_finite
from scumble.errors import EngineError
from scumble.hookspecs import RunView, StepView, Trajectory
from scumble.host import Host
from scumble.schedule import SOURCE, Schedule, Step
from scumble.session import Session

__all__ = ["Progress", "Sampled", "sample", "step_ports"]


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """What a `callback_on_step_end` is told.

    Attributes:
        step: 0-based, the step just taken.
        steps: of the run.
        latents: picture -> (channels, height, width).
    """

    step: int
    steps: int
    latents: Mapping[int, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What sampling leaves behind; pictures that the planner no longer moved are left out.

    Attributes:
        latents: picture -> its final (channels, height, width) latent.
        levels: for each step, picture -> the latent it started from; maps are computed from these.
    """

    latents: dict[int, Floats]
    levels: tuple[dict[int, Floats], ...]


def sample(
    session: Session,
    host: Host,
    run: RunView,
    schedule: Schedule,
    start: Mapping[int, Floats],
    trajectory: Trajectory | None = None,
    callback: Callable[[Progress], None] | None = None,
    source: str = "",
) -> Sampled:
    """Carry out a schedule.

    Args:
        session: the model.
        host: the run's plugins.
        run: what they see.
        schedule: the compiled steps.
        start: picture -> latent at level 0.
        trajectory: recorded source latents; where pinned, the source takes these.
        callback: called after each step.
        source: key under which the source row's state is remembered.

    Raises:
        NumericalError: NaN or Inf in a noise prediction or latent.
        ControlError: a port was bound and had no effect.
    """
    latents = dict(start)
    current = set(latents)
    levels: list[dict[int, Floats]] = []
    pinned = trajectory if trajectory is not None and trajectory.pinned else None
    for step in schedule.steps:
        levels.append({picture: latents[picture] for picture in current})
        reads: dict[str, Floats] = {}
        if step.rows:
            ports = step_ports(session, run, step, latents)
            if step.replay:
                ports |= _replayed(session, run, source, step.index)
            output = session.step(ports, step.variant, f"step {step.index}")
            if step.record:
                session.sources.record(source, step.index, output.recorded)
            for picture, (unconditional, conditional) in step.noise.items():
                noise = guided(output.noise, unconditional, conditional, run.guidance)
                latents[picture] = run.scheduler.forward(latents[picture], noise, step.index)
            for slot in step.reads:
                reads[slot.name] = output.reads[slot.stride][slot.row, slot.first : slot.last]
        if not run.scheduler.is_identity(step.index):
            current &= {*step.noise, *((SOURCE,) if pinned is not None else ())}
        if pinned is not None:
            latents[SOURCE] = pinned.latents[step.index + 1].astype(session.engine.dtype)
        latents = host.after_step(run, StepView(step.index, latents, reads))
        for picture, latent in latents.items():
            require_finite(latent, f"the latent of picture {picture} after step {step.index}")
        if callback is not None:
            callback(Progress(step.index, run.steps, read_only(latents)))
    return Sampled({picture: latents[picture] for picture in current}, tuple(levels))


def _replayed(session: Session, run: RunView, source: str, step: int) -> dict[str, object]:
    """Return the replay ports of a step."""
    try:
        state = session.sources.recall(source, step)
    except KeyError as error:
        raise EngineError(
            f"the recorded source state of step {step} is damaged and was removed; run the edit "
            "again, which records it anew."
        ) from error
    return {**state, "source.text": session.embed(run.source.text).states[None]}


def guided(noise: Floats, unconditional: int | None, conditional: int, guidance: float) -> Floats:
    """Return u + w (c - u), classifier-free guidance (Ho and Salimans 2022, eq. 6)."""
    if unconditional is None:
        return noise[conditional]
    base = noise[unconditional]
    return base + np.asarray(guidance, dtype=noise.dtype) * (noise[conditional] - base)


def step_ports(
    session: Session, run: RunView, step: Step, latents: Mapping[int, Floats]
) -> dict[str, object]:
    """Return every port of a step: rows of latents and text, and the step's controls."""
    timestep = int(run.scheduler.timesteps[step.index])
    return {
        "sample": np.stack([latents[row.picture] for row in step.rows]),
        "timestep": np.full(len(step.rows), timestep, dtype=np.int64),
        **session.text_ports([row.text for row in step.rows], run.latent),
        **step.ports,
    }
