"""Prompts as ports: a row each, and what SDXL's UNet is told beside the text."""

import numpy as np

from scumble.embeddings import Embedding, text_ports


def test_one_prompt_of_several():
    states, pooled = np.arange(24.0).reshape(2, 3, 4), np.arange(10.0).reshape(2, 5)
    one = Embedding(states, pooled).of(1)
    assert np.array_equal(one.states, states[1])
    assert one.pooled is not None
    assert np.array_equal(one.pooled, pooled[1])
    assert Embedding(states).of(0).pooled is None


def test_text_alone():
    first, second = np.zeros((3, 4)), np.ones((3, 4))
    ports = text_ports([Embedding(first), Embedding(second)], (64, 32))
    assert set(ports) == {"text"}
    assert np.array_equal(ports["text"], np.stack([first, second]))


def test_pooled_text_comes_with_the_size():
    rows = [Embedding(np.full((3, 4), float(i)), np.full(5, float(i))) for i in range(2)]
    ports = text_ports(rows, (64, 32))
    assert ports["added.text"].tolist() == [[0] * 5, [1] * 5]
    assert ports["added.size"].tolist() == [[64, 32, 0, 0, 64, 32]] * 2
    assert ports["added.size"].dtype.kind == "f"
