"""Plans in, schedule out: for each step, which rows run and which ports are not neutral.

The planner computes only what the picture depends on. It walks the steps from the last to the
first and keeps what a wanted latent needs; every reduction is exact in real arithmetic:

- a recorded source (direct inversion) needs no noise, so its unconditional row is never run;
- a source row runs only at steps where a control or a read refers to it;
- rows that would compute the same thing are one row: same latent, same text, no control;
- a source row whose state was recorded is replayed instead of run, on engines that can;
- a step that is the identity (t = 0 on offset-0 schedules) runs only what is read there;
- steps before the one that the run starts at are not taken.
"""

from collections.abc import Callable, Iterable, Sequence

from scumble.bindings import Bindings
from scumble.checking import check_control, refers_to
from scumble.conflicts import require_apart
from scumble.controls import (
    Also,
    Branch,
    Control,
    FeatureRoute,
    Guide,
    Mix,
    Read,
    Watch,
    group_of,
)
from scumble.errors import OptionError
from scumble.guided import plan_guide
from scumble.plans import Plan
from scumble.ports import RECORD, Group, PortSizes
from scumble.schedule import SOURCE, Job, Row, Schedule, Step

__all__ = ["compile_plans"]

Supports = Callable[[frozenset[Group]], bool]
REPLAY: frozenset[Group] = frozenset({"replay"})
LOSS: frozenset[Group] = frozenset({"loss"})


def compile_plans(
    plans: Sequence[Plan],
    job: Job,
    sizes: PortSizes,
    *,
    reduce: bool = True,
    supports: Supports = lambda _: True,
    apart: bool = False,
) -> Schedule:
    """Compile plans into a schedule.

    Args:
        plans: in the order the user named the plugins.
        job: the run.
        sizes: the model's axes.
        reduce: False runs every row at every step with every needed port bound: what the
            reductions are tested against.
        supports: whether the engine binds these port groups in one step; where it cannot record
            or replay beside them, the source row runs and nothing is kept.
        apart: True if gradients are another engine's, which needs source state of its own.

    Raises:
        OptionError: two plugins write one port at the same site, step and row; or a control
            refers to a picture, site or step that does not exist.
    """
    controls = [(plan.owner, control) for plan in plans for control in plan.controls]
    for owner, control in controls:
        check_control(owner, control, job, sizes)
    require_apart(plans, sizes.sites)
    needs = frozenset[Group](group for plan in plans for group in plan.needs)
    always = needs - LOSS
    needed = [job.steps if picture in job.wanted else -1 for picture in range(len(job.prompts))]
    steps: list[Step] = []
    for index in reversed(range(job.start, job.steps)):
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
        ahead = job.record == "ahead" and not job.replayed[index] and not job.identity[index]
        branches = _live(moving, active, job.guided or not reduce, {SOURCE} if ahead else set())
        for branch in branches:
            needed[branch.picture] = max(needed[branch.picture], index)
        steps.append(
            _step(index, branches, moving, active, job, sizes, reduce, always, supports, apart)
        )
    return Schedule(tuple(reversed(steps)))


def _active(control: Control, index: int) -> bool:
    if isinstance(control, Mix):
        return control.pair(index) is not None
    return bool(control.steps[index])


def _live(
    moving: set[int], active: Iterable[tuple[str, Control]], guided: bool, told: set[int]
) -> list[Branch]:
    """Return the branches that must run.

    They are those that move a latent, are read, are referred to, or tell their state.
    """
    live = {
        Branch(picture, text)
        for picture in moving
        for text in ((True, False) if guided else (True,))
    }
    live |= {Branch(picture) for picture in told}
    live |= {control.branch for _, control in active if isinstance(control, Read)}
    live |= {control.branch for control in _asked(active, moving)}
    waiting = set(live)
    while waiting:
        found = {
            other
            for _, control in active
            if not isinstance(control, Guide | Watch | Also) and control.branch in waiting
            for other in refers_to(control)
        }
        waiting = found - live
        live |= found
    return sorted(live, key=lambda branch: branch.order)


def _asked(active: Iterable[tuple[str, Control]], moving: set[int]) -> list[Also]:
    """Return the controls that ask for the noise of one more row, of pictures that move."""
    return [c for _, c in active if isinstance(c, Also) and c.branch.picture in moving]


def _step(
    index: int,
    branches: list[Branch],
    moving: set[int],
    active: list[tuple[str, Control]],
    job: Job,
    sizes: PortSizes,
    reduce: bool,
    always: frozenset[Group],
    supports: Supports,
    apart: bool,
) -> Step:
    # Its latent moves, so that every row of the picture is another.
    shown = {branch.picture for branch in branches}
    guides = [
        plan_guide(owner, control, active, job.prompts[control.branch.picture], sizes, index)
        for owner, control in active
        if isinstance(control, Guide)
        and control.branch.picture in shown
        and not job.identity[index]
    ]
    told = bool(guides) and (apart or not job.replayed[index])
    at_hand = job.replayed[index] or (told and not apart)
    edits = [(o, c) for o, c in active if not isinstance(c, Guide | Watch | Also)]
    controlled = {control.branch for _, control in edits if not isinstance(control, Read)}
    live = [(o, c) for o, c in edits if c.branch in branches]
    found: list[Group | None] = [group_of(control) for _, control in live]
    groups = frozenset[Group](group for group in found if group is not None)

    def identity(branch: Branch) -> tuple[object, ...]:
        if not reduce or branch in controlled:
            return (branch,)
        # A guide moves a latent before the step.
        shared = index == job.start and job.shared_start and not guides
        latent = SOURCE if shared else branch.picture
        return (latent, job.text(branch))

    replayed_as = None
    if reduce and at_hand and supports(groups | REPLAY):
        replayed_as = _replayed_as(branches, moving, active, identity)
    rows: list[Row] = []
    place: dict[tuple[object, ...], int] = {}
    for branch in branches:
        key = identity(branch)
        if key in place or key == replayed_as:
            continue
        place[key] = len(rows)
        rows.append(Row(branch.picture, job.text(branch), branch.text is not False))
    if replayed_as is not None:
        place[replayed_as] = len(rows)
    row_of = {branch: place[identity(branch)] for branch in branches}
    bindings = Bindings(sizes, len(rows), replayed_as is not None, row_of, index)
    for owner, control in live:
        bindings.bind(owner, control)
    if not reduce:
        bindings.force(always)
    source = Branch(SOURCE)
    if (
        job.record != "never"
        and not at_hand
        and source in row_of
        and source not in controlled
        and supports(groups | RECORD)
    ):
        bindings.record(row_of[source])
    ports, reads = bindings.ports()
    noise: dict[int, tuple[int | None, int]] = {}
    for picture in sorted(moving):
        unconditional = row_of[Branch(picture, False)] if job.guided else None
        noise[picture] = (unconditional, row_of[Branch(picture)])
    also: dict[str, tuple[int, int]] = {}
    for control in _asked(active, moving):
        if control.name in also:
            raise OptionError(
                f"the noise {control.name!r} is asked for twice at step {index}; name it apart."
            )
        also[control.name] = control.branch.picture, row_of[control.branch]
    return Step(
        index,
        tuple(rows),
        noise,
        ports,
        bindings.groups,
        reads,
        bindings.masks,
        replay=replayed_as is not None,
        record="record" in bindings.groups,
        guides=tuple(guides),
        told=told,
        also=also,
    )


def _replayed_as(
    branches: list[Branch],
    moving: set[int],
    active: list[tuple[str, Control]],
    identity: Callable[[Branch], tuple[object, ...]],
) -> tuple[object, ...] | None:
    """Return what the recorded source row stands for, or None where it has to run.

    A replayed row has hidden states at attention sites only: no noise and no resnet features. They
    were recorded with no control on the source. A batch needs a row that is not replayed.
    """
    source = Branch(SOURCE)
    edits = [c for _, c in active if not isinstance(c, Read | Guide | Watch | Also)]
    if source not in branches or any(control.branch == source for control in edits):
        return None
    key = identity(source)
    gives_noise = any(b.picture in moving and identity(b) == key for b in branches)
    gives_features = any(
        isinstance(c, FeatureRoute) and c.branch in branches and identity(c.source) == key
        for c in edits
    )
    alone = all(identity(branch) == key for branch in branches)
    return None if gives_noise or gives_features or alone else key
