import torch

from scumble.sites import Site
from scumble_bench.peers.map_attention import Heads
from scumble_bench.peers.mutual_control import MutualControl

HEADS, CELLS, WIDTH = 2, 6, 4
SELF, CROSS = (Site(3, kind, kind, "up", 1, 8, HEADS) for kind in ("self", "cross"))


def heads() -> Heads:
    """Of four rows: without text source and target, then with text."""
    query, key, value = torch.randn(3, 4 * HEADS, CELLS, WIDTH, dtype=torch.float64)
    maps = (query @ key.transpose(1, 2) * WIDTH**-0.5).softmax(-1)
    return Heads(query, key, value, maps)


def test_the_target_of_each_half_asks_that_halfs_source():
    given = heads()
    found = MutualControl([0], [3]).attend(given, SELF).unflatten(0, (4, HEADS))
    query, key, value = (part.unflatten(0, (4, HEADS)) for part in given[:3])
    for row, asked in enumerate((0, 0, 2, 2)):
        for head in range(HEADS):
            scores = query[row, head] @ key[asked, head].T / WIDTH**0.5
            wanted = scores.softmax(-1) @ value[asked, head]
            torch.testing.assert_close(found[row, head], wanted)


def test_outside_its_steps_layers_and_kind_every_row_asks_itself():
    given = heads()
    plain = given.maps @ given.value
    control = MutualControl([1], [3])
    torch.testing.assert_close(control.attend(given, SELF), plain)
    control.end_step()
    assert (control.attend(given, SELF) - plain).abs().max() > 0.01
    torch.testing.assert_close(control.attend(given, CROSS), plain)
    other = Site(2, "self", "self", "up", 1, 8, HEADS)
    torch.testing.assert_close(control.attend(given, other), plain)
    control.end_step()
    torch.testing.assert_close(control.attend(given, SELF), plain)
