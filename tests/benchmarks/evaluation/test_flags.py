"""What the flags of measuring mean."""

from pathlib import Path

import pytest

from scumble.errors import OptionError
from scumble_bench.evaluation.flags import Measuring
from scumble_bench.evaluation.metrics.metric import METRICS


def test_without_files_only_what_needs_none_is_measured():
    assert Measuring().chosen() == ["psnr", "mse", "ssim"]


def test_a_file_brings_its_metrics():
    given = Measuring(clip=Path("c"), lpips=Path("l"), dino=Path("d"))
    assert given.chosen() == list(METRICS)
    assert given.files == {"clip": "c", "lpips": "l", "dino": "d"}


def test_named_metrics_come_in_the_order_of_the_table():
    assert Measuring(metric=["ssim", "psnr"]).chosen() == ["psnr", "ssim"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (Measuring(metric=["fid"]), "no metric 'fid'; there are: structure, psnr"),
        (Measuring(metric=["lpips"]), "metric 'lpips' needs --lpips; give it"),
    ],
)
def test_what_cannot_be_measured(flags: Measuring, said: str):
    with pytest.raises(OptionError, match=said):
        flags.chosen()


def test_quirks_and_size():
    assert (Measuring().quirks(), Measuring().size()) == ("pie-bench", "published")
    assert Measuring(protocol="jpeg-75").quirks() == "jpeg-75"
    assert Measuring(measured_at="model").size() == "model"
    with pytest.raises(OptionError, match="'huge'; write published or model"):
        Measuring(measured_at="huge").size()
    with pytest.raises(OptionError, match="'exactly'"):
        Measuring(protocol="exactly").quirks()
