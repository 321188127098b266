"""What the planner takes and what it makes: a job, and a schedule of steps with rows and ports."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from scumble.arrays import Array, Bools
from scumble.bindings import MaskSlot, ReadSlot
from scumble.controls import Branch
from scumble.errors import OptionError
from scumble.guided import GuideStep
from scumble.ports import Group

__all__ = ["SOURCE", "Job", "Row", "Schedule", "Step"]

SOURCE = 0
"""The picture every target starts from."""


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What the planner must know of a run.

    Attributes:
        steps: sampling steps.
        prompts: the text of each picture, the source's first.
        unconditional: the text of the unconditional rows; None where the inversion embedded it.
        wanted: pictures whose final latent is asked for.
        guided: False at guidance 1, where unconditional rows cancel.
        recorded: True if the source's latent is known at every level.
        shared_start: True if all pictures start from the same latent.
        identity: (steps,) bool, steps that leave a latent as it is.
        replayed: (steps,) bool, steps at which the source row's recorded state is at hand.
        record: whether the source row's state is given out for later runs: never, where the row
            runs anyway, or ahead, at every step for that alone; not where it is at hand.
        start: the first step that is taken; the schedule has no step before it.
    """

    steps: int
    prompts: tuple[str, ...]
    unconditional: str | None
    wanted: frozenset[int]
    guided: bool
    recorded: bool
    shared_start: bool
    identity: Bools
    replayed: Bools
    record: Literal["never", "live", "ahead"] = "never"
    start: int = 0

    def text(self, branch: Branch) -> str | None:
        """Return the prompt that a branch sees, or None where it sees what was embedded."""
        if isinstance(branch.text, str):
            return branch.text
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
        text: the prompt it sees; None for what the inversion embedded for the step.
        conditional: False for an unconditional row.
    """

    picture: int
    text: str | None
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
        masks: where masks go that a `before_step` hook gives.
        replay: True if row index len(rows) addresses the recorded source row.
        record: True if the source row's state is given out, for later runs.
        guides: gradients that come before the rows run.
        also: name of an `Also` control -> (picture, row) of the noise that it asked for.
        told: True if the source row runs by itself before the guides, to give out its state.
    """

    index: int
    rows: tuple[Row, ...]
    noise: dict[int, tuple[int | None, int]] = field(
        default_factory=dict[int, tuple[int | None, int]]
    )
    ports: dict[str, Array] = field(default_factory=dict[str, Array])
    groups: frozenset[Group] = frozenset()
    reads: tuple[ReadSlot, ...] = ()
    masks: tuple[MaskSlot, ...] = ()
    replay: bool = False
    record: bool = False
    guides: tuple[GuideStep, ...] = ()
    told: bool = False
    also: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])

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
