"""Boxes, blocks and the map of a noise's tendencies."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from scumble.errors import OptionError, PromptError
from scumble.hookspecs import RunView
from scumble.schedulers import DDIM
from scumble.session import Session
from scumble.sites import Site, SiteTable
from scumble.tendency import BlockGrid

FINE, COARSE = 0, 1  # cross-attentions of the fake UNet, of strides 1 and 2


@pytest.fixture
def run(session: Session) -> RunView:
    encode = session.tokenizer.encode
    return RunView(
        4, 7.5, encode("a cat"), (encode("a red cat"),), session.info.sites, (8, 8),
        DDIM(session.checkpoint.scheduler, 4), 0, None, None, {}, session.predict, session.look,
        encode, 8,
    )  # fmt: skip


def sites(*places: tuple[Any, int]) -> SiteTable:
    return SiteTable(
        tuple(Site(i, f"{i}", "cross", p, s, 8, 1) for i, (p, s) in enumerate(places)), (64, 64)
    )


def test_the_published_map_is_the_encoders_last_at_16x16(run: RunView):
    levels = [("down", 1), ("down", 4), ("down", 4), ("down", 8), ("mid", 8), ("up", 4)]
    table = replace(run, sites=sites(*levels))
    assert BlockGrid.of(table).site.index == 2
    assert BlockGrid.of(table, 5).site.index == 5
    with pytest.raises(OptionError, match="no map 6; they have numbers 0 to 5"):
        BlockGrid.of(table, 6)
    with pytest.raises(OptionError, match="encoder has no map of stride 4; name another"):
        BlockGrid.of(replace(run, sites=sites(("up", 4))))


def test_a_tendency_is_one_look_at_the_first_step(run: RunView, session: Session):
    grid = BlockGrid.of(run, COARSE)
    noise = np.random.default_rng(1).standard_normal((4, 8, 8))
    session.rows.clear()
    red, both = grid.tendency(noise, run.targets[0], ["red", "red cat"])
    assert session.rows == {"look": 1}
    assert red.shape == grid.size == (4, 4)
    weights = np.zeros((2, len(run.targets[0].ids)))
    for row, word in zip(weights, ("red", "cat"), strict=True):
        row[list(run.targets[0].tokens_of(word))] = 1
    first = run.scheduler.timesteps[0]
    assert first == max(run.scheduler.timesteps)
    looked = session.look(noise, int(first), "a red cat", weights, (COARSE,))
    assert np.abs(red - looked[0]).max() < 1e-12
    assert np.abs(both - looked.mean(axis=0)).max() < 1e-12
    assert np.abs(red - both).max() > 1e-6
    with pytest.raises(PromptError, match="has no 'dog'"):
        grid.tendency(noise, run.targets[0], ["dog"])


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((0, 0, 64, 64), slice(0, 4), slice(0, 4)),
        ((16, 32, 32, 48), slice(2, 3), slice(1, 2)),
        ((15, 32, 33, 33), slice(2, 3), slice(0, 3)),  # outward
        ((63, 63, 64, 64), slice(3, 4), slice(3, 4)),
    ],
)
def test_a_box_is_rounded_outward_to_blocks(run: RunView, box: Any, rows: slice, columns: slice):
    wanted = np.zeros((4, 4), bool)
    wanted[rows, columns] = True
    assert np.array_equal(BlockGrid.of(run, COARSE).boxed(box), wanted)


@pytest.mark.parametrize(
    "box", [(0, 0, 65, 8), (0, 0, 8, 65), (8, 0, 8, 8), (0, 9, 8, 8), (64, 0, 64, 8)]
)
def test_a_box_has_to_lie_in_the_picture(run: RunView, box: Any):
    with pytest.raises(OptionError, match=r"a box is \(.*inside 64x64 pixels"):
        BlockGrid.of(run).boxed(box)


def test_a_wide_picture_is_measured_in_its_own_sides(run: RunView):
    grid = BlockGrid.of(replace(run, latent=(7, 12), factor=2), COARSE)
    assert grid.size == (4, 6)
    assert np.argwhere(grid.boxed((20, 0, 24, 14))).tolist() == [[0, 5], [1, 5], [2, 5], [3, 5]]
    # The last row of blocks is cut off with the picture.
    assert grid.cells(grid.boxed((20, 12, 24, 14))).shape == (7, 12)
    assert np.argwhere(grid.cells(grid.boxed((20, 12, 24, 14)))).tolist() == [[6, 10], [6, 11]]


def test_what_boxes_share_goes_to_the_smaller(run: RunView):
    grid = BlockGrid.of(run, FINE)
    layout = {"sofa": (0, 0, 32, 32), "cat": (16, 16, 32, 32), "dog": (24, 24, 40, 40)}
    sofa, cat, dog = grid.apart(layout)
    assert (sofa.sum(), cat.sum(), dog.sum()) == (16 - 4, 4, 3)
    assert not (sofa & cat).any()
    assert not (cat & dog).any()
    assert cat[2:4, 2:4].all()  # of two that are equal, the first keeps it
    with pytest.raises(OptionError, match="box of 'b' is covered by smaller ones"):
        grid.apart({"a": (0, 0, 8, 8), "b": (0, 0, 8, 8)})


@pytest.mark.parametrize("site", [FINE, COARSE])
def test_blocks_are_what_lies_under_a_cell(run: RunView, site: int):
    grid = BlockGrid.of(replace(run, latent=(6, 8)), site)
    latent = np.random.default_rng(0).standard_normal((4, 6, 8))
    blocks = grid.blocks(latent)
    side, columns = grid.site.stride, grid.size[1]
    assert blocks.shape == (grid.size[0] * columns, 4, side, side)
    for row, column in ((0, 0), (1, 2), (grid.size[0] - 1, columns - 1)):
        part = latent[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
        assert np.array_equal(blocks[row * columns + column], part)
    assert np.array_equal(grid.latent(blocks), latent)


def test_a_picture_that_has_no_whole_blocks_has_none(run: RunView):
    grid = BlockGrid.of(replace(run, latent=(7, 8)), COARSE)
    with pytest.raises(OptionError, match="7x8 cells does not divide into blocks of 2x2"):
        grid.blocks(np.zeros((4, 7, 8)))
