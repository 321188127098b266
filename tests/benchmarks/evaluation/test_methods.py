"""Methods and inversions by name, their options, and what they are for an entry."""

import re
from collections.abc import Callable

import pytest

from scumble.errors import OptionError
from scumble.plugins import load_plugin
from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.methods import (
    INVERSIONS,
    METHODS,
    Method,
    Named,
    crossed,
    edits,
    filled,
    read_named,
)
from scumble_plugins.masactrl import START_LAYER, START_STEP

DIRECT, DDIM = Named("direct", "direct"), Named("ddim", "ddim")


def test_p2p_has_the_published_constants(entry: Callable[..., Entry]):
    options = filled(METHODS["pie-p2p"].options, entry(words=("cat", "dog")))
    _, plugin = load_plugin("prompt_to_prompt", options)
    found = plugin.options
    assert (found.mode, found.cross_window, found.self_window) == ("refine", 0.4, 0.6)
    assert (found.reweight, found.blend_words) == ({"dog": 2}, ("cat", "dog"))
    assert (found.blend_start, found.blend_threshold) == (0.2, 0.3)
    assert set(found.compat) == {"extra_step", "self_32"}


def test_without_blended_words_nothing_blends(entry: Callable[..., Entry]):
    options = filled(METHODS["pie-p2p"].options, entry(words=None))
    assert "reweight" not in options
    assert "blend_words" not in options
    assert options["mode"] == "refine"


def test_the_others_have_theirs():
    (masactrl,) = crossed([METHODS["pie-masactrl"]], [DIRECT])
    assert masactrl.silent
    assert masactrl.options == {}
    assert (round(START_STEP * 50), round(START_LAYER * 16)) == (4, 10), "the plugin's defaults"
    (pnp,) = crossed([METHODS["pie-pnp"]], [DIRECT])
    assert pnp.negative == "ugly, blurry, black, low res, unrealistic"
    assert pnp.options == {"features": 0.8, "attention": 0.5}
    proximal = INVERSIONS["pie-proximal"]
    assert proximal.options == {"threshold": "soft", "quantile": 0.75, "anchor": "none"}


def test_placeholders_are_filled_at_any_depth(entry: Callable[..., Entry]):
    template = {"a": ["{source_word}", {"{target_word}": "{target_word}"}], "b": 1}
    found = filled(template, entry(words=("cat", "dog")))
    assert found == {"a": ["cat", {"dog": "dog"}], "b": 1}
    assert filled(template, entry(words=None)) == {"b": 1}


def test_names_are_presets_or_plugins():
    assert read_named("pie-p2p", METHODS, "method") is METHODS["pie-p2p"]
    assert read_named("masactrl", METHODS, "method") == Named("masactrl", "masactrl")
    given = read_named('pie-pnp:{"features": 0.5}', METHODS, "method")
    assert given.options == {"features": 0.5, "attention": 0.5}
    assert given.more == METHODS["pie-pnp"].more
    assert given.name == 'pie-pnp:{"features": 0.5}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nope", "no method 'nope'; there are: pie-p2p"),
        ("sdedit:strength=1", "is no JSON"),
        ("sdedit:[1]", "write options as"),
        ('sdedit:{"power": 1}', "plugin 'sdedit' has no option 'power'"),
        ('sdedit:{"strength": 7}', "plugin 'sdedit': strength is 7"),
    ],
)
def test_what_cannot_be_read(text: str, said: str):
    with pytest.raises(OptionError, match=re.escape(said)):
        read_named(text, METHODS, "method")


def test_every_method_meets_every_inversion_but_one_of_its_own():
    named = [Named("masactrl", "masactrl"), Named("sdedit", "sdedit")]
    found = crossed(named, [DIRECT, DDIM])
    assert [(one.label, one.inversion) for one in found] == [
        ("masactrl, direct", "direct"),
        ("masactrl, ddim", "ddim"),
        ("sdedit", None),
    ]


def test_a_mask_is_given_where_the_trial_has_one():
    named = [Named(name, name) for name in ("blended_latent_diffusion", "masactrl")]
    assert [one.masked for one in crossed(named, [DIRECT])] == [True, False]


@pytest.mark.parametrize(
    ("methods", "inversions", "said"),
    [
        (["ddim"], [DIRECT], "plugin 'ddim' edits no picture"),
        (["noise_blocks"], [DIRECT], "plugin 'noise_blocks' edits no picture"),
        (["masactrl"], [Named("masactrl", "masactrl")], "plugin 'masactrl' does not invert"),
        (["masactrl", "masactrl"], [DIRECT], "'masactrl, direct' is asked for twice"),
    ],
)
def test_what_cannot_be_crossed(methods: list[str], inversions: list[Named], said: str):
    with pytest.raises(OptionError, match=said):
        crossed([Named(name, name) for name in methods], inversions)


def test_a_method_is_the_same_after_json():
    (method,) = crossed([METHODS["pie-p2p"]], [INVERSIONS["pie-proximal"]])
    again = Method.of(method.as_json())
    assert again.as_json() == method.as_json()
    assert again.published == ("pie-p2p", "pie-proximal")
    assert again.slug == method.slug


def test_what_only_inverts_does_not_edit():
    from scumble.plugins import load_class

    named = ("direct", "ddim", "prompt_to_prompt", "diffedit")
    assert [edits(load_class(name)[1]) for name in named] == [False, False, True, True]
