"""What of an edit each kind of metric is given, and where it is undefined."""

import math
from typing import Any

import numpy as np
import pytest

from scumble_bench.evaluation.metrics.measured import (
    Measured,
    of_edited,
    of_kept,
    of_structure,
    of_whole,
)
from scumble_bench.evaluation.metrics.metric import METRICS, Metric
from scumble_bench.evaluation.metrics.protocol import read_protocol

PLAIN = read_protocol("plain")


def nothing(*given: Any) -> float:
    raise AssertionError("an undefined value is not computed")


def test_a_metric_says_what_it_is():
    metric: Metric = Measured(METRICS["lpips"], PLAIN, of_kept(nothing))
    assert (metric.name, metric.needs, metric.scale) == ("lpips", ("lpips",), 1e3)


def test_kept_pixels_are_compared_over_the_full_frame(edit: Any):
    """So the same error counts for less where the mask is larger."""

    def squares(source: Any, edited: Any) -> float:
        return float(((source - edited) ** 2).mean())

    metric = Measured(METRICS["mse"], PLAIN, of_kept(squares))
    source = np.minimum(edit.source, 245)
    everywhere = source + np.uint8(10)
    half = np.zeros(edit.mask.shape, np.uint8)
    half[:28] = 255
    whole = metric(source, everywhere, np.zeros_like(half), "")
    assert whole == pytest.approx((10 / 255) ** 2, rel=1e-5)
    assert metric(source, everywhere, half, "") == pytest.approx(whole / 2, rel=1e-5)
    half[28:40] = 255
    assert metric(source, everywhere, half, "") == pytest.approx(whole * 16 / 56, rel=1e-5)


def test_only_what_lies_outside_the_mask_counts(edit: Any):
    metric = Measured(METRICS["mse"], PLAIN, of_kept(lambda a, b: float(abs(a - b).max())))
    inside = np.where(edit.mask[..., None], edit.edited, edit.source)
    outside = np.where(edit.mask[..., None], edit.source, edit.edited)
    assert metric(edit.source, inside, edit.mask, "") == 0
    assert metric(edit.source, outside, edit.mask, "") > 0.1


def test_nothing_to_keep_is_undefined(edit: Any):
    metric = Measured(METRICS["psnr"], PLAIN, of_kept(nothing))
    assert math.isnan(metric(edit.source, edit.edited, np.ones(edit.mask.shape, bool), ""))


def test_the_changed_part_and_the_whole_are_held_against_the_prompt(edit: Any):
    given: list[Any] = []

    def similarity(picture: Any, prompt: str) -> float:
        given.append((picture, prompt))
        return 1.0

    for name, kind in (("clip_whole", of_whole), ("clip_edited", of_edited)):
        assert (
            Measured(METRICS[name], PLAIN, kind(similarity))(
                edit.source, edit.edited, edit.mask, "a red sofa"
            )
            == 1.0
        )
    (whole, first), (part, second) = given
    assert first == second == "a red sofa"
    np.testing.assert_array_equal(whole, edit.edited)
    np.testing.assert_array_equal(part, edit.edited * edit.mask[..., None])


def test_nothing_to_change_is_undefined(edit: Any):
    metric = Measured(METRICS["clip_edited"], PLAIN, of_edited(nothing))
    assert math.isnan(metric(edit.source, edit.edited, np.zeros(edit.mask.shape, bool), ""))


def test_structure_is_that_of_whole_pictures(edit: Any):
    given: list[Any] = []

    def distance(*pictures: Any) -> float:
        given.extend(pictures)
        return 0.5

    assert (
        Measured(METRICS["structure"], PLAIN, of_structure(distance))(
            edit.source, edit.edited, edit.mask, ""
        )
        == 0.5
    )
    for picture, wanted in zip(given, edit[:2], strict=True):
        np.testing.assert_array_equal(picture, wanted)


def test_the_protocol_comes_before_every_metric(edit: Any):
    seen: list[Any] = []
    jpeg = read_protocol("jpeg-75")
    kinds = {
        "mse": of_kept(lambda a, b: seen.append((b * 255).round()) or 0.0),
        "structure": of_structure(lambda a, b: seen.append(b) or 0.0),
        "clip_whole": of_whole(lambda a, prompt: seen.append(a) or 0.0),
        "clip_edited": of_edited(lambda a, prompt: seen.append(a) or 0.0),
    }
    for name, kind in kinds.items():
        Measured(METRICS[name], jpeg, kind)(edit.source, edit.edited, edit.mask, "")
    kept, structure, whole, changed = (picture.astype(np.uint8) for picture in seen)
    assert (whole != edit.edited).any()
    np.testing.assert_array_equal(structure, whole)
    np.testing.assert_array_equal(kept + changed, whole)
