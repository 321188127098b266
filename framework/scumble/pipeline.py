"""From a checked request to a finished run: text, inversion, plans, schedule, sampling, pixels."""

import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from scumble.arrays import Array, Floats, frozen
from scumble.attention_maps import RunMaps
from scumble.errors import OptionError, UnsupportedError
from scumble.hookspecs import RunView, Trajectory
from scumble.host import Host
from scumble.images import Picture, from_model, mask_to_latent, to_model
from scumble.masks import Mask
from scumble.planner import compile_plans
from scumble.plans import Plan
from scumble.plugins import list_entries
from scumble.requests import SamplingRequest
from scumble.sampler import Progress, Sampled, sample
from scumble.schedule import Job, Schedule
from scumble.schedulers import DDIM
from scumble.sensitivity import require_effect
from scumble.session import Session

__all__ = ["Finished", "Pipeline", "Stopwatch"]


class Stopwatch:
    """Seconds by stage of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Add the time spent inside to a stage."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - begun
            self.seconds[name] = self.seconds.get(name, 0.0) + spent


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """What a pipeline leaves behind.

    Attributes:
        pixels: picture -> (height, width, 3) uint8.
        latents: picture -> final latent.
        maps: computed when asked for.
        rows: row evaluations by variant; `inversion` are those of inverting.
        trajectory: of the inversion, or None.
    """

    pixels: dict[int, Array]
    latents: dict[int, Floats]
    maps: RunMaps
    rows: dict[str, int]
    trajectory: Trajectory | None


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
        picture: fitted to the run's size, or None if the source is generated.
        mask: fitted likewise.
        callback: told of each step.
        reduce: False turns the planner's reductions off.
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
    mask: Mask | None = None
    callback: Callable[[Progress], None] | None = None
    reduce: bool = True
    watch: Stopwatch = field(default_factory=Stopwatch)
    notes: list[str] = field(default_factory=list[str])

    def finish(self) -> Finished:
        """Carry the run out.

        Raises:
            ScumbleError: see `scumble.errors`; nothing has been written.
        """
        session = self.session
        session.rows.clear()
        with self.watch.stage("text"):
            run = self._view()
            for text in (*self.prompts, self.request.negative):
                session.embed(text)
        with self.watch.stage("planning"):
            # Before the inversion, so that a word that is not there costs no row.
            plans = self.host.plan(run)
            session.count_as("planning")
        trajectory: Trajectory | None = None
        if self.picture is not None and self.inversion is not None:
            with self.watch.stage("inversion"):
                trajectory = self.inversion.invert(run)
            session.count_as("inversion")
        job = self._job(run.scheduler, trajectory)
        with self.watch.stage("planning"):
            schedule = compile_plans(plans, job, session.info.sizes(run.latent), reduce=self.reduce)
            self._require_engine(plans, schedule)
        with self.watch.stage("probe"):
            self._probe(schedule)
        start = self._start(run, trajectory)
        with self.watch.stage("sampling"):
            done = sample(session, self.host, run, schedule, start, trajectory, self.callback)
        with self.watch.stage("decode"):
            pixels = {p: self._decode(done, p) for p in sorted(self.wanted)}
        maps = RunMaps(session, run, job, plans, done.levels)
        return Finished(pixels, done.latents, maps, dict(session.rows), trajectory)

    def latent_size(self) -> tuple[int, int]:
        """Return (height, width) of the latent.

        Raises:
            OptionError: a size that is no multiple of the model's factor.
        """
        native, factor = self.session.info.sites.native, self.session.info.factor
        if self.request.size is None:
            return native
        height, width = self.request.size
        if height % factor or width % factor:
            raise OptionError(
                f"size is {height}x{width}; this model needs multiples of {factor} pixels."
            )
        return height // factor, width // factor

    def _view(self) -> RunView:
        session, request = self.session, self.request
        encode = session.tokenizer.encode
        source, *targets = (encode(text) for text in self.prompts)
        for prompt in (source, *targets, encode(request.negative)):
            if prompt.notice:
                self.notes.append(prompt.notice)
        latent = self.latent_size()
        image: Array | None = None
        if self.picture is not None:
            with self.watch.stage("encode"):
                pixels = to_model(self.picture.pixels).astype(session.engine.dtype)
                image = frozen(session.engine.encode_image(pixels)[0].astype(session.engine.dtype))
        mask: Array | None = None
        if self.mask is not None:
            mask = frozen(mask_to_latent(self.mask.pixels, latent).astype(np.float32))
        return RunView(
            steps=request.steps,
            guidance=request.guidance,
            source=source,
            targets=tuple(targets),
            sites=session.info.sites,
            latent=latent,
            scheduler=DDIM(session.checkpoint.scheduler, request.steps),
            seed=request.seed,
            image=image,
            mask=mask,
            predict=session.predict,
        )

    def _job(self, scheduler: DDIM, trajectory: Trajectory | None) -> Job:
        steps = self.request.steps
        return Job(
            steps=steps,
            prompts=self.prompts,
            unconditional=self.request.negative,
            wanted=self.wanted,
            guided=self.request.guidance != 1,
            recorded=trajectory is not None and trajectory.pinned,
            shared_start=True,
            identity=np.array([scheduler.is_identity(i) for i in range(steps)]),
            replayed=np.zeros(steps, dtype=bool),
        )

    def _start(self, run: RunView, trajectory: Trajectory | None) -> Mapping[int, Floats]:
        dtype = self.session.engine.dtype
        if trajectory is None:
            shape = (self.session.info.channels, *run.latent)
            noise = run.random().standard_normal(shape).astype(dtype)
        else:
            noise = trajectory.latents[0].astype(dtype)
        return dict.fromkeys(range(len(self.prompts)), noise)

    def _require_engine(self, plans: list[Plan], schedule: Schedule) -> None:
        """Refuse an engine that lacks a port group, naming those that would do."""
        engine = self.session.engine
        missing = schedule.groups - engine.groups
        if missing:
            owners = ", ".join(p.owner for p in plans if p.needs & missing)
            others = ", ".join(list_entries("scumble.engines"))
            raise UnsupportedError(
                f"{owners or 'this run'} needs {', '.join(sorted(missing))}, which engine "
                f"{engine.name!r} does not have; installed engines: {others}."
            )

    def _probe(self, schedule: Schedule) -> None:
        for group in sorted(schedule.groups - self.session.probed):
            require_effect(self.session, group)
            self.session.probed.add(group)
        self.session.rows.pop("probe", None)

    def _decode(self, done: Sampled, picture: int) -> Array:
        latent = done.latents[picture][None]
        return from_model(self.session.engine.decode(latent))
