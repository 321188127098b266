import warnings

import numpy as np
import pytest
from PIL import Image

from scumble.errors import NumericalError, OptionError
from scumble.maps import HEAT, AttentionMap

VALUES = np.array([[0, 1, 2], [3, 4, 8]], np.float32)
MAP = AttentionMap("cat", VALUES, "target")


def test_normalised_by_the_greatest():
    assert np.array_equal(MAP.normalised, VALUES / 8)
    assert MAP.normalised.dtype == np.float32


def test_values_are_nobody_elses():
    mine = VALUES.copy()
    attention = AttentionMap("cat", mine, "source")
    mine[:] = 0
    assert np.array_equal(attention.values, VALUES)
    with pytest.raises(ValueError, match="read-only"):
        attention.values[0] = 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e-3])
def test_impossible_attention(bad: float):
    with pytest.raises(NumericalError, match="'cat'"):
        AttentionMap("cat", np.array([[0, bad]], np.float32), "source")


@pytest.mark.parametrize("shape", [(3,), (1, 2, 3), (0, 4)])
def test_shape(shape: tuple[int, ...]):
    with pytest.raises(OptionError, match="two axes"):
        AttentionMap("cat", np.zeros(shape, np.float32), "source")


def test_side():
    with pytest.raises(OptionError, match="source, target"):
        AttentionMap("cat", VALUES, "left")  # type: ignore[arg-type]


def test_no_attention_is_empty_and_silent():
    none = AttentionMap("cat", np.zeros((4, 4), np.float32), "source")
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        assert not none.normalised.any()
        assert not none.mask(0).any()
        assert not none.mask(0.3, (9, 9)).any()
        assert np.asarray(none.heat((16, 16))).max() <= 4


def test_tiny_attention_counts_too():
    tiny = AttentionMap("cat", np.array([[0, 1e-45]], np.float32), "source")
    assert tiny.mask().tolist() == [[False, True]]


class TestHeat:
    def test_lightness_rises(self):
        ramp = AttentionMap("cat", np.arange(256, dtype=np.float32)[None], "source")
        linear = (np.asarray(ramp.heat())[0] / 255.0) ** 2.2
        luminance = linear @ (0.2126, 0.7152, 0.0722)
        lightness = 116 * np.cbrt(luminance) - 16
        steps = np.diff(lightness[32:].reshape(-1, 32)[:, 0])
        assert (np.diff(luminance) > -1e-3).all()
        assert steps.min() > 0.5 * steps.max(), "equal steps look about equal"

    def test_ends_and_anchors(self):
        ramp = AttentionMap("cat", np.arange(len(HEAT), dtype=np.float32)[None], "source")
        assert np.array_equal(np.asarray(ramp.heat())[0], HEAT)

    def test_own_size_and_any_size(self):
        assert MAP.heat().size == (3, 2)
        assert MAP.heat((20, 50)).size == (50, 20)
        assert MAP.heat((20, 50)).mode == "RGB"

    def test_scaled_up_smoothly(self):
        step = AttentionMap("cat", np.array([[0, 1]], np.float32), "source")
        row = np.asarray(step.heat((4, 64)))[0].astype(int).sum(axis=-1)
        assert len(np.unique(row)) > 16
        assert row[0] < 16
        assert row[-1] > 600

    def test_bad_size(self):
        with pytest.raises(OptionError, match="height, width"):
            MAP.heat((0, 4))


class TestOverlay:
    picture = Image.new("RGB", (30, 20), (10, 200, 30))

    def test_strength(self):
        assert MAP.overlay(self.picture, 0).tobytes() == self.picture.tobytes()
        assert MAP.overlay(self.picture, 1).tobytes() == MAP.heat((20, 30)).tobytes()
        found = np.asarray(MAP.overlay(self.picture)).astype(float)
        expected = 0.4 * np.asarray(self.picture) + 0.6 * np.asarray(MAP.heat((20, 30)))
        assert np.abs(found - expected).max() <= 1

    def test_any_mode(self):
        assert MAP.overlay(self.picture.convert("L")).mode == "RGB"

    @pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
    def test_range(self, strength: float):
        with pytest.raises(OptionError, match="0 to 1"):
            MAP.overlay(self.picture, strength)


class TestMask:
    def test_above_a_share_of_the_greatest(self):
        assert MAP.mask().tolist() == [[False, False, False], [True, True, True]]
        assert MAP.mask(0.375).tolist() == [[False, False, False], [False, True, True]]
        assert MAP.mask(0).sum() == 5

    def test_scaled_without_smoothing(self):
        assert np.array_equal(MAP.mask(0.4, (8, 12)), np.kron(MAP.mask(0.4), np.ones((4, 4), bool)))
        assert MAP.mask(0.4, (1, 1)).tolist() == [[MAP.mask(0.4)[1, 1]]]
        assert MAP.mask(0.4, (5, 7)).shape == (5, 7)

    @pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
    def test_range(self, threshold: float):
        with pytest.raises(OptionError, match="0 to 1"):
            MAP.mask(threshold)
