"""Sites are chosen by kind, place and stride."""

import pytest

from scumble.errors import ModelError
from scumble.sites import Kind, Place, Site, SiteTable


def table(*cells: tuple[Kind, Place, int], native: int = 64) -> SiteTable:
    count: dict[str, int] = {}
    sites: list[Site] = []
    for kind, place, stride in cells:
        index = count.get(kind, 0)
        count[kind] = index + 1
        sites.append(Site(index, f"{place}.{kind}.{index}", kind, place, stride, 8, 2))
    return SiteTable(tuple(sites), (native, native))


KINDS: tuple[Kind, ...] = ("cross", "self")
# As in SD1.x, one block a level: 64x64, 32x32, 16x16 down, 8x8, and up again.
LEVELS: tuple[tuple[Place, int], ...] = (
    ("down", 1), ("down", 2), ("down", 4), ("mid", 8), ("up", 4), ("up", 2), ("up", 1),
)  # fmt: skip
CELLS: list[tuple[Kind, Place, int]] = [
    (k, place, stride) for k in KINDS for place, stride in LEVELS
]
USUAL = table(*CELLS)


def test_of_and_count_are_by_kind():
    assert USUAL.count("cross") == 7
    assert USUAL.count("resnet") == 0
    assert [site.index for site in USUAL.of("self")] == list(range(7))
    assert len(list(USUAL)) == 14


@pytest.mark.parametrize(
    ("asked", "indices"),
    [
        ({}, (0, 1, 2, 3, 4, 5, 6)),
        ({"places": ("up",)}, (4, 5, 6)),
        ({"strides": (4,)}, (2, 4)),
        ({"strides": (4, 8), "places": ("mid", "up")}, (3, 4)),
        ({"least_stride": 4}, (2, 3, 4)),
        ({"strides": ()}, ()),
        ({"strides": (16,)}, ()),
    ],
)
def test_select(asked: dict[str, tuple[Place, ...]], indices: tuple[int, ...]):
    assert USUAL.select("cross", **asked) == indices  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("stride", "latent", "grid"),
    [(1, (8, 6), (8, 6)), (2, (8, 6), (4, 3)), (2, (5, 7), (3, 4)), (8, (5, 9), (1, 2))],
)
def test_grid_rounds_up(stride: int, latent: tuple[int, int], grid: tuple[int, int]):
    assert Site(0, "p", "self", "up", stride, 8, 2).grid(latent) == grid


def test_map_stride_is_sixteen_cells_of_the_native_picture():
    assert USUAL.map_stride == 4
    assert table(("cross", "down", 1), ("cross", "up", 1), native=16).map_stride == 1
    assert table(("cross", "down", 1), ("cross", "mid", 2), native=8).map_stride == 1


def test_map_stride_where_no_site_is_that_coarse():
    """SDXL has cross-attention at strides 2 and 4 only, of a 128x128 latent."""
    sdxl = table(("cross", "down", 2), ("cross", "down", 4), ("cross", "up", 4), native=128)
    assert sdxl.map_stride == 4
    assert table(("cross", "down", 4), ("cross", "up", 4), native=16).map_stride == 4


def test_numbers_out_of_order_are_refused():
    sites = USUAL.of("cross")
    with pytest.raises(ModelError, match="cross sites are numbered"):
        SiteTable(sites[::-1], (64, 64))


def test_a_unet_without_words_is_refused():
    with pytest.raises(ModelError, match="no cross-attention"):
        table(("self", "down", 1))


def test_sites_up_to_the_last_map_of_a_stride():
    def site(index: int, kind: Kind, stride: int) -> Site:
        return Site(index, f"{kind}.{index}", kind, "down", stride, 8, 2)

    table = SiteTable(
        (
            site(0, "resnet", 1),
            site(0, "self", 1), site(0, "cross", 1),
            site(1, "self", 2), site(1, "cross", 2),
            site(2, "self", 1), site(2, "cross", 1),
        ),
        (8, 8),
    )  # fmt: skip
    reached = [s.path for s in table.up_to_maps((2,))]
    assert reached == ["self.0", "cross.0", "self.1", "cross.1"]
    assert table.up_to_maps((1, 2))[-1].path == "cross.2"
    assert table.up_to_maps((4,)) == ()
