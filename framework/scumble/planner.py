"""Plans in, schedule out: for each step, which rows run and which ports are not neutral.

The planner computes only what the picture depends on. It walks the steps from the last to the
first and keeps what a wanted latent needs; every reduction is exact in real arithmetic:

- a recorded source (direct inversion) needs no noise, so its unconditional row is never run;
- a source row runs only at steps where a control or a read refers to it;
- rows that would compute the same thing are one row: same latent, same text, no control;
- a source row whose state was recorded is replayed instead of run;
- a step that is the identity (t = 0 on offset-0 schedules) runs only what is read there.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from scumble.arrays import Array, Bools
from scumble.bindings import Bindings, ReadSlot
from scumble.errors import OptionError
from scumble.plans import Branch, Control, FeatureRoute, Mix, Plan, Read, Region, Route, Watch
from scumble.ports import Group, PortSizes
from scumble.sites import Kind

__all__ = ["Job", "ReadSlot", "Row", "Schedule", "Step", "compile_plans"]

SOURCE = 0


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What the planner must know of a run.

    Attributes:
        steps: sampling steps.
        prompts: the text of each picture, the source's first.
        unconditional: the text of the unconditional rows.
        wanted: pictures whose final latent is asked for.
        guided: False at guidance 1, where unconditional rows cancel.
        recorded: True if the source's latent is known at every level.
        shared_start: True if all pictures start from the same latent.
        identity: (steps,) bool, steps that leave a latent as it is.
        replayed: (steps,) bool, steps at which the source row's recorded state is at hand.
    """

    steps: int
    prompts: tuple[str, ...]
    unconditional: str
    wanted: frozenset[int]
    guided: bool
    recorded: bool
    shared_start: bool
    identity: Bools
    replayed: Bools

    def text(self, branch: Branch) -> str:
        """Return the prompt that a branch sees."""
        return self.prompts[branch.picture] if branch.text else self.unconditional

    def __post_init__(self) -> None:
        for name in ("identity", "replayed"):
            if getattr(self, name).shape != (self.steps,):
                raise OptionError(f"a job of {self.steps} steps needs {name} of that length.")


@dataclass(frozen=True, slots=True)
class Row:
    """One batch entry of a step.

    Attributes:
        picture: whose latent it takes.
        text: the prompt it sees.
        conditional: False for an unconditional row.
    """

    picture: int
    text: str
    conditional: bool


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One UNet call, or none.

    Attributes:
        index: 0-based, 0 is the noisiest.
        rows: the batch; empty if nothing runs.
        noise: for each picture that moves, its (unconditional row or None, conditional row).
        ports: non-neutral control ports.
        groups: the port groups bound.
        reads: where the named reads are found.
        replay: True if row index len(rows) addresses the recorded source row.
    """

    index: int
    rows: tuple[Row, ...]
    noise: dict[int, tuple[int | None, int]] = field(
        default_factory=dict[int, tuple[int | None, int]]
    )
    ports: dict[str, Array] = field(default_factory=dict[str, Array])
    groups: frozenset[Group] = frozenset()
    reads: tuple[ReadSlot, ...] = ()
    replay: bool = False

    @property
    def variant(self) -> str:
        """The groups bound, as a name: `plain`, `mix+route`, ..."""
        return "+".join(sorted(self.groups)) or "plain"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Every step of a run, compiled."""

    steps: tuple[Step, ...]

    @property
    def row_count(self) -> int:
        """Row evaluations of the whole run."""
        return sum(len(step.rows) for step in self.steps)

    @property
    def rows_by_variant(self) -> dict[str, int]:
        """Row evaluations by the variant that runs them."""
        counted: Counter[str] = Counter()
        for step in self.steps:
            if step.rows:
                counted[step.variant] += len(step.rows)
        return dict(counted)

    @property
    def groups(self) -> frozenset[Group]:
        """Every port group that some step binds."""
        return frozenset(group for step in self.steps for group in step.groups)


def compile_plans(
    plans: Sequence[Plan], job: Job, sizes: PortSizes, *, reduce: bool = True
) -> Schedule:
    """Compile plans into a schedule.

    Args:
        plans: in the order the user named the plugins.
        job: the run.
        sizes: the model's axes.
        reduce: False runs every row at every step with every needed port bound: what the
            reductions are tested against.

    Raises:
        OptionError: two plugins write one port at the same site, step and row; or a control
            refers to a picture, site or step that does not exist.
    """
    controls = [(plan.owner, control) for plan in plans for control in plan.controls]
    for owner, control in controls:
        _check(owner, control, job, sizes)
    always: frozenset[Group] = frozenset(group for plan in plans for group in plan.needs)
    needed = [job.steps if picture in job.wanted else -1 for picture in range(len(job.prompts))]
    steps: list[Step] = []
    for index in reversed(range(job.steps)):
        active = [(owner, control) for owner, control in controls if _active(control, index)]
        for _, control in active:
            if isinstance(control, Watch):
                needed[control.picture] = max(needed[control.picture], index + 1)
        moving = {
            picture
            for picture, level in enumerate(needed)
            if level > index
            and not job.identity[index]
            and not (picture == SOURCE and job.recorded)
        }
        if not reduce:
            moving = set(range(len(job.prompts)))
        branches = _live(moving, active, job.guided or not reduce)
        for branch in branches:
            needed[branch.picture] = max(needed[branch.picture], index)
        steps.append(_step(index, branches, moving, active, job, sizes, reduce, always))
    return Schedule(tuple(reversed(steps)))


def _active(control: Control, index: int) -> bool:
    if isinstance(control, Mix):
        return control.pair(index) is not None
    return bool(control.steps[index])


def _refers_to(control: Control) -> tuple[Branch, ...]:
    match control:
        case Route():
            parts = (control.query, control.key, control.value)
            return tuple(branch for branch in parts if branch is not None)
        case Mix() | FeatureRoute():
            return (control.source,)
        case Read() | Region() | Watch():
            return ()


def _live(moving: set[int], active: Iterable[tuple[str, Control]], guided: bool) -> list[Branch]:
    """Return the branches that must run: those that move a latent, are read, or are referred to."""
    live = {
        Branch(picture, text)
        for picture in moving
        for text in ((True, False) if guided else (True,))
    }
    live |= {control.branch for _, control in active if isinstance(control, Read)}
    waiting = set(live)
    while waiting:
        found = {
            other
            for _, control in active
            if not isinstance(control, Watch) and control.branch in waiting
            for other in _refers_to(control)
        }
        waiting = found - live
        live |= found
    return sorted(live)


def _step(
    index: int,
    branches: list[Branch],
    moving: set[int],
    active: list[tuple[str, Control]],
    job: Job,
    sizes: PortSizes,
    reduce: bool,
    always: frozenset[Group],
) -> Step:
    controlled = {control.branch for _, control in active if not isinstance(control, Watch | Read)}

    def identity(branch: Branch) -> tuple[object, ...]:
        if not reduce or branch in controlled:
            return (branch,)
        latent = SOURCE if index == 0 and job.shared_start else branch.picture
        return (latent, job.text(branch))

    replayed_as = (
        _replayed_as(branches, moving, active, identity)
        if (reduce and job.replayed[index])
        else None
    )
    rows: list[Row] = []
    place: dict[tuple[object, ...], int] = {}
    for branch in branches:
        key = identity(branch)
        if key in place or key == replayed_as:
            continue
        place[key] = len(rows)
        rows.append(Row(branch.picture, job.text(branch), branch.text))
    if replayed_as is not None:
        place[replayed_as] = len(rows)
    row_of = {branch: place[identity(branch)] for branch in branches}
    bindings = Bindings(sizes, len(rows), replayed_as is not None, row_of, index)
    for owner, control in active:
        if not isinstance(control, Watch) and control.branch in row_of:
            bindings.bind(owner, control)
    if not reduce:
        bindings.force(always)
    ports, reads = bindings.ports()
    noise: dict[int, tuple[int | None, int]] = {}
    for picture in sorted(moving):
        unconditional = row_of[Branch(picture, False)] if job.guided else None
        noise[picture] = (unconditional, row_of[Branch(picture)])
    return Step(index, tuple(rows), noise, ports, bindings.groups, reads, replayed_as is not None)


def _replayed_as(
    branches: list[Branch],
    moving: set[int],
    active: list[tuple[str, Control]],
    identity: Callable[[Branch], tuple[object, ...]],
) -> tuple[object, ...] | None:
    """Return what the recorded source row stands for, or None where it has to run.

    A replayed row has hidden states at attention sites only: no noise and no resnet features.
    """
    source = Branch(SOURCE)
    if source not in branches:
        return None
    key = identity(source)
    gives_noise = any(b.picture in moving and identity(b) == key for b in branches)
    gives_features = any(isinstance(c, FeatureRoute) and c.source == source for _, c in active)
    return None if gives_noise or gives_features else key


def _check(owner: str, control: Control, job: Job, sizes: PortSizes) -> None:
    steps = control.at if isinstance(control, Mix) else control.steps
    what = f"{owner or 'a plan'}: {type(control).__name__}"
    if steps.shape != (job.steps,):
        raise OptionError(f"{what} covers {steps.shape} steps, the run has {job.steps}.")
    named = [Branch(control.picture)] if isinstance(control, Watch) else [control.branch]
    for branch in (*named, *_refers_to(control)):
        if not 0 <= branch.picture < len(job.prompts):
            raise OptionError(f"{what} names picture {branch.picture} of {len(job.prompts)}.")
    if isinstance(control, Watch):
        return
    kind = _site_kind(control)
    count = sizes.sites.count(kind)
    if not control.sites or min(control.sites) < 0 or max(control.sites) >= count:
        raise OptionError(f"{what} names {kind} sites {control.sites}; there are 0 to {count - 1}.")


def _site_kind(control: Route | Mix | Read | FeatureRoute | Region) -> Kind:
    match control:
        case Route() | Region():
            return "self"
        case Mix() | Read():
            return "cross"
        case FeatureRoute():
            return "resnet"
