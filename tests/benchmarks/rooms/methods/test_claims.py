"""A claim says what was measured, whichever way it went."""

import numpy as np
import pytest

from scumble_bench.rooms.methods.claims import CLAIMS, Claim, interval, judged
from scumble_bench.rooms.methods.rows import ROWS
from scumble_bench.rooms.methods.scoring import SCORES

MORE = Claim("more", "colour", "one", "two", "psnr")
NO_LESS = Claim("no less", "colour", "one", "two", "psnr", 0.5)


def values(mean: float, spread: float = 1.0, count: int = 60) -> dict[str, list[float]]:
    drawn = np.random.default_rng(3).normal(mean, spread, count)
    return {"psnr": drawn.tolist()}


def shifted(by: float, spread: float) -> dict[str, list[float]]:
    """The same edits, off by so much in the mean."""
    moved = np.random.default_rng(4).normal(0, spread, 60)
    return {"psnr": (np.array(values(20)["psnr"]) + moved - moved.mean() + by).tolist()}


@pytest.mark.parametrize(
    ("claim", "by", "spread", "verdict"),
    [
        (MORE, 1.0, 1.0, "held"),
        (MORE, -1.0, 1.0, "contrary"),
        (MORE, 0.1, 1.0, "not shown"),
        (MORE, -0.1, 1.0, "not shown"),
        (NO_LESS, 0.0, 0.5, "held"),
        (NO_LESS, -0.2, 0.2, "held"),
        (NO_LESS, -0.4, 1.0, "not shown"),
        (NO_LESS, -0.6, 1.0, "not shown"),
        (NO_LESS, -1.5, 0.5, "contrary"),
    ],
)
def test_the_verdict_is_what_the_difference_says(
    claim: Claim, by: float, spread: float, verdict: str
):
    found = judged(claim, shifted(by, spread), values(20))
    assert found["verdict"] == verdict
    assert found["difference"] == pytest.approx(
        found["measured"][0] - found["measured"][1], abs=2e-4
    )


def test_edits_are_compared_one_by_one():
    """What differs from scene to scene drowns no difference that every scene has."""
    wide = values(20, spread=50)
    found = judged(MORE, {"psnr": [value + 0.1 for value in wide["psnr"]]}, wide)
    assert found["verdict"] == "held"
    assert found["interval"] == pytest.approx([0.1, 0.1], abs=1e-4)


def test_an_interval_is_about_two_standard_errors_either_way():
    of = values(3, 2, 400)["psnr"]
    low, high = interval(of)
    error = float(np.std(of) / np.sqrt(400))
    assert (low + high) / 2 == pytest.approx(np.mean(of), abs=0.1 * error)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert interval(of) == (low, high)


def test_rows_of_other_edits_are_not_compared():
    with pytest.raises(ValueError, match="'one' made 60 edits and 'two' 59"):
        judged(MORE, values(1), values(1, count=59))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.said)
def test_a_claim_compares_rows_that_are_measured(claim: Claim):
    names = {(row.task, row.name) for row in ROWS}
    assert {(claim.task, claim.row), (claim.task, claim.than)} <= names
    assert claim.row != claim.than
    assert claim.task in SCORES


def test_nothing_is_claimed_for_repainting_a_picture_that_is_brought():
    (claim,) = (claim for claim in CLAIMS if claim.task == "repaint")
    assert claim.said.endswith("of generated pictures")
