"""Controls become port values, cell by cell."""

import numpy as np
import pytest

from scumble.bindings import Bindings, MaskSlot, ReadSlot
from scumble.controls import (
    Branch,
    FeatureRoute,
    Join,
    Mix,
    Read,
    Region,
    Route,
)
from scumble.errors import OptionError
from scumble.ports import PortSizes, check_inputs, neutral
from scumble.testing.fake_engine import FEATURES, SITES, TOKENS

SIZES = PortSizes((4, 8, 8), TOKENS, FEATURES, SITES)
ON = np.ones(1, dtype=bool)
SOURCE, PLAIN, TARGET = Branch(0), Branch(1, False), Branch(1)
ROWS = {SOURCE: 0, PLAIN: 1, TARGET: 2}


def bindings(replayed: bool = False) -> Bindings:
    rows = {**ROWS, SOURCE: 3} if replayed else ROWS
    return Bindings(SIZES, 3, replayed, rows, 0)


def test_nothing_bound_is_no_port():
    assert bindings().ports() == ({}, ())


def test_a_route_writes_its_slots_at_its_sites():
    bound = bindings()
    bound.bind("one", Route(TARGET, ON, (0, 2), query=SOURCE, value=PLAIN))
    route = bound.ports()[0]["route"]
    assert route[:, 0, 2].tolist() == [0, 2, 0]
    assert route[:, 1, 2].tolist() == [2, 2, 2]
    assert route[:, 2, 2].tolist() == [1, 2, 1]
    assert (route[:, :, :2] == [0, 1]).all()
    assert bound.groups == {"route"}


def test_a_mix_writes_its_row_and_opens_its_gates():
    matrix, own = np.full((1, TOKENS, TOKENS), 0.25), np.full((1, TOKENS), 0.5)
    bound = bindings()
    bound.bind("one", Mix(TARGET, SOURCE, matrix, own, np.zeros(1, int), (1,)))
    ports = bound.ports()[0]
    assert ports["mix.row"].tolist() == [0, 1, 0]
    assert ports["mix.sites"].tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(ports["mix.source"][2], matrix[0])
    np.testing.assert_array_equal(ports["mix.own"], [[1] * TOKENS, [1] * TOKENS, [0.5] * TOKENS])
    assert not ports["mix.source"][:2].any()


def test_a_mix_that_is_off_binds_nothing():
    bound = bindings()
    at = np.full(1, -1)
    bound.bind("one", Mix(TARGET, SOURCE, np.ones((1, 16, 16)), np.ones((1, 16)), at, (1,)))
    assert bound.ports() == ({}, ())


def test_features_and_regions():
    query, key = np.eye(8), np.ones((8, 8))
    bound = bindings()
    bound.bind("one", FeatureRoute(TARGET, SOURCE, (1,), ON))
    bound.bind("one", Region(TARGET, query, key, (0, 1), ON))
    ports = bound.ports()[0]
    assert ports["feature_route"].tolist() == [[0, 1, 2], [0, 1, 0]]
    assert ports["region.sites"].tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    np.testing.assert_array_equal(ports["region.query"][2], query)
    np.testing.assert_array_equal(ports["region.key"][2], key)
    assert not ports["region.query"][:2].any()


def test_a_join_writes_its_row_and_opens_its_gates():
    bound = bindings()
    bound.bind("one", Join(TARGET, SOURCE, (0, 2), ON))
    ports = bound.ports()[0]
    assert ports["join.row"].tolist() == [0, 1, 0]
    assert ports["join.sites"].tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 1]]
    assert bound.groups == {"join"}


def test_a_mask_that_is_named_is_left_open():
    bound = bindings()
    bound.bind("one", Region(TARGET, "here", np.ones((8, 8)), (0,), ON))
    bound.bind("two", Region(PLAIN, np.eye(8), "there", (1,), ON))
    bound.bind("two", Region(SOURCE, "both", "both", (2,), ON))
    ports = bound.ports()[0]
    assert bound.masks == (
        MaskSlot("here", "region.query", 2, "one"),
        MaskSlot("there", "region.key", 1, "two"),
        MaskSlot("both", "region.query", 0, "two"),
        MaskSlot("both", "region.key", 0, "two"),
    )
    assert ports["region.query"].any(axis=(1, 2)).tolist() == [False, True, False]
    assert ports["region.key"].any(axis=(1, 2)).tolist() == [False, False, True]
    assert ports["region.sites"].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_reads_of_one_row_lie_behind_one_another():
    weights = np.eye(TOKENS)
    bound = bindings()
    bound.bind("one", Read("a", TARGET, weights[:2], (0, 2), ON))
    bound.bind("two", Read("b", SOURCE, weights[2:3], (0, 2), ON))
    bound.bind("two", Read("c", TARGET, weights[3:4], (0, 2), ON))
    ports, slots = bound.ports()
    assert slots == (
        ReadSlot("a", 1, 2, 0, 2),
        ReadSlot("b", 1, 0, 0, 1),
        ReadSlot("c", 1, 2, 2, 3),
    )
    assert ports["read.weights"].shape == (3, 3, TOKENS)
    np.testing.assert_array_equal(ports["read.weights"][2], weights[[0, 1, 3]])
    assert ports["read.sites"].tolist() == [1, 0, 1]
    assert bound.groups == {"read"}


def test_the_replayed_source_is_the_row_beyond():
    bound = bindings(replayed=True)
    bound.bind("one", Route(TARGET, ON, (0,), key=SOURCE))
    bound.bind("one", Join(TARGET, SOURCE, (0,), ON))
    bound.bind("one", Read("a", SOURCE, np.ones((1, TOKENS)), (0,), ON))
    ports, (slot,) = bound.ports()
    assert ports["route"][0, :, 2].tolist() == [2, 3, 2]
    assert ports["join.row"].tolist() == [0, 1, 3]
    assert slot.row == 3
    assert ports["read.weights"].shape == (4, 1, TOKENS)


@pytest.mark.parametrize(
    ("sites", "message"), [(((0,), (2,)), "different sites"), (((0, 1),), r"strides \[1, 2\]")]
)
def test_reads_that_do_not_go_together(sites: tuple[tuple[int, ...], ...], message: str):
    bound = bindings()
    for index, chosen in enumerate(sites):
        bound.bind("one", Read(f"r{index}", TARGET, np.ones((1, TOKENS)), chosen, ON))
    with pytest.raises(OptionError, match=message):
        bound.ports()


def test_forced_groups_are_neutral():
    bound = bindings()
    bound.force(["route", "mix", "read", "feature", "region", "join"])
    ports = bound.ports()[0]
    for group in ("route", "mix", "read", "feature", "region", "join"):
        for name, value in neutral(group, SIZES, 3).items():
            np.testing.assert_array_equal(ports[name], value)


def test_forcing_does_not_undo():
    bound = bindings()
    bound.bind("one", Route(TARGET, ON, (0,), key=SOURCE))
    bound.bind("one", Read("r", TARGET, np.ones((1, TOKENS)), (0,), ON))
    bound.force(["route", "read"])
    ports = bound.ports()[0]
    assert ports["route"][0, 1, 2] == 0
    assert ports["read.weights"].any()


def test_whatever_is_bound_fits_the_declaration():
    bound = bindings()
    bound.bind("one", Route(TARGET, ON, (0,), key=SOURCE))
    bound.bind("one", Read("r", TARGET, np.ones((3, TOKENS)), (0,), ON))
    bound.force(["mix", "feature", "region", "join"])
    ports = {
        **bound.ports()[0],
        "sample": np.zeros((3, 4, 8, 8)),
        "timestep": np.zeros(3, np.int64),
        "text": np.zeros((3, TOKENS, FEATURES)),
    }
    assert check_inputs(ports, SIZES) == 3
