"""SqueezeNet 1.1 against what is published of it."""

import torch

from scumble_bench.evaluation.metrics.squeezenet import CHANNELS, SqueezeNet

PUBLISHED = 1_235_496  # weights of torchvision's squeezenet1_1
CLASSIFIER = 512 * 1000 + 1000


def test_there_are_as_many_weights_as_published():
    count = sum(value.numel() for value in SqueezeNet().parameters())
    assert count == PUBLISHED - CLASSIFIER


def test_the_outputs_are_those_that_lpips_compares():
    with torch.inference_mode():
        outputs = SqueezeNet()(torch.rand(2, 3, 64, 64))
    assert tuple(output.shape[1] for output in outputs) == CHANNELS
    assert [output.shape[2] for output in outputs] == [31, 15, 7, 3, 3, 3, 3]
    assert all(float(output.min()) >= 0 for output in outputs), "each lies behind a ReLU"
