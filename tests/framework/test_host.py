"""The typed door: order, contracts, and what a stranger's plugin cannot do."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from scumble.errors import NumericalError, OptionError, PluginError
from scumble.hookspecs import (
    BeforeView,
    GuidedNoise,
    RunView,
    StepView,
    Trajectory,
    hookimpl,
)
from scumble.host import Host
from scumble.plans import Plan
from scumble.plugins import NoOptions, Plugin
from scumble.schedulers import DDIM
from scumble.session import Session

STEP = StepView(2, {0: np.zeros((4, 2, 2)), 1: np.ones((4, 2, 2), np.float32)})
BEFORE = BeforeView(2, 501, STEP.latents, {"r": np.zeros((1, 2, 2))})
NOISE = GuidedNoise(
    1,
    np.full((4, 2, 2), 1, np.float32),
    np.full((4, 2, 2), 2, np.float32),
    np.full((4, 2, 2), 3, np.float32),
)
Answer = Any


@pytest.fixture
def run(session: Session) -> RunView:
    encode = session.tokenizer.encode
    return RunView(
        2, 7.5, encode("a cat"), (encode("a dog"),), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, 2), 0, np.zeros((4, 8, 8)), None, {}, session.predict,
        session.look, session.tokenizer.encode,
    )  # fmt: skip


class Says(Plugin):
    """Answers each hook with one thing, or by calling it."""

    def __init__(self, answer: Answer = None) -> None:
        super().__init__(NoOptions())
        self.answer = answer
        self.seen: list[Any] = []

    def _reply(self, *told: Any) -> Any:
        self.seen.append(told)
        return self.answer(*told) if callable(self.answer) else self.answer

    @hookimpl
    def scumble_plan(self, run: RunView) -> Answer:
        return self._reply(run)

    @hookimpl
    def scumble_initial_noise(self, run: RunView, noise: Any) -> Answer:
        return self._reply(run, noise)

    @hookimpl
    def scumble_before_step(self, run: RunView, step: BeforeView) -> Answer:
        return self._reply(run, step)

    @hookimpl
    def scumble_guidance(self, run: RunView, step: BeforeView, noise: GuidedNoise) -> Answer:
        return self._reply(run, step, noise)

    @hookimpl
    def scumble_after_step(self, run: RunView, step: StepView) -> Answer:
        return self._reply(run, step)

    @hookimpl
    def scumble_invert(self, run: RunView) -> Answer:
        return self._reply(run)


def every_hook(host: Host, run: RunView) -> Iterator[Any]:
    yield lambda: host.plan(run)
    yield lambda: host.initial_noise(run, STEP.latents)
    yield lambda: host.before_step(run, BEFORE)
    yield lambda: host.guidance(run, BEFORE, NOISE)
    yield lambda: host.after_step(run, STEP)
    yield lambda: host.invert(run)


class TestOrder:
    def test_plans_come_in_the_order_of_the_user_with_their_owners(self, run: RunView):
        host = Host.of(first=Says(Plan()), second=Says(None), third=Says(Plan((), "false name")))
        assert [plan.owner for plan in host.plan(run)] == ["first", "third"]
        assert host.origins == dict.fromkeys(["first", "second", "third"], "this program")

    def test_each_step_hook_sees_what_the_one_before_returned(self, run: RunView):
        doubled = Says(lambda run, step: {1: step.latents[1] * 2})
        increased = Says(lambda run, step: {1: step.latents[1] + 1})
        latents = Host.of(a=doubled, b=increased).after_step(run, STEP)
        assert (latents[1] == 3).all()
        assert (Host.of(a=increased, b=doubled).after_step(run, STEP)[1] == 4).all()
        assert (latents[0] == 0).all()
        assert (STEP.latents[1] == 1).all()

    def test_a_hook_asks_for_the_arguments_it_wants(self, run: RunView):
        class Brief(Plugin):
            @hookimpl
            def scumble_after_step(self, step: StepView) -> dict[int, Any]:
                return {0: step.latents[0] + step.index}

        assert (Host.of(brief=Brief(NoOptions())).after_step(run, STEP)[0] == 2).all()

    def test_the_first_that_inverts_does(self, run: RunView):
        trajectory = Trajectory(np.zeros((3, 4, 8, 8)), pinned=True)
        late = Says(trajectory)
        assert Host.of(a=Says(trajectory), b=late).invert(run) is trajectory
        assert late.seen == []

    def test_it_can_be_traced(
        self, run: RunView, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ):
        Host.of(mine=Says()).plan(run)
        assert capsys.readouterr().err == ""
        monkeypatch.setenv("SCUMBLE_TRACE", "1")
        Host.of(mine=Says()).plan(run)
        assert capsys.readouterr().err == "scumble: scumble_plan -> mine\n"


class TestInitialNoise:
    def test_each_plugin_sees_what_the_one_before_returned(self, run: RunView):
        doubled = Says(lambda run, noise: {1: noise[1] * 2})
        increased = Says(lambda run, noise: {1: noise[1] + 1, 0: noise[0] - 1})
        silent = Says()
        latents = Host.of(a=doubled, b=silent, c=increased).initial_noise(run, STEP.latents)
        assert ((latents[1] == 3).all(), (latents[0] == -1).all()) == (True, True)
        assert latents[1].dtype == np.float32
        assert (silent.seen[0][1][1] == 2).all()
        assert (STEP.latents[1] == 1).all()

    def test_without_plugins_it_is_as_it_was(self, run: RunView):
        latents = Host(()).initial_noise(run, STEP.latents)
        assert all(latents[picture] is STEP.latents[picture] for picture in (0, 1))

    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (np.zeros((4, 2, 2)), PluginError, "gave no mapping"),
            ({2: np.zeros((4, 2, 2))}, PluginError, "gave picture 2"),
            ({1: np.zeros((4, 8, 8))}, PluginError, r"gave picture 1 of shape \(4, 8, 8\)"),
            ({1: np.full((4, 2, 2), np.nan)}, NumericalError, "16 values"),
        ],
    )
    def test_what_is_no_noise(self, run: RunView, answer: Answer, error: Any, message: str):
        with pytest.raises(error, match=f"'odd'.* scumble_initial_noise.*{message}"):
            Host.of(odd=Says(answer)).initial_noise(run, STEP.latents)


class TestBeforeStep:
    def test_masks_are_kept_apart_by_plugin(self, run: RunView):
        ones = np.ones((8, 8))
        masks = Host.of(
            a=Says({"m": ones}), b=Says(None), c=Says({"m": 1 - ones, "n": ones > 0})
        ).before_step(run, BEFORE)
        assert {name: set(given) for name, given in masks.items()} == {"a": {"m"}, "c": {"m", "n"}}
        assert (masks["a"]["m"].all(), masks["c"]["m"].any()) == (True, False)
        assert {mask.dtype for given in masks.values() for mask in given.values()} == {
            np.dtype(np.float32)
        }
        ones[...] = 0
        assert masks["a"]["m"].all()

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (np.ones((8, 8)), "no mapping of name to mask at step 2"),
            ({"m": np.ones((4, 4))}, r"a mask 'm' of shape \(4, 4\) at step 2"),
            ({"m": np.full((8, 8), 0.5)}, "a mask 'm' of shape"),
            ({"m": np.full((8, 8), np.nan)}, "a mask 'm' of shape"),
            ({"m": None}, r"a mask 'm' of shape \(\)"),
        ],
    )
    def test_what_is_no_mask(self, run: RunView, answer: Answer, message: str):
        with pytest.raises(PluginError, match=f"'odd' .* scumble_before_step returned {message}"):
            Host.of(odd=Says(answer)).before_step(run, BEFORE)


class Makes(Plugin):
    """Makes masks, and nothing else."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(NoOptions())
        self.answer = answer

    @hookimpl
    def scumble_mask(self, run: RunView) -> Answer:
        return self.answer


class TestMask:
    def test_the_first_plugin_has_a_name(self, run: RunView):
        ones = np.ones(run.latent)
        host = Host.of(a=Makes({"": ones}), b=Makes(None), c=Makes({"": 0 * ones, "sky": ones > 0}))
        masks = host.mask(run)
        assert set(masks) == {"", "sky"}
        assert masks[""].all()
        assert masks["sky"].dtype == np.float32
        assert host.masks

    def test_the_host_knows_whether_there_is_one(self, run: RunView):
        assert not Host.of(says=Says()).masks
        assert Host.of(says=Says()).mask(run) == {}
        assert Host.of(says=Says()).inverts
        assert not Host.of(makes=Makes(None)).inverts

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (np.ones((8, 8)), "no mapping of name to mask"),
            ({"m": np.ones((4, 4))}, r"a mask 'm' of shape \(4, 4\)"),
            ({"": np.full((8, 8), 0.5)}, "a mask '' of shape"),
        ],
    )
    def test_what_is_no_mask(self, run: RunView, answer: Answer, message: str):
        with pytest.raises(PluginError, match=f"'odd' .* scumble_mask returned {message}"):
            Host.of(odd=Makes(answer)).mask(run)


class TestGuidance:
    def test_each_plugin_sees_what_the_one_before_returned(self, run: RunView):
        doubled = Says(lambda run, step, noise: noise.guided * 2)
        increased = Says(lambda run, step, noise: noise.guided + noise.conditional)
        silent = Says()
        host = Host.of(a=doubled, b=silent, c=increased)
        assert (host.guidance(run, BEFORE, NOISE) == 3 * 2 + 2).all()
        told = silent.seen[0][2]
        assert told.picture == 1
        assert ((told.unconditional == 1).all(), (told.conditional == 2).all()) == (True, True)
        assert (NOISE.guided == 3).all()

    def test_the_host_knows_whether_to_ask(self, run: RunView):
        class Brief(Plugin):
            @hookimpl
            def scumble_plan(self) -> None:
                return None

        assert not Host.of(brief=Brief(NoOptions())).guides
        assert Host.of(brief=Brief(NoOptions()), says=Says()).guides
        assert Host.of(brief=Brief(NoOptions())).guidance(run, BEFORE, NOISE) is NOISE.guided

    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (np.zeros((4, 8, 8)), PluginError, "gave picture 1 of shape"),
            (0.5, PluginError, "gave picture 1 of shape"),
            (np.full((4, 2, 2), np.inf), NumericalError, "16 values"),
        ],
    )
    def test_what_is_no_noise(self, run: RunView, answer: Answer, error: Any, message: str):
        with pytest.raises(error, match=f"'odd'.* scumble_guidance at step 2.*{message}"):
            Host.of(odd=Says(answer)).guidance(run, BEFORE, NOISE)


class TestContract:
    @pytest.mark.parametrize("answer", [3, "plan", [Plan()], (x for x in ())])
    def test_a_plan_is_a_plan(self, run: RunView, answer: Answer):
        with pytest.raises(PluginError, match="'odd' of this program: scumble_plan returned no"):
            Host.of(odd=Says(answer)).plan(run)

    @pytest.mark.parametrize("answer", [None, 3, np.zeros((3, 4, 8, 8))])
    def test_a_trajectory_is_a_trajectory(self, run: RunView, answer: Answer):
        with pytest.raises(PluginError, match="'odd' of this program: scumble_invert returned no"):
            Host.of(odd=Says(answer)).invert(run)

    @pytest.mark.parametrize(
        "shape", [(2, 4, 8, 8), (3, 4, 8, 4), (3, 1, 8, 8), (3, 4, 64), (), (3,)]
    )
    def test_a_trajectory_has_a_level_more_than_steps(self, run: RunView, shape: tuple[int, ...]):
        with pytest.raises(PluginError, match=r"3 levels of \(4, 8, 8\)"):
            Host.of(odd=Says(Trajectory(np.zeros(shape), pinned=True))).invert(run)

    def test_a_trajectory_is_finite(self, run: RunView):
        bad = Trajectory(np.full((3, 4, 8, 8), np.nan), pinned=True)
        with pytest.raises(NumericalError, match="trajectory of plugin 'odd'"):
            Host.of(odd=Says(bad)).invert(run)

    def test_somebody_must_invert(self, run: RunView):
        with pytest.raises(PluginError, match="none of no plugins can invert"):
            Host(()).invert(run)
        with pytest.raises(PluginError, match="none of prompt_to_prompt can invert"):
            Host([("prompt_to_prompt", {})]).invert(run)

    @pytest.mark.parametrize("answer", [3, [np.zeros((4, 2, 2))], (x for x in ()), "latents"])
    def test_latents_are_a_mapping(self, run: RunView, answer: Answer):
        message = "'odd' of this program: scumble_after_step at step 2 gave no mapping"
        with pytest.raises(PluginError, match=message):
            Host.of(odd=Says(answer)).after_step(run, STEP)

    @pytest.mark.parametrize(
        "answer", [{0: np.zeros((4, 2, 3))}, {7: np.zeros((4, 2, 2))}, {1: 0.0}, {0: None}]
    )
    def test_latents_keep_picture_and_shape(self, run: RunView, answer: Answer):
        with pytest.raises(PluginError, match=r"'odd' of this program: .* at step 2"):
            Host.of(odd=Says(answer)).after_step(run, STEP)

    def test_latents_stay_finite(self, run: RunView):
        with pytest.raises(
            NumericalError,
            match="what plugin 'odd' of this program gave in scumble_after_step at step 2",
        ):
            Host.of(odd=Says({0: np.full((4, 2, 2), np.inf)})).after_step(run, STEP)

    def test_latents_keep_their_dtype_and_are_copies(self, run: RunView):
        given = np.full((4, 2, 2), 0.5)
        latents = Host.of(mine=Says({1: given})).after_step(run, STEP)
        assert latents[1].dtype == np.float32
        given[...] = 9
        assert (latents[1] == 0.5).all()


class TestStrangers:
    @pytest.mark.parametrize(
        ("error", "cause"),
        [(KeyError("x"), "KeyError"), (SystemExit(2), "SystemExit"), (RecursionError(), "Recur")],
    )
    def test_what_is_raised_in_a_hook_is_the_plugins_own(
        self, run: RunView, error: BaseException, cause: str
    ):
        def fail(*_: Any) -> None:
            raise error

        for call in every_hook(Host.of(odd=Says(fail)), run):
            with pytest.raises(
                PluginError, match=f"'odd' of this program raised {cause}"
            ) as caught:
                call()
            assert caught.value.__cause__ is error

    def test_its_distribution_and_version_are_named(self, run: RunView, install: Any):
        source = (
            "from scumble import Plugin, hookimpl\n"
            "class Edit(Plugin):\n"
            "    @hookimpl\n"
            "    def scumble_plan(self, run):\n"
            "        return 1 / 0\n"
        )
        entries = {"scumble.plugins": {"odd": "odd_module:Edit"}}
        install("odd-package", entries, {"odd_module": source}, version="3.2")
        with pytest.raises(PluginError, match=r"of odd-package 3.2 raised ZeroDivisionError in"):
            Host([("odd", {})]).plan(run)

    def test_its_own_refusals_pass(self, run: RunView):
        def refuse(*_: Any) -> None:
            raise OptionError("too much")

        with pytest.raises(OptionError, match=r"^too much$"):
            Host.of(odd=Says(refuse)).plan(run)

    def test_interrupting_it_interrupts_the_program(self, run: RunView):
        def interrupted(*_: Any) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Host.of(odd=Says(interrupted)).plan(run)

    @pytest.mark.parametrize("fails", [False, True])
    def test_numpys_global_state_is_restored(self, run: RunView, fails: bool):
        def disturb(*_: Any) -> None:
            np.random.seed(1)
            np.random.standard_normal(5)
            np.seterr(all="raise")
            if fails:
                raise OptionError("and fails")

        np.random.seed(7)
        expected = np.random.standard_normal(3)
        handling = np.geterr()
        for _ in range(3):
            np.random.seed(7)
            for call in every_hook(Host.of(odd=Says(disturb)), run):
                with suppress(OptionError, PluginError):
                    call()
                np.testing.assert_array_equal(np.random.standard_normal(3), expected)
                assert np.geterr() == handling
                np.random.seed(7)

    def test_what_it_is_given_cannot_be_changed(self, run: RunView):
        def change(run: RunView, step: StepView) -> None:
            step.latents[0][...] = 9

        with pytest.raises(PluginError, match=r"'odd'.*read-only"):
            Host.of(odd=Says(change)).after_step(run, STEP)
        assert (STEP.latents[0] == 0).all()

    @pytest.mark.parametrize("part", ["unconditional", "conditional", "guided"])
    def test_nor_noise(self, run: RunView, part: str):
        def change(run: RunView, step: BeforeView, noise: GuidedNoise) -> None:
            getattr(noise, part)[...] = 9

        with pytest.raises(PluginError, match=r"'odd'.*read-only"):
            Host.of(odd=Says(change)).guidance(run, BEFORE, NOISE)
        assert not (getattr(NOISE, part) == 9).any()

    def test_nor_what_a_run_starts_from(self, run: RunView):
        def change(run: RunView, noise: Any) -> None:
            noise[1][...] = 9

        with pytest.raises(PluginError, match=r"'odd'.*read-only"):
            Host.of(odd=Says(change)).initial_noise(run, STEP.latents)

    @pytest.mark.parametrize("hook", ["before_step", "guidance"])
    def test_nor_what_a_step_starts_from(self, run: RunView, hook: str):
        def latents(run: RunView, step: BeforeView, *_: Any) -> None:
            step.latents[0][...] = 9

        def reads(run: RunView, step: BeforeView, *_: Any) -> None:
            step.reads["r"][...] = 9

        more = (NOISE,) if hook == "guidance" else ()
        for change in (latents, reads):
            with pytest.raises(PluginError, match=r"'odd'.*read-only"):
                getattr(Host.of(odd=Says(change)), hook)(run, BEFORE, *more)
        assert not BEFORE.latents[0].any()
        assert not BEFORE.reads["r"].any()

    def test_reads_cannot_be_changed_either(self, run: RunView):
        step = StepView(0, STEP.latents, {"r": np.zeros((1, 2, 2))})

        def change(run: RunView, step: StepView) -> None:
            step.reads["r"][...] = 9

        with pytest.raises(PluginError, match=r"'odd'.*read-only"):
            Host.of(odd=Says(change)).after_step(run, step)

    def test_replacing_what_it_is_given_is_seen_by_nobody(self, run: RunView):
        def replace(run: RunView, step: StepView) -> None:
            step.latents[0] = np.full((4, 2, 2), 9.0)  # pyright: ignore[reportIndexIssue]

        witness = Says()
        latents = Host.of(odd=Says(replace), witness=witness).after_step(run, STEP)
        assert (latents[0] == 0).all()
        assert (witness.seen[0][1].latents[0] == 0).all()


class TestFollowing:
    """What inverts may have a say in the run, before the method."""

    def test_both_are_asked_in_order(self, run: RunView):
        doubled = Says(lambda run, step: {1: step.latents[1] * 2})
        increased = Says(lambda run, step: {1: step.latents[1] + 1})
        host = Host.of(inversion=doubled).followed_by(Host.of(method=increased))
        assert (host.after_step(run, STEP)[1] == 3).all()
        assert list(host.origins) == ["inversion", "method"]

    def test_a_plugin_in_both_is_asked_once(self, run: RunView):
        one = Says(lambda run, step: {1: step.latents[1] * 2})
        host = Host.of(inversion=one).followed_by(Host.of(method=one))
        assert (host.after_step(run, STEP)[1] == 2).all()

    def test_two_of_a_name_are_refused(self):
        with pytest.raises(OptionError, match="plugin 'same' is named twice"):
            Host.of(same=Says()).followed_by(Host.of(same=Says()))

    def test_they_remain_as_they_were(self):
        first, second = Host.of(a=Says()), Host.of(b=Says())
        first.followed_by(second)
        assert (list(first.origins), list(second.origins)) == (["a"], ["b"])
