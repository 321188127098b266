"""The sampling loop: a schedule carried out on an engine, with the plugins' after-step hooks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from scumble.arrays import Floats, read_only, require_finite
from scumble.embeddings import Embedding
from scumble.errors import EngineError, PluginError
from scumble.guiding import Guided, guide, recorded_of, tell_source
from scumble.hookspecs import BeforeView, GuidedNoise, RunView, StepView, Trajectory
from scumble.host import Host
from scumble.schedule import SOURCE, Row, Schedule, Step
from scumble.session import Session
from scumble.stochastic import noised

__all__ = ["Masks", "Progress", "Sampled", "sample", "step_ports"]

Masks = Mapping[str, Mapping[str, Floats]]


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
            Empty for steps that were not taken.
        masks: for each step, plugin -> name -> mask that it gave.
        guided: what guides did, in order.
    """

    latents: dict[int, Floats]
    levels: tuple[dict[int, Floats], ...]
    masks: tuple[Masks, ...]
    guided: tuple[Guided, ...]


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
        start: picture -> latent at the level of the first step that is taken.
        trajectory: recorded source latents; where pinned, the source takes these. Its noises and
            embeddings hold for every picture.
        callback: called after each step.
        source: key under which the source row's state is remembered.

    Raises:
        NumericalError: NaN or Inf in a noise prediction or latent.
        ControlError: a port was bound and had no effect.
    """
    if trajectory is not None:
        run = replace(run, trajectory=trajectory)
    latents = dict(start)
    current = set(latents)
    skipped = run.steps - len(schedule.steps)
    levels: list[dict[int, Floats]] = [{} for _ in range(skipped)]
    masks: list[Masks] = [{} for _ in range(skipped)]
    guides: list[Guided] = []
    reads: dict[str, Floats] = {}
    pinned = trajectory if trajectory is not None and trajectory.pinned else None
    for step in schedule.steps:
        state = _source_state(session, run, step, latents, source)
        for each in step.guides:
            moved, done = guide(
                session.gradients, run, step.index, each, latents[each.picture], state
            )
            latents[each.picture] = moved
            guides.append(done)
        levels.append({picture: latents[picture] for picture in current})
        timestep = int(run.scheduler.timesteps[step.index])
        before = BeforeView(step.index, timestep, dict(latents), reads)
        masks.append(host.before_step(run, before))
        reads = {}
        if step.rows:
            ports = step_ports(session, run, step, latents, masks[-1])
            if step.replay:
                own = state and session.gradients is session
                ports |= state if own else _replayed(session, run, source, step.index)
            output = session.step(ports, step.variant, f"step {step.index}")
            if step.record:
                session.sources.record(source, step.index, output.recorded)
            for slot in step.reads:
                reads[slot.name] = output.reads[slot.stride][slot.row, slot.first : slot.last]
            for picture, (unconditional, conditional) in step.noise.items():
                noise = guided(output.noise, unconditional, conditional, run.guidance)
                if unconditional is not None and host.guides:
                    apart = (output.noise[unconditional], output.noise[conditional])
                    also = {
                        n: output.noise[row] for n, (p, row) in step.also.items() if p == picture
                    }
                    told = GuidedNoise(picture, *apart, noise, reads, also)
                    noise = host.guidance(run, before, told)
                latents[picture] = _stepped(run, latents[picture], noise, step.index)
        if not run.scheduler.is_identity(step.index):
            current &= {*step.noise, *((SOURCE,) if pinned is not None else ())}
        if pinned is not None:
            latents[SOURCE] = pinned.latents[step.index + 1].astype(session.engine.dtype)
        latents = host.after_step(run, StepView(step.index, latents, reads))
        for picture, latent in latents.items():
            require_finite(latent, f"the latent of picture {picture} after step {step.index}")
        if callback is not None:
            callback(Progress(step.index, run.steps, read_only(latents)))
    final = {picture: latents[picture] for picture in current}
    return Sampled(final, tuple(levels), tuple(masks), tuple(guides))


def _stepped(run: RunView, latent: Floats, noise: Floats, index: int) -> Floats:
    """Return the latent after a step, with the noise that the inversion adds there, if any."""
    way = run.trajectory
    if way is None or way.noises is None:
        return run.scheduler.forward(latent, noise, index)
    return noised(run.scheduler, latent, noise, index, way.noises[index], way.eta)


def _source_state(
    session: Session, run: RunView, step: Step, latents: Mapping[int, Floats], source: str
) -> dict[str, object]:
    """Return the source row's state for a step's guides, as replay ports; none without guides.

    Where the engine of the gradients is the run's own, the step replays the same state.
    """
    if not step.guides:
        return {}
    if not step.told:
        return _replayed(session, run, source, step.index)
    state = tell_source(session.gradients, run, step, latents)
    if source and session.gradients is session:
        session.sources.record(source, step.index, recorded_of(state))
    return state


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


def _text(session: Session, run: RunView, row: Row, index: int) -> str | Embedding:
    """Return what a row sees: its prompt, or what the inversion embedded for the step."""
    if row.text is not None:
        return row.text
    assert run.trajectory is not None
    assert isinstance(run.trajectory.embeddings, np.ndarray)
    return session.embedding(run.trajectory.embeddings[index], run.unconditional)


def step_ports(
    session: Session, run: RunView, step: Step, latents: Mapping[int, Floats], masks: Masks
) -> dict[str, object]:
    """Return every port of a step: rows of latents and text, and the step's controls.

    Raises:
        PluginError: a mask that a plugin's control names and the plugin did not give.
    """
    timestep = int(run.scheduler.timesteps[step.index])
    controls = dict(step.ports)
    for slot in step.masks:
        mask = masks.get(slot.owner, {}).get(slot.name)
        if mask is None:
            raise PluginError(
                f"plugin {slot.owner!r} gave no mask {slot.name!r} at step {step.index}, and its "
                "plan has a region of that name there."
            )
        # A copy: the port's own array belongs to the schedule, which is run more than once.
        controls[slot.port] = np.array(controls[slot.port])
        controls[slot.port][slot.row] = mask
    return {
        "sample": np.stack([latents[row.picture] for row in step.rows]),
        "timestep": np.full(len(step.rows), timestep, dtype=np.int64),
        **session.text_ports([_text(session, run, r, step.index) for r in step.rows], run.latent),
        **controls,
    }
