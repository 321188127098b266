"""Pieces and jobs are values."""

import dataclasses
from pathlib import Path

import pytest

from scumble_bench.work.pieces import Job, Piece


def test_pieces_and_jobs_do_not_change():
    piece = Piece("a", {"n": 1})
    job = Job([piece], "module:callable", Path("rows"))
    assert (piece.group, job.settings) == (None, {})
    assert piece == Piece("a", {"n": 1})
    for value, name in ((piece, "key"), (job, "folder")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, "other")
