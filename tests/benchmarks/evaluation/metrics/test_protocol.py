"""Quirks by name."""

import pytest

from scumble.errors import OptionError
from scumble_bench.evaluation.metrics.protocol import (
    OPTIONS,
    PROTOCOLS,
    MetricProtocol,
    read_protocol,
)


def test_the_published_protocol_has_every_quirk_and_the_plain_one_none():
    published = read_protocol("pie-bench")
    assert (published.jpeg_quality, published.dino_top) == (75, 255)
    assert (published.dino_antialias, published.ssim_cropped) == (False, True)
    plain = read_protocol("plain")
    assert (plain.jpeg_quality, plain.dino_top) == (None, 1)
    assert (plain.dino_antialias, plain.ssim_cropped) == (True, False)


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_one_thing(option: str):
    one = read_protocol(option)
    assert one.options == {option}
    seen = {
        "jpeg-75": one.jpeg_quality is not None,
        "dino-255": one.dino_top == 255,
        "dino-aliased": not one.dino_antialias,
        "ssim-cropped": one.ssim_cropped,
    }
    assert [name for name, on in seen.items() if on] == [option]


@pytest.mark.parametrize("text", [*PROTOCOLS, "dino-255", "jpeg-75,dino-aliased"])
def test_a_name_is_read_back(text: str):
    assert read_protocol(text).name == text


def test_all_options_are_the_published_protocol_in_any_order():
    assert read_protocol(" dino-aliased, dino-255 ,ssim-cropped,jpeg-75").name == "pie-bench"
    assert MetricProtocol().name == "plain"


@pytest.mark.parametrize("text", ["pie_bench", "jpeg-75,plain", "jpeg-75,jpeg-90", "", " , "])
def test_what_is_no_protocol_is_refused(text: str):
    with pytest.raises(OptionError, match="write one of pie-bench, plain"):
        read_protocol(text)
