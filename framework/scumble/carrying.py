"""A run's result as the next run's source: its latents are carried over, not inverted again."""

from scumble.errors import OptionError
from scumble.hookspecs import RunView, Trajectory, hookimpl
from scumble.plugins import NoOptions, Plugin
from scumble.requests import SamplingRequest
from scumble.runs import Run

__all__ = ["Carried"]


class Carried(Plugin):
    """Stands in for an inversion: gives the latents that a run's first picture went through.

    Args:
        run: made by the same editor.
        request: of the run to come.
        fingerprint: of the editor's model.

    Raises:
        OptionError: the run was another model's, or of other steps or another size.
    """

    def __init__(self, run: Run, request: SamplingRequest, fingerprint: str) -> None:
        super().__init__(NoOptions())
        before, after = run.recipe["request"], request.model_dump(mode="json")
        for name in ("steps", "size"):
            if before[name] != after[name]:
                raise OptionError(
                    f"the run to go on from has {name} {before[name]} and this one "
                    f"{after[name]}; choose the same, or edit its picture."
                )
        if run.provenance["model_sha256"] != fingerprint:
            raise OptionError("the run to go on from is another model's; edit its picture.")
        self._trajectory = run.path

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the trajectory, pinned."""
        return self._trajectory
