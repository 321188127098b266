"""What is tested, and the run it is tested in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from scumble.errors import OptionError, PluginError
from scumble.hookspecs import RunView, StepView, hookimpl
from scumble.plugins import NoOptions, Plugin, Trial
from scumble.testing.fake_engine import FakeEngine
from scumble.testing.fake_model import fake_session
from scumble.testing.subject import Subject, blocks, difference

Install = Callable[..., Path]


class Looks(Plugin):
    """Notes what it is shown."""

    trial = Trial(
        source="a small cat", target="a big cat", steps=3, masks=("", "other"),
    )  # fmt: skip
    seen: RunView

    def takes_mask(self, name: str) -> bool:
        return True

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> None:
        type(self).seen = run


class Halves(Plugin):
    """Makes a mask."""

    @hookimpl
    def scumble_mask(self, run: RunView) -> Mapping[str, Any]:
        mask = np.zeros(run.latent)
        mask[:, :3] = 1
        return {"": mask}


def test_the_trial_is_the_run():
    Subject.of(Looks).run({})
    run = Looks.seen
    assert (run.source.text, run.targets[0].text, run.steps) == ("a small cat", "a big cat", 3)
    assert run.image is not None
    assert run.mask is not None
    assert (run.mask[:, :4].all(), run.mask[:, 4:].any()) == (True, False)
    np.testing.assert_array_equal(run.masks["other"], run.mask)


def test_a_source_can_be_generated():
    class Bare(Looks):
        trial = Trial(picture=False)

    done = Subject.of(Bare).run({})
    assert Bare.seen.image is None
    assert set(done.pixels) == {0, 1}


def test_without_the_plugin():
    subject = Subject.of(Looks)
    assert difference(subject.run({}), subject.run(None)) == 0
    edited = Subject.of("prompt_to_prompt")
    assert difference(edited.run({}), edited.run(None)) > 1e-3
    assert difference(edited.run({}), edited.run({}, seed=1)) == 0, "a picture has its own noise"


@pytest.mark.parametrize(
    ("name", "edits", "inverts"),
    [("prompt_to_prompt", True, False), ("direct", False, True), ("sdedit", True, False)],
)
def test_what_a_plugin_does(name: str, edits: bool, inverts: bool):
    subject = Subject.of(name)
    assert (subject.installed, subject.edits, subject.inverts) == (True, edits, inverts)


def test_an_inversion_inverts():
    done = Subject.of("ddim").run({})
    assert done.trajectory is not None
    assert not done.trajectory.pinned
    assert done.rows["inversion"] == 4


def test_a_plugin_that_makes_masks_is_seen_by_what_they_keep():
    subject = Subject.of(Halves)
    assert (subject.edits, subject.inverts) == (False, False)
    done = subject.run({})
    np.testing.assert_array_equal(done.latents[1][:, :, 3:], done.latents[0][:, :, 3:])
    assert difference(done, subject.run(None)) > 0


def test_a_model_of_another_engine(tmp_path: Path):
    class Other(FakeEngine):
        """Counts."""

        steps = 0

        def _step(self, ports: Mapping[str, object]) -> Any:
            type(self).steps += 1
            return super()._step(ports)

    session = fake_session(tmp_path, Other)
    Subject.of(Looks).run({}, session=session)
    assert Other.steps


def test_an_installed_one_runs_under_its_own_name(install: Install):
    source = (
        "from scumble import Plugin, hookimpl\n"
        "class Edit(Plugin):\n"
        "    @hookimpl\n"
        "    def scumble_invert(self, run):\n"
        "        return 1 / 0\n"
    )
    install(
        "odd-package", {"scumble.plugins": {"odd": "odd_subject:Edit"}}, {"odd_subject": source}
    )
    with pytest.raises(PluginError, match=r"'odd' of odd-package 1\.0 raised ZeroDivisionError"):
        Subject.of("odd").run({})


def test_what_is_no_plugin():
    class Odd(Plugin):
        @hookimpl
        def scumble_nothing(self) -> None: ...

    class Tried(Looks):
        trial: Any = None

    with pytest.raises(OptionError, match="no plugin 'nope'"):
        Subject.of("nope")
    with pytest.raises(PluginError, match="'Odd' of this program implements scumble_nothing"):
        Subject.of(Odd)
    with pytest.raises(PluginError, match=r"'Tried' of this program has a trial that is no"):
        Subject.of(Tried)


def test_options_are_checked():
    with pytest.raises(OptionError, match="plugin 'Looks' has no option 'x'"):
        Subject.of(Looks).made({"x": 1})
    assert Subject.of(Looks).made({}).options == NoOptions()


def test_the_state_of_a_class_is_what_can_change():
    class Keeps(Looks):
        found: ClassVar[list[int]] = [1]

    subject = Subject.of(Keeps)
    before = subject.state()
    assert before["found"] == "[1]"
    Keeps.found.append(2)
    assert subject.state() != before


def test_no_two_blocks_are_alike():
    picture = blocks(7)
    assert picture.shape == (64, 64, 3)
    assert len({tuple(cell) for cell in picture[::8, ::8].reshape(-1, 3)}) == 64
    np.testing.assert_array_equal(picture, blocks(7))
