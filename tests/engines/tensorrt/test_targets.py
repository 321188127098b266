"""What a graph can be built for."""

from collections.abc import Callable
from typing import Any

import pytest

from scumble.errors import EngineError, OptionError
from scumble_engines.tensorrt.cuda import Device
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.targets import Target, read_targets, target_of

Sentence = Callable[[pytest.ExceptionInfo[BaseException]], str]


def test_targets_are_read_and_kept_in_order(fake: Library):
    kinds = fake.api.ComputeCapability
    found = read_targets("SM120, sm89,sm120", fake, None)
    assert found == (Target("sm120", kinds.SM120), Target("sm89", kinds.SM89))


def test_the_gpu_at_hand_is_the_target_of_its_capability(fake: Library, device: Device):
    named = read_targets("sm89", fake, None)
    assert read_targets("current", fake, device) == named
    assert read_targets("sm89,current", fake, device) == named
    assert target_of(fake, device) == named[0]


def test_a_gpu_without_a_named_capability_is_its_own_target(
    fake: Library, make_driver: Callable[..., Any]
):
    hopper = Device(make_driver(capability=(9, 0)), 0)
    assert target_of(fake, hopper) == Target("Fake GPU 0", fake.api.ComputeCapability.CURRENT)


def test_tensorrt_builds_for_the_gpu_at_hand_alone(
    fake_tensorrt: Library, device: Device, one_sentence: Sentence
):
    assert target_of(fake_tensorrt, device) == Target("Fake GPU 0", None)
    with pytest.raises(OptionError) as error:
        read_targets("sm89", fake_tensorrt, device)
    assert "it builds for current" in one_sentence(error)


@pytest.mark.parametrize("text", ["sm42", "", "sm89,,", "hopper"])
def test_an_unknown_target_names_those_there_are(fake: Library, text: str, one_sentence: Sentence):
    with pytest.raises(OptionError) as error:
        read_targets(text, fake, None)
    assert "it builds for sm89, sm120, current" in one_sentence(error)


def test_current_needs_a_gpu(fake: Library, fake_tensorrt: Library, one_sentence: Sentence):
    with pytest.raises(EngineError, match="no NVIDIA GPU with a working driver") as error:
        read_targets("current", fake, None)
    assert "name a target: sm89, sm120" in one_sentence(error)
    with pytest.raises(EngineError) as error:
        read_targets("current", fake_tensorrt, None)
    assert "name a target" not in one_sentence(error)
