"""Attention maps of a finished run, computed when asked for, from the latents it went through."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from scumble.arrays import Floats, require_finite
from scumble.controls import Branch, Read, Watch
from scumble.errors import PromptError
from scumble.hookspecs import RunView
from scumble.maps import AttentionMap
from scumble.planner import compile_plans
from scumble.plans import Plan
from scumble.sampler import Masks, step_ports
from scumble.schedule import Job
from scumble.session import Session

__all__ = ["RunMaps"]


class RunMaps(Mapping[str, AttentionMap]):
    """Word -> map, averaged over steps, heads and the 16x16 sites of encoder and decoder.

    The steps are those at which the picture was moved: a source that is not wanted may stop early.
    A word is looked up in the first target that has it, else in the source.

    Args:
        session: the model; it must still be open when a map is asked for.
        run: the finished run.
        job: as it was planned.
        plans: the run's plans; maps are those after the edit.
        levels: for each step, picture -> the latent it started from, if it was up to date.
        masks: for each step, those that plugins gave.
    """

    def __init__(
        self,
        session: Session,
        run: RunView,
        job: Job,
        plans: Sequence[Plan],
        levels: Sequence[Mapping[int, Floats]],
        masks: Sequence[Masks],
    ) -> None:
        self._session = session
        self._run = run
        self._job = job
        self._plans = plans
        self._levels = levels
        self._masks = masks
        self._known: dict[tuple[str, int], AttentionMap] = {}

    def __getitem__(self, word: str) -> AttentionMap:
        missing: PromptError | None = None
        for picture in (*range(1, len(self._job.prompts)), 0):
            try:
                return self.of(word, picture)
            except PromptError as error:
                missing = error
        raise missing or PromptError(f"no prompt has the word {word!r}.")

    def __iter__(self) -> Iterator[str]:
        """Yield every word of the run's prompts, once."""
        prompts = (*self._run.targets, self._run.source)
        yield from dict.fromkeys(word.text for prompt in prompts for word in prompt.words)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def of(self, word: str, picture: int) -> AttentionMap:
        """Return the map of a word or phrase in one picture; 0 is the source.

        Raises:
            PromptError: its prompt lacks the word.
        """
        key = (word, picture)
        if key not in self._known:
            side = "target" if picture else "source"
            self._known[key] = AttentionMap(word, self._compute(word, picture), side)
        return self._known[key]

    def _compute(self, word: str, picture: int) -> Floats:
        prompt = self._run.targets[picture - 1] if picture else self._run.source
        weights = np.zeros((1, len(prompt.ids)))
        weights[0, list(prompt.tokens_of(word))] = 1
        sites = self._run.sites
        chosen = sites.select("cross", places=("down", "up"), strides=(sites.map_stride,))
        # A source that nothing asks for any more stops moving, and has no map from there on.
        known = np.array([picture in latents for latents in self._levels])
        asked = Plan((Read("map", Branch(picture), weights, chosen, known),), owner="maps")
        edits = [
            Plan(tuple(c for c in plan.controls if not isinstance(c, Read | Watch)), plan.owner)
            for plan in self._plans
        ]
        # The latents are known, so nothing has to move.
        still = np.ones(self._job.steps, dtype=bool)
        # What was remembered for the run may be forgotten by now.
        never = np.zeros(self._job.steps, dtype=bool)
        job = replace(self._job, wanted=frozenset(), identity=still, replayed=never, record="never")
        sizes = self._session.info.sizes(self._run.latent)
        schedule = compile_plans([*edits, asked], job, sizes)
        total: Floats | None = None
        for step in schedule.steps:
            if not step.reads:
                continue
            latents = self._levels[step.index]
            masks = self._masks[step.index]
            ports = step_ports(self._session, self._run, step, latents, masks)
            output = self._session.step(ports, "maps")
            (slot,) = step.reads
            field = output.reads[slot.stride][slot.row, slot.first]
            total = field if total is None else total + field
        assert total is not None
        require_finite(total, f"the attention map of {word!r}")
        return total / int(known.sum())
