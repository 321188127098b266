"""What a plan asks, checked before the first step: against the run, the model and the engine."""

from collections.abc import Sequence

from scumble.arrays import Array, require_finite
from scumble.controls import (
    Also,
    Branch,
    Control,
    FeatureRoute,
    Guide,
    Join,
    Mix,
    Read,
    Region,
    Route,
    Watch,
)
from scumble.engine import GUIDED, engines_with
from scumble.errors import OptionError, UnsupportedError
from scumble.plans import Plan
from scumble.ports import PortSizes
from scumble.schedule import SOURCE, Job, Schedule
from scumble.session import Session
from scumble.sites import Kind

__all__ = ["check_control", "refers_to", "require_engine"]


def refers_to(control: Control) -> tuple[Branch, ...]:
    """Return the branches that a control takes something from."""
    match control:
        case Route():
            parts = (control.query, control.key, control.value)
            return tuple(branch for branch in parts if branch is not None)
        case Mix() | FeatureRoute():
            return (control.source,)
        case Join():
            return (control.other,)
        case Read() | Region() | Guide() | Watch() | Also():
            return ()


def check_control(owner: str, control: Control, job: Job, sizes: PortSizes) -> None:
    """Refuse a control that does not fit the run or the model.

    Raises:
        OptionError: a picture, site or step that does not exist, or an array of another size.
    """
    steps = control.at if isinstance(control, Mix) else control.steps
    what = f"{owner or 'a plan'}: {type(control).__name__}"
    if steps.shape != (job.steps,):
        raise OptionError(f"{what} covers {steps.shape} steps, the run has {job.steps}.")
    named = [Branch(control.picture)] if isinstance(control, Watch) else [control.branch]
    for branch in (*named, *refers_to(control)):
        if not 0 <= branch.picture < len(job.prompts):
            raise OptionError(f"{what} names picture {branch.picture} of {len(job.prompts)}.")
    if isinstance(control, Watch | Also):
        return
    if isinstance(control, Guide) and (
        control.branch.picture == SOURCE or control.branch.text is not True
    ):
        raise OptionError(f"{what} moves a row that is no target's with text; name one that is.")
    _check_arrays(what, control, sizes)
    kind = _site_kind(control)
    count = sizes.sites.count(kind)
    if not control.sites or min(control.sites) < 0 or max(control.sites) >= count:
        raise OptionError(f"{what} names {kind} sites {control.sites}; there are 0 to {count - 1}.")


def require_engine(session: Session, plans: Sequence[Plan], schedule: Schedule) -> None:
    """Refuse an engine that cannot bind what some step needs, naming those that could.

    Raises:
        UnsupportedError: also where a guide has no engine with gradients.
    """
    engine = session.engine
    guiding = session.gradients.engine
    guided = [plan for plan in plans if "loss" in plan.needs]
    if guided and not guiding.supports(GUIDED):
        others = ", ".join(engines_with(GUIDED)) or "none that is installed"
        raise UnsupportedError(
            f"{guided[0].owner} needs gradients, which engine {guiding.name!r} does not have "
            f"for this model; load it with gradient_engine, one of: {others}."
        )
    short = next((s for s in schedule.steps if not engine.supports(s.groups)), None)
    if short is None:
        return
    owners = ", ".join(plan.owner for plan in plans if plan.needs & short.groups)
    others = ", ".join(engines_with(short.groups)) or "none that is installed"
    raise UnsupportedError(
        f"{owners or 'this run'} needs {', '.join(sorted(short.groups))} in one step, which "
        f"engine {engine.name!r} does not have for this model; engines that could: {others}."
    )


def _check_arrays(what: str, control: Control, sizes: PortSizes) -> None:
    """Refuse arrays of another size than the model's, and numbers that are none."""
    tokens, grid = sizes.tokens, sizes.latent[1:]
    wanted: dict[str, tuple[Array, tuple[int, ...]]] = {}
    match control:
        case Mix():
            wanted["matrices"] = (control.matrices, (len(control.matrices), tokens, tokens))
        case Read():
            wanted["weights"] = (control.weights, (len(control.weights), tokens))
        case Region():
            masks = {"query": control.query, "key": control.key}
            wanted |= {n: (mask, grid) for n, mask in masks.items() if not isinstance(mask, str)}
        case Guide():
            wanted |= {"rate": (control.rate, control.steps.shape)}
            wanted |= {"within": (control.within, grid)}
            if control.stop is not None:
                wanted["stop"] = (control.stop, control.steps.shape)
            for number, term in enumerate(control.terms):
                wanted[f"words of term {number}"] = (term.words, (tokens,))
                if term.rest is not None:
                    wanted[f"rest of term {number}"] = (term.rest, (tokens,))
                wanted[f"mask of term {number}"] = (term.mask, grid)
        case _:
            return
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise OptionError(f"{what}: {name} has shape {array.shape}, this model needs {shape}.")
        require_finite(array, f"{what}: {name}")
    if isinstance(control, Mix):
        require_finite(control.own, f"{what}: own")


def _site_kind(control: Route | Mix | Read | FeatureRoute | Region | Join | Guide) -> Kind:
    match control:
        case Route() | Region() | Join():
            return "self"
        case Mix() | Read() | Guide():
            return "cross"
        case FeatureRoute():
            return "resnet"
