"""What processors share."""

import torch

from scumble.sites import Site
from scumble_engines.torch.controls import Controls, read_gate

SITE = Site(1, "down.attn2", "cross", "down", 1, 8, 2)


def test_a_mix_is_off_where_its_gate_is():
    rows, tokens = 2, 3
    source = torch.arange(18.0).reshape(rows, tokens, tokens)
    controls = Controls(
        mix_source=source,
        mix_own=torch.full((rows, tokens), 0.25),
        mix_sites=torch.tensor([[1.0, 1.0], [0.0, 1.0]]),
    )
    matrix, own = controls.mix(SITE)
    assert matrix.tolist() == [[[0.0] * 3] * 3, source[1].tolist()]
    assert own.tolist() == [[1.0] * 3, [0.25] * 3]


def test_gates_of_sites_add_up_to_their_mean():
    gate = read_gate(torch.tensor([1.0, 0.0, 1.0]))
    assert gate is not None
    assert gate.tolist() == [0.5, 0.0, 0.5]
    nothing = read_gate(torch.zeros(3))
    assert nothing is not None
    assert nothing.tolist() == [0.0] * 3
    assert read_gate(None) is None
