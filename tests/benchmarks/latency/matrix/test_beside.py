from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble_bench.latency.interleaving import interleave
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.beside import PeerCell, beside
from scumble_bench.latency.matrix.editors import Editors
from scumble_bench.peers.peer import PEERS, PeerEntry, PeerRun

REFERENCE = next(entry for entry in PEERS if entry.name == "reference prompt_to_prompt")


def spec(model: object = "rooms", method: str = "prompt_to_prompt") -> CellSpec:
    return CellSpec(method, "torch", "fp32", str(model), (32, 32), 2, "first")


class Fake:
    """A peer that is off by so much, and the editor it is compared with."""

    def __init__(self, off: float, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        wanted = np.ones((2, 4, 4, 4))
        latents = wanted.copy()
        latents[1, 0, 0, 0] += off
        made = PeerRun(latents, {"edit": 8}, 3, np.zeros((8, 8, 3), np.uint8))
        peer = type("Peer", (), {"run": lambda self, work, picture: made})()

        def load(entry: object, model: str, precision: str, *more: Any) -> object:
            self.asked.append(precision)
            return peer

        monkeypatch.setattr(PeerEntry, "load", load)
        monkeypatch.setattr(PeerEntry, "ours", lambda *given: wanted)
        monkeypatch.setattr(Editors, "of", lambda *given: None)


@pytest.mark.parametrize("off", [0.9e-3, 1.1e-3, float("nan")])
def test_only_a_peer_that_agrees_has_a_time(off: float, monkeypatch: pytest.MonkeyPatch):
    Fake(off, monkeypatch)
    cell = PeerCell(REFERENCE, spec(), Editors())
    made = cell.measured(interleave(cell.cell(), rounds=2), cell.name)
    assert made.peer
    assert made.tolerance == REFERENCE.tolerance == 1e-3
    if off < 1e-3:
        assert made.failure is None
        assert made.agreement == pytest.approx(off)
        assert (made.rows, made.gradients, len(made.seconds)) == (8, 3, 2)
        assert made.ratio is not None
    else:
        assert made.failure is not None
        assert "differ from ours" in made.failure
        assert (made.seconds, made.ratio) == ((), None)


def test_a_lower_precision_is_compared_in_fp32_and_says_so(monkeypatch: pytest.MonkeyPatch):
    fake = Fake(0, monkeypatch)
    low = CellSpec("prompt_to_prompt", "torch", "bf16", "rooms", (32, 32), 2, "first")
    cell = PeerCell(REFERENCE, low, Editors())
    made = cell.measured(interleave(cell.cell(), rounds=1), cell.name)
    assert fake.asked == ["bf16", "fp32"]
    assert any("fp32" in note for note in made.notes)


def test_a_peer_stands_beside_cells_of_its_method_once():
    plain = next(entry for entry in PEERS if entry.method == "generate")
    own = [
        spec(),
        CellSpec("prompt_to_prompt", "onnxruntime", "fp32", "rooms", (32, 32), 2, "next"),
    ]
    found = beside((plain, REFERENCE), own, Editors())
    assert [cell.entry for cell in found] == [plain, REFERENCE]
    found = beside((plain, REFERENCE), [spec(method="masactrl")], Editors())
    assert [cell.entry for cell in found] == [plain]


@pytest.mark.thorough
def test_the_reference_way_agrees_and_is_timed(small: Path):
    with Editors("cpu", 1) as editors:
        cell = PeerCell(REFERENCE, spec(small), editors)
        made = cell.measured(interleave(cell.cell(), rounds=1, warmup=0), cell.name)
    assert made.failure is None
    assert made.agreement is not None
    assert made.agreement < 1e-3
    assert made.rows == 18
