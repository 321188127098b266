"""The controller on maps made by hand."""

from typing import Any

import pytest
import torch

from scumble import Editor
from scumble.prompts import Prompt
from scumble.sites import Site, SiteTable
from scumble_bench.peers.map_controller import MapController, MapEdit
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions

CAT = "a red cat on a sofa"
STEPS = 10


def site(kind: Any, stride: int, index: int = 0, place: Any = "down") -> Site:
    return Site(index, f"{kind}{stride}.{index}", kind, place, stride, 8, 2)


SITES = SiteTable(
    (site("self", 1), site("cross", 1), site("cross", 2, 1), site("self", 2, 1)), (32, 32)
)


@pytest.fixture
def edit(editor: Editor):
    encode = editor.session.tokenizer.encode

    def made(target: str, **options: Any) -> tuple[MapEdit, Prompt, Prompt]:
        source, other = encode(CAT), encode(target)
        chosen = PromptToPromptOptions(**options)
        like = torch.empty(0, dtype=torch.float64)
        return MapEdit.of(chosen, source, other, SITES, STEPS, like), source, other

    return made


def maps(*, keys: int, heads: int = 2, cells: int = 6) -> torch.Tensor:
    """Maps of four rows, (4 * heads, cells, keys), no two alike."""
    return torch.rand(4 * heads, cells, keys, dtype=torch.float64).softmax(-1)


def test_a_swapped_word_takes_the_map_of_the_word_it_replaces(edit):
    made, source, target = edit("a red dog on a sofa", cross_window=0.5)
    given = maps(keys=40)
    before = given.clone().unflatten(0, (4, 2))
    after = MapController(made, SITES)(given, SITES.sites[1]).unflatten(0, (4, 2))
    torch.testing.assert_close(after[:3], before[:3], rtol=0, atol=0)
    assert source.tokens_of("cat") == target.tokens_of("dog")
    torch.testing.assert_close(after[3], before[2])


def test_a_new_word_keeps_its_own_map(edit):
    made, source, target = edit("a red fluffy cat on a sofa")
    (new,) = target.tokens_of("fluffy")
    (cat,), (there,) = source.tokens_of("cat"), target.tokens_of("cat")
    given = maps(keys=40)
    before = given.clone().unflatten(0, (4, 2))
    after = MapController(made, SITES)(given, SITES.sites[1]).unflatten(0, (4, 2))
    torch.testing.assert_close(after[3, ..., new], before[3, ..., new])
    torch.testing.assert_close(after[3, ..., there], before[2, ..., cat])


def test_windows_and_factors_hold_by_word(edit):
    made, _, target = edit(
        CAT, cross_window={"default": 0.5, "red": (0.2, 0.3)}, reweight={"sofa": 3, "red": -1}
    )
    (red,), (sofa,) = target.tokens_of("red"), target.tokens_of("sofa")
    controller = MapController(made, SITES)
    for step in range(STEPS):
        given = maps(keys=40)
        before = given.clone().unflatten(0, (4, 2))
        after = controller(given, SITES.sites[1]).unflatten(0, (4, 2))[3]
        wanted = before[3] if step >= 5 else before[2].clone()
        if step < 5:
            wanted[..., red] = -before[2, ..., red] if step == 2 else before[3, ..., red]
            wanted[..., sofa] *= 3
        torch.testing.assert_close(after, wanted)
        controller.end_step()


def test_self_attention_is_taken_in_its_window_at_coarse_sites(edit):
    made, *_ = edit("a red dog on a sofa", self_window=(0.2, 0.4))
    controller = MapController(made, SITES)
    taken: list[tuple[bool, bool]] = []
    for _ in range(STEPS):
        same: list[bool] = []
        for place in (SITES.sites[0], SITES.sites[3]):
            after = controller(maps(keys=6), place).unflatten(0, (4, 2))
            assert not torch.equal(after[1], after[0])
            same.append(torch.equal(after[3], after[2]))
        taken.append((same[0], same[1]))
        controller.end_step()
    assert taken == [(False, step in (2, 3)) for step in range(STEPS)]


@pytest.mark.parametrize(("compat", "finest"), [((), 2), (("self_32",), 1)])
def test_the_finest_stride_is_that_of_the_plugin(edit, compat: tuple[str, ...], finest: int):
    assert edit(CAT, compat=compat)[0].self_stride == finest
    assert edit(CAT, compat=compat, self_stride=4)[0].self_stride == 4


def test_maps_are_stored_after_the_edit_and_summed_over_steps(edit):
    made, *_ = edit("a red dog on a sofa", cross_window=0.1)
    controller = MapController(made, SITES)
    total = torch.zeros(2, 2, 6, 40, dtype=torch.float64)
    for _ in range(3):
        total += controller(maps(keys=40), SITES.sites[2]).unflatten(0, (4, 2))[2:]
        controller.end_step()
    assert list(controller.stored) == [SITES.sites[2]]
    torch.testing.assert_close(controller.stored[SITES.sites[2]], total)


def test_large_maps_are_not_stored(edit):
    made, *_ = edit(CAT)
    wide = SiteTable(SITES.sites, (64, 64))
    controller = MapController(made, wide)
    for place in SITES.sites[1:3]:
        controller(maps(keys=40), place)
    controller.end_step()
    assert [stored.stride for stored in controller.stored] == [2]
