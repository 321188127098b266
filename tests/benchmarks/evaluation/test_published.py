"""The published rows: as printed, and bound to presets that exist."""

import pytest

from scumble.plugins import list_entries
from scumble_bench.evaluation.methods import METHODS
from scumble_bench.evaluation.metrics.metric import METRICS
from scumble_bench.evaluation.published import PUBLISHED, note


def test_there_are_eleven_rows_of_every_metric():
    assert len(PUBLISHED) == 11
    assert all(set(row.scaled) == set(METRICS) for row in PUBLISHED)
    assert len({row.label for row in PUBLISHED}) == 11


@pytest.mark.parametrize(
    ("label", "metric", "value"),
    [
        ("P2P, DDIM (published)", "structure", 69.43),
        ("P2P, Direct (published)", "psnr", 27.22),
        ("P2P, NTI (published)", "clip_edited", 21.86),
        ("MasaCtrl, Direct (published)", "lpips", 87.94),
        ("P2P-Zero, DDIM (published)", "mse", 144.12),
        ("PnP, Direct (published)", "ssim", 79.68),
        ("PnP, DDIM (published)", "clip_whole", 25.41),
    ],
)
def test_figures_are_as_printed(label: str, metric: str, value: float):
    (row,) = [row for row in PUBLISHED if row.label == label]
    assert row.scaled[metric] == value


def test_presets_are_bound_once_and_exist():
    pairs = [row.preset for row in PUBLISHED if row.preset is not None]
    assert len(pairs) == len(set(pairs)) == 8
    assert {method for method, _ in pairs} == set(METHODS)
    assert {inversion for _, inversion in pairs} <= set(list_entries())


def test_the_checkpoints_are_told():
    assert {row.method for row in PUBLISHED if row.model.endswith("1.5")} == {"PnP"}
    assert "over 20 on 'rooms'" in note("rooms", 20)
