"""Pieces and shares of them."""

from collections.abc import Callable

import pytest

from scumble.errors import OptionError
from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.methods import Method
from scumble_bench.evaluation.shards import pieces_of, read_shard, shard_of
from scumble_bench.work.pieces import Piece


def test_a_piece_for_each_method_and_entry(entry: Callable[..., Entry]):
    entries = [entry(id="1"), entry(id="2")]
    methods = [Method("a, direct", "masactrl"), Method("b", "sdedit", inversion=None)]
    pieces = pieces_of(entries, methods)
    assert [piece.payload["entry"] for piece in pieces] == ["1", "2", "1", "2"]
    assert [Method.of(piece.payload["method"]) for piece in pieces] == [
        methods[0], methods[0], methods[1], methods[1]
    ]  # fmt: skip
    assert len({piece.key for piece in pieces}) == 4


def test_a_key_tells_options_apart(entry: Callable[..., Entry]):
    one, other = Method("a", "sdedit", {"strength": 0.5}), Method("a", "sdedit", {"strength": 0.6})
    keys = {pieces_of([entry()], [method])[0].key for method in (one, other)}
    assert len(keys) == 2


@pytest.mark.parametrize("of", [1, 2, 3, 7, 30])
def test_shares_are_disjoint_and_make_the_whole(of: int):
    pieces = [Piece(str(number), {}) for number in range(23)]
    shares = [shard_of(pieces, share, of) for share in range(1, of + 1)]
    keys = [piece.key for share in shares for piece in share]
    assert sorted(keys, key=int) == [piece.key for piece in pieces]
    sizes = {len(share) for share in shares}
    assert max(sizes) - min(sizes) <= 1


def test_a_share_is_read():
    assert read_shard("2/5") == (2, 5)


@pytest.mark.parametrize("text", ["", "0/4", "5/4", "1", "1/0", "a/b", "-1/4", "1/4/2"])
def test_what_is_no_share(text: str):
    with pytest.raises(OptionError, match="write 1/4 for the first of four"):
        read_shard(text)
