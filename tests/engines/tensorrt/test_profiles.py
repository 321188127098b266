"""How many rows a graph is built for."""

from typing import Any

import pytest

from scumble.errors import EngineError
from scumble.packs import Manifest
from scumble_engines.tensorrt.profiles import Profile, profile_of


@pytest.mark.parametrize(
    ("part", "rows", "counts"),
    [
        ("routed", (1, 8), (1, 3, 8)),
        ("plain", (2, 2), (2, 2, 2)),
        ("plain", (4, 8), (4, 4, 8)),
        ("text_encoder", (1, 8), (1, 1, 8)),
        ("vae_encoder", (1, 8), (1, 1, 1)),
        ("vae_decoder", (1, 8), (1, 1, 2)),
        ("vae_decoder", (1, 1), (1, 1, 1)),
    ],
)
def test_profiles(manifest: Manifest, part: str, rows: tuple[int, int], counts: Any):
    assert profile_of(manifest.model_copy(update={"rows": rows}), part).counts == counts


def test_open_axes_take_the_rows_and_a_replayed_one_more():
    rows = Profile(1, 3, 8)
    assert rows.shapes("sample", (-1, 4, 16, 16), ("rows", None, None, None)) == (
        (1, 4, 16, 16), (3, 4, 16, 16), (8, 4, 16, 16),
    )  # fmt: skip
    assert rows.shapes("route", (8, 3, -1), (None, None, "rows")) == (
        (8, 3, 1),
        (8, 3, 3),
        (8, 3, 8),
    )
    weights = rows.shapes("read.weights", (-1, 2, 40), ("rows + 1", None, None))
    assert weights == ((2, 2, 40), (4, 2, 40), (9, 2, 40))


def test_a_fixed_shape_has_no_profile():
    assert Profile(1, 1, 1).shapes("pixels", (1, 3, 32, 32), (None,) * 4) is None


@pytest.mark.parametrize("axis", ["height", None, ""])
def test_another_open_axis_is_refused(axis: str | None):
    with pytest.raises(EngineError, match=r"port 'x' is open along .*, and only rows, rows \+ 1"):
        Profile(1, 3, 8).shapes("x", (-1, 4), (axis, None))
