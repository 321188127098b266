from typing import Any

import pytest

from scumble.cli.settings import read_further, read_settings
from scumble.errors import OptionError

P2P = "prompt_to_prompt"


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ("blend_words=cat,dog", {"blend_words": ["cat", "dog"]}),
        ("blend_words=red carpet", {"blend_words": ["red carpet"]}),
        ("blend_words=7", {"blend_words": ["7"]}),
        ('blend_words=["a,b"]', {"blend_words": ["a,b"]}),
        ("blend_words=", {"blend_words": []}),
        ("compat=extra_step,self_32", {"compat": ["extra_step", "self_32"]}),
        ("cross_window=0.4", {"cross_window": 0.4}),
        ("cross_window=0.1,0.9", {"cross_window": [0.1, 0.9]}),
        ("cross_window=[0.1,0.9]", {"cross_window": [0.1, 0.9]}),
        ('cross_window={"cat": 0.5}', {"cross_window": {"cat": 0.5}}),
        ("cross_window.cat=0.1,0.2", {"cross_window": {"cat": [0.1, 0.2]}}),
        ("reweight.red carpet=-2", {"reweight": {"red carpet": -2}}),
        ("mode=replace", {"mode": "replace"}),
        ('mode="replace"', {"mode": "replace"}),
        ("self_stride=null", {"self_stride": None}),
        ("self_stride=NaN", {"self_stride": "NaN"}),
        ("unheard_of=1", {"unheard_of": 1}),
        ("unheard_of=a=b,c", {"unheard_of": "a=b,c"}),
        ("unheard_of.inner=x", {"unheard_of": {"inner": "x"}}),
    ],
)
def test_values(given: str, options: dict[str, Any]):
    assert read_settings(P2P, [given]) == options


def test_several_keys_of_a_table():
    given = ["reweight.cat=2", "reweight.dog=0.5", "mode=refine"]
    assert read_settings(P2P, given) == {"reweight": {"cat": 2, "dog": 0.5}, "mode": "refine"}


@pytest.mark.parametrize(
    "given",
    [
        ["mode"],
        ["=replace"],
        ["mode=replace", "mode=refine"],
        ["reweight={}", "reweight={}"],
        ["reweight.cat=1", "reweight.cat=2"],
        ["cross_window=0.4", "cross_window.cat=1"],
    ],
)
def test_refused(given: list[str]):
    with pytest.raises(OptionError, match="--set"):
        read_settings(P2P, given)


def test_nothing_given_imports_nothing():
    assert read_settings("not_installed", []) == {}
    with pytest.raises(OptionError, match="no plugin 'not_installed'"):
        read_settings("not_installed", ["a=1"])


def test_further_plugins_in_their_order():
    given = ["masactrl.start_step=2", "prompt_to_prompt.reweight.cat=2", "masactrl.layers=0,1"]
    assert list(read_further(["masactrl", P2P], given).items()) == [
        ("masactrl", {"start_step": 2, "layers": [0, 1]}),
        (P2P, {"reweight": {"cat": 2}}),
    ]
    assert read_further(["masactrl"], []) == {"masactrl": {}}
    assert read_further([], []) == {}


@pytest.mark.parametrize(
    ("plugins", "given", "said"),
    [
        ([P2P, P2P], [], "--further 'prompt_to_prompt' is given twice"),
        ([], ["masactrl.start_step=2"], "of a plugin named by --further"),
        ([P2P], ["mode=refine"], "--further-set is 'mode=refine'; give PLUGIN.KEY=VALUE"),
        ([P2P], [f"{P2P}.mode"], "--further-set is 'mode'; give KEY=VALUE"),
    ],
)
def test_further_plugins_that_are_refused(plugins: list[str], given: list[str], said: str):
    with pytest.raises(OptionError, match=said):
        read_further(plugins, given)
