"""The losses on maps whose shares are known, and what the control keeps."""

import pytest
import torch

from scumble.sites import Site, SiteTable
from scumble_bench.peers.mag_control import MagControl, space_loss, token_loss
from scumble_bench.peers.map_controller import MapEdit

PLACES = (("down", 1), ("down", 2), ("mid", 2), ("up", 2))
CROSS = tuple(
    Site(index, f"{place}.{index}", "cross", place, stride, 8, 2)  # type: ignore[arg-type]
    for index, (place, stride) in enumerate(PLACES)
)
COARSE, FINE = Site(0, "a", "self", "down", 2, 8, 2), Site(1, "b", "self", "up", 1, 8, 2)
SITES = SiteTable((*CROSS, COARSE, FINE), (32, 32))
WORD = torch.tensor([0.0, 1.0, 0.0])
INSIDE = torch.tensor([1.0, 1.0, 0.0, 0.0])


@pytest.fixture
def control() -> MagControl:
    """Taken from the source: token 0 and 2 at step 0; self-attention at step 0, stride 2 on."""
    edit = MapEdit(
        alphas=torch.tensor([[1.0, 1, 1], [0, 0, 0]]),
        mapper=None,
        places=torch.tensor([2, -1, 0]),
        kept=torch.tensor([1.0, 0, 1]),
        equalizer=torch.ones(3),
        self_steps=(True, False),
        self_stride=2,
    )
    return MagControl(edit, SITES)


def test_the_token_ratio_is_of_all_that_a_cell_sees():
    maps = torch.tensor([[[0.5, 0.5, 0], [0.5, 0.5, 1], [0, 1, 0], [0, 1, 0]]])
    # Half of one cell and a quarter of the other, over the cells inside.
    assert token_loss(maps, WORD, INSIDE).item() == pytest.approx((1 - 0.375) ** 2)


def test_the_space_ratio_is_of_all_cells_that_see_the_word():
    maps = torch.zeros(2, 4, 3)
    maps[0, :, 1] = torch.tensor([0.1, 0.2, 0.3, 0.0])
    maps[1, :, 1] = torch.tensor([0.2, 0.0, 0.0, 0.0])
    # 3 - 4 r of each head, r being 1/2 and 1.
    assert space_loss(maps, WORD, INSIDE).item() == pytest.approx((1 - 1) / 2)


def test_the_last_rows_cross_maps_are_mixed_and_those_of_the_stride_kept(control: MagControl):
    source, target = torch.rand(2, 4, 5, 3)
    for site in CROSS:
        assert control.source(source, site) is source
        found = control.target(target, site)
        torch.testing.assert_close(found[:2], target[:2])
        torch.testing.assert_close(found[2:, :, 0], source[2:, :, 2])
        torch.testing.assert_close(found[2:, :, 1], target[2:, :, 1])
        torch.testing.assert_close(found[2:, :, 2], source[2:, :, 0])
    # Stride 2, and not the middle.
    assert len(control.seen) == 2
    kept = [maps.sum() for maps in control.seen]
    assert control.loss(lambda maps: maps.sum()) == (kept[0] + kept[1]) / 2
    assert not control.seen


def test_self_attention_is_taken_at_coarse_sites_in_its_steps(control: MagControl):
    source, target = torch.rand(2, 2, 5, 5)
    for step, site, wanted in ((0, COARSE, source), (0, FINE, target), (1, COARSE, target)):
        control.step = step
        control.source(source, site)
        torch.testing.assert_close(control.target(target, site), wanted)
