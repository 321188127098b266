"""Around a plugin's code: numpy is put back, and what is raised is the plugin's own."""

import re

import numpy as np
import pytest

from scumble.errors import NumericalError, OptionError, PluginError
from scumble.strangers import guarded, undisturbed


class TestUndisturbed:
    def test_nothing_done_is_nothing_told(self):
        told: list[str] = []
        with undisturbed(told.append):
            np.random.default_rng(1).standard_normal(3)
            with np.errstate(all="ignore"):
                pass
        assert told == []

    @pytest.mark.parametrize(
        ("what", "said"),
        [
            ("np.random.seed(1)", "global random state"),
            ("np.random.standard_normal()", "global random state"),
            ("np.random.rand()", "global random state"),
            ("np.seterr(all='raise')", "handling of errors"),
            ("np.seterr(over='ignore'); np.random.rand()",
             "global random state and handling of errors"),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("fails", [False, True])
    def test_numpy_is_put_back_and_it_is_told(self, what: str, said: str, fails: bool):
        np.random.seed(7)
        expected = np.random.standard_normal(3)
        np.random.seed(7)
        handling = np.geterr()
        told: list[str] = []
        try:
            with undisturbed(told.append):
                exec(what, {"np": np})
                if fails:
                    raise KeyError
        except KeyError:
            pass
        assert told == [said]
        assert np.geterr() == handling
        np.testing.assert_array_equal(np.random.standard_normal(3), expected)

    def test_a_half_used_pair_of_normals_is_put_back_too(self):
        np.random.seed(7)
        np.random.standard_normal()
        first = np.random.get_state(legacy=False)["has_gauss"]
        with undisturbed():
            np.random.standard_normal()
        assert np.random.get_state(legacy=False)["has_gauss"] == first


class TestGuarded:
    @pytest.mark.parametrize("error", [KeyError("x"), SystemExit(2), RecursionError("deep")])
    def test_what_is_raised_is_the_plugins_own(self, error: BaseException):
        name = type(error).__name__
        said = f"^the plugin raised {name} in hook at step 2: "
        with pytest.raises(PluginError, match=said), guarded("the plugin", "hook at step 2", []):
            raise error

    def test_whatever_it_is(self):
        class Stop(BaseException): ...

        said = "raised Stop in hook: here"
        with pytest.raises(PluginError, match=said), guarded("the plugin", "hook", []):
            raise Stop("here")

    def test_its_refusals_are_those_of_the_run(self):
        for error in (OptionError("too much"), NumericalError("no number")):
            with pytest.raises(type(error), match=f"^{error}$"), guarded("it", "hook", []):
                raise error

    def test_what_is_wrong_with_it_gets_its_name(self):
        said = re.escape("the plugin in hook: a plan holds controls.")
        with pytest.raises(PluginError, match=f"^{said}$"), guarded("the plugin", "hook", []):
            raise PluginError("a plan holds controls.")

    def test_an_interrupt_is_the_users(self):
        with pytest.raises(KeyboardInterrupt), guarded("the plugin", "hook", []):
            raise KeyboardInterrupt

    def test_what_it_disturbs_is_noted_once_a_hook(self):
        notes: list[str] = []
        for step in range(3):
            with guarded("the plugin", f"hook at step {step}", notes):
                np.random.seed(step)
        with guarded("the plugin", "other", notes):
            np.seterr(all="raise")
        assert notes == [
            "the plugin changed numpy's global random state in hook; it was put back.",
            "the plugin changed numpy's handling of errors in other; it was put back.",
        ]
