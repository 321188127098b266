"""From a checked request to a finished run: text, inversion, plans, schedule, sampling, pixels."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from scumble.arrays import Array, Bools, Floats
from scumble.attention_maps import RunMaps
from scumble.checking import require_engine
from scumble.conflicts import require_apart
from scumble.errors import OptionError
from scumble.guiding import Guided
from scumble.hookspecs import RunView, Trajectory
from scumble.host import Host
from scumble.images import Picture, PictureLike, fit, from_model, load_picture
from scumble.inversion import require_told
from scumble.masks import Mask, MaskLike, mask_source, read_mask
from scumble.planner import compile_plans
from scumble.plans import first_step
from scumble.ports import Group
from scumble.requests import SamplingRequest
from scumble.sampler import Progress, Sampled, sample
from scumble.schedule import SOURCE, Job, Schedule
from scumble.sensitivity import require_effect
from scumble.session import Session
from scumble.source_memory import source_key, trajectory_key
from scumble.stopwatch import Stopwatch
from scumble.viewing import latent_size, view_run

__all__ = ["Finished", "Pipeline"]


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """What a pipeline leaves behind.

    Attributes:
        pixels: picture -> (height, width, 3) uint8.
        latents: picture -> final latent.
        maps: computed when asked for.
        rows: row evaluations by variant; `inversion` are those of inverting.
        trajectory: of the inversion, or None.
        remembered: (steps,) bool, steps whose source state is at hand for the next run.
        guided: what guides did, in order.
        levels: for each step, picture -> the latent it started from; empty if it was not taken.
        masks: name -> (height, width) at latent size, given or made; '' is the one without a name.
        notes: sentences for the user, on what was converted, cut or put back.
    """

    pixels: dict[int, Array]
    latents: dict[int, Floats]
    maps: RunMaps
    rows: dict[str, int]
    trajectory: Trajectory | None
    remembered: Bools
    guided: tuple[Guided, ...]
    levels: tuple[dict[int, Floats], ...]
    masks: dict[str, Floats]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Pipeline:
    """One run on a session.

    Attributes:
        session: the model.
        request: sampling settings.
        prompts: of each picture, the source's first.
        wanted: pictures to decode.
        host: the plugins.
        inversion: inverts; only used with a picture.
        masking: makes masks, or None.
        picture: fitted to the run's size, or None if the source is generated.
        masks: by name, fitted likewise; the one without a name is ''.
        callback: told of each step.
        reduce: False turns the planner's reductions off.
        ahead: True records the source's state at every step, for later runs.
        watch: seconds by stage.
        notes: sentences for the user, on what was converted or cut.
    """

    session: Session
    request: SamplingRequest
    prompts: tuple[str, ...]
    wanted: frozenset[int]
    host: Host
    inversion: Host | None = None
    picture: Picture | None = None
    masks: dict[str, Mask] = field(default_factory=dict[str, Mask])
    callback: Callable[[Progress], None] | None = None
    reduce: bool = True
    ahead: bool = False
    masking: Host | None = None
    watch: Stopwatch = field(default_factory=Stopwatch)
    notes: list[str] = field(default_factory=list[str])

    def finish(self) -> Finished:
        """Carry the run out.

        Raises:
            ScumbleError: see `scumble.errors`; nothing has been written.
        """
        session = self.session
        session.rows.clear()
        session.recovery.begin()
        with self.watch.stage("text"):
            run = self.view()
            for text in (*self.prompts, self.request.negative):
                session.embed(text)
        run = self._masked(run)
        inverts = self.inversion if self.picture is not None else None
        if inverts is not None:
            inverts.require_inversion()
        # What inverts may have a say in the run as well, and has it before the method.
        host = self.host if inverts is None else inverts.followed_by(self.host)
        with self.watch.stage("planning"):
            # Before the inversion, so that a missing word or a contradiction costs no row.
            plans = host.plan(run)
            require_apart(plans, run.sites)
            run = replace(run, start=first_step(plans, run.steps))
            session.count_as("planning")
        trajectory, key = self._trajectory(run)
        run = replace(run, trajectory=trajectory)
        start = self._start(run, host)
        job = self._job(run, trajectory, key, start)
        with self.watch.stage("planning"):
            schedule = compile_plans(
                plans,
                job,
                session.info.sizes(run.latent),
                reduce=self.reduce,
                supports=session.engine.supports,
                apart=session.gradients is not session,
            )
            require_engine(session, plans, schedule)
            require_told(trajectory, schedule)
        with self.watch.stage("probe"):
            self._probe(schedule)
        with self.watch.stage("sampling"):
            done = sample(session, host, run, schedule, start, trajectory, self.callback, key)
        with self.watch.stage("decode"):
            pixels = {p: self._decode(done, p) for p in sorted(self.wanted)}
        maps = RunMaps(session, run, job, plans, done.levels, done.masks)
        self.notes.extend(session.recovery.notes)
        asked = (self.masking, inverts, host)
        self.notes.extend(note for one in asked if one is not None for note in one.notes)
        known = self._remembered(key)
        return Finished(
            pixels,
            done.latents,
            maps,
            dict(session.rows),
            trajectory,
            known,
            done.guided,
            done.levels,
            {**run.masks, **({} if run.mask is None else {"": run.mask})},
            tuple(self.notes),
        )

    def read(
        self, image: PictureLike, masks: Mapping[str, MaskLike] | None = None
    ) -> dict[str, Any]:
        """Take a picture, and masks of its size, fitted to the run's; return where they came from.

        Raises:
            ImageError: a file that cannot be used.
        """
        factor, how = self.session.info.factor, self.request.fit
        height, width = (side * factor for side in latent_size(self.session, self.request))
        original = load_picture(image)
        self.picture = fit(original, (height, width), how)
        taken: dict[str, Picture | Mask] = {"image": self.picture}
        for name, mask in (masks or {}).items():
            fitted = read_mask(mask, original.size, fitted=(height, width), how=how)
            self.masks[name] = taken[mask_source(name)] = fitted
        for one in taken.values():
            self.notes.extend(one.notes)
        return {name: {"path": one.origin, "sha256": one.sha256} for name, one in taken.items()}

    def view(self) -> RunView:
        """Return what plugins are shown of the run."""
        with nullcontext() if self.picture is None else self.watch.stage("encode"):
            run, notes = view_run(
                self.session, self.request, self.prompts, self.picture, self.masks
            )
        self.notes.extend(notes)
        return run

    def _masked(self, run: RunView) -> RunView:
        """Return the run with the masks that a plugin makes of it, where the user gave none."""
        if self.masking is not None and self.masks:
            raise OptionError("a mask is given, and masking would make another; leave one out.")
        making = self.masking or self.host
        if self.masks or not (self.masking or making.masks):
            return run
        with self.watch.stage("masking"):
            found = making.mask(run)
        self.session.count_as("masking")
        if self.masking is not None and not found:
            raise OptionError(f"{', '.join(making.origins)} gave no mask; name another masking.")
        mask = found.pop("", None)
        return replace(run, mask=mask, masks=found)

    def _trajectory(self, run: RunView) -> tuple[Trajectory | None, str]:
        """Return the picture's trajectory, remembered or inverted now, and its source's key.

        The key is empty where the source row's state is not remembered: one that is not pinned
        moves on its own, and is wanted or controlled with the targets.
        """
        if self.picture is None or self.inversion is None:
            return None, ""
        sources = self.session.sources
        # An inversion that saw the targets could not serve the next edit of the picture.
        seen = replace(run, targets=(), mask=None, masks={})
        identity = self.inversion.identity if sources.keeps else None
        with self.watch.stage("inversion"):
            inverted = "" if identity is None else trajectory_key(seen, identity)
            sources.hold(inverted)
            known = sources.trajectory(inverted) if inverted else None
            trajectory = known or self.inversion.invert(seen)
            keeps = trajectory.pinned and sources.keeps and self.reduce
            source = source_key(run, trajectory) if keeps else ""
            sources.hold(inverted, source)
            sources.take_up(source, trajectory.latents)
            if inverted and known is None:
                sources.remember(inverted, trajectory)
        self.session.count_as("inversion")
        return trajectory, source

    def _job(
        self,
        run: RunView,
        trajectory: Trajectory | None,
        key: str,
        start: Mapping[int, Floats],
    ) -> Job:
        return Job(
            steps=run.steps,
            prompts=self.prompts,
            unconditional=_unconditional(run),
            wanted=self.wanted,
            guided=self.request.guidance != 1,
            recorded=trajectory is not None and trajectory.pinned,
            shared_start=all(np.array_equal(latent, start[0]) for latent in start.values()),
            start=run.start,
            identity=np.array([run.scheduler.is_identity(i) for i in range(run.steps)]),
            replayed=self._remembered(key),
            record=("ahead" if self.ahead else "live") if key else "never",
        )

    def _remembered(self, key: str) -> Bools:
        return self.session.sources.steps(key, self.request.steps)

    def _start(self, run: RunView, host: Host) -> Mapping[int, Floats]:
        dtype, trajectory = self.session.engine.dtype, run.trajectory
        if trajectory is None and run.start:
            raise OptionError(
                f"a run that starts at step {run.start} needs a picture; one that is generated is "
                "nothing but noise before its first step."
            )
        if trajectory is None:
            shape = (self.session.info.channels, *run.latent)
            noise = run.random().standard_normal(shape).astype(dtype)
        else:
            noise = trajectory.latents[run.start].astype(dtype)
        start = dict.fromkeys(range(len(self.prompts)), noise)
        with self.watch.stage("initial noise"):
            changed = host.initial_noise(run, start)
        if trajectory is not None and trajectory.pinned:
            changed[SOURCE] = noise
        return changed

    def _probe(self, schedule: Schedule) -> None:
        guided = frozenset[Group](("loss",) if any(step.guides for step in schedule.steps) else ())
        needs = ((self.session, schedule.groups), (self.session.gradients, guided))
        rows = self.session.rows.copy()
        for session, groups in needs:
            for group in sorted(groups - session.probed):
                require_effect(session, group)
                session.probed.add(group)
        # What probes cost is no part of a run.
        self.session.rows.clear()
        self.session.rows.update(rows)

    def _decode(self, done: Sampled, picture: int) -> Array:
        latent = done.latents[picture][None]
        return from_model(self.session.recovery.decode(latent))


def _unconditional(run: RunView) -> str | None:
    """Return the prompt of the unconditional rows, or None where the inversion embedded it."""
    given = None if run.trajectory is None else run.trajectory.embeddings
    if given is None:
        return run.unconditional
    return given if isinstance(given, str) else None
