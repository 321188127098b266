"""Who makes the edits of rows: pieces, engines, and what is left of an edit."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble_bench.rooms.methods import worker
from scumble_bench.rooms.methods.cases import CaseSet
from scumble_bench.rooms.methods.rows import Row
from scumble_bench.rooms.methods.scoring import Made
from scumble_bench.rooms.methods.worker import Engines, MethodWorker, pieces_of, values_of
from scumble_bench.work.pieces import Piece

LAYOUT, COLOUR = Row("a", "layout", None), Row("a", "colour", "sdedit", {"strength": 0.5})


def sets(count: int) -> Any:
    cases: Any = tuple(SimpleNamespace(seed=10 + number) for number in range(count))
    return {"layout": CaseSet(cases, 1, 0), "colour": CaseSet(cases[::-1], 1, 0)}


def test_a_piece_for_each_row_and_case():
    pieces = pieces_of([LAYOUT, COLOUR], sets(3))
    told = [(p.payload["row"]["task"], p.payload["seed"], p.payload["number"]) for p in pieces]
    assert told == [
        ("layout", 10, 0), ("layout", 11, 1), ("layout", 12, 2),
        ("colour", 12, 0), ("colour", 11, 1), ("colour", 10, 2),
    ]  # fmt: skip
    assert len({piece.key for piece in pieces}) == 6


def test_rows_get_back_what_is_theirs():
    pieces = pieces_of([LAYOUT, COLOUR], sets(2))
    done = [{"key": piece.key, "n": number} for number, piece in enumerate(pieces)]
    assert [one["n"] for one in values_of(COLOUR, pieces, done[::-1])] == [3, 2]
    assert [one["n"] for one in values_of(LAYOUT, pieces, done[1:])] == [1]


class Loaded:
    """Stands for an editor; notes what was loaded, and has gradients only as torch."""

    asked: list[tuple[str, str, dict[str, Any]]]
    closed: int

    def __init__(self, engine: str) -> None:
        self.session = SimpleNamespace(
            engine=SimpleNamespace(supports=lambda groups: engine == "torch"),
            provenance=lambda: {"engine": engine},
        )

    def __enter__(self) -> "Loaded":
        return self

    def __exit__(self, *details: object) -> None:
        Loaded.closed += 1

    @classmethod
    def load(cls, model: str, engine: str, **given: Any) -> "Loaded":
        cls.asked.append((model, engine, given))
        return cls(engine)


@pytest.fixture(autouse=True)
def _loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    Loaded.asked, Loaded.closed = [], 0
    monkeypatch.setattr(worker, "Editor", Loaded)


def test_gradients_come_from_an_engine_that_has_them():
    mag, plain = Row("a", "crowded", "mag_edit", gradients=True), Row("b", "crowded", None)
    engines = Engines("rooms", 1)
    assert engines.for_row(plain).session.provenance()["engine"] == "onnxruntime"
    assert engines.for_row(mag).session.provenance()["engine"] == "torch"
    engines.for_row(plain)
    memory = {"source_memory": 0, "threads": 1}
    assert Loaded.asked == [("rooms", "onnxruntime", memory), ("rooms", "torch", memory)]
    engines.close()
    assert Loaded.closed == 2


def test_an_engine_that_was_named_runs_everything():
    engines = Engines("rooms", None, "openvino")
    for row in (LAYOUT, Row("a", "crowded", "mag_edit", gradients=True)):
        assert engines.for_row(row).session.provenance()["engine"] == "openvino"
    assert len(Loaded.asked) == 1


def test_an_edit_is_made_scored_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    after = np.full((8, 8, 3), 9, np.uint8)
    monkeypatch.setattr(worker, "case_of", lambda kind, seed: (kind, seed))
    monkeypatch.setattr(worker, "make", lambda editor, row, case, number, steps: Made(
        np.zeros_like(after), after, number, steps
    ))  # fmt: skip
    monkeypatch.setattr(worker, "score", lambda task, case, made, judge, editor: {
        "success": np.float64(case[1]), "rows": made.rows, "gradients": made.gradients
    })  # fmt: skip
    settings = {"model": "rooms", "threads": 1, "steps": 4, "pictures": str(tmp_path / "out")}
    doer = MethodWorker(settings)
    row = doer(Piece("k", {"row": LAYOUT.as_json(), "seed": 77, "number": 3}))
    assert row == {
        "values": {"success": 77.0, "rows": 3.0, "gradients": 4.0}, "engine": "onnxruntime"
    }  # fmt: skip
    assert {type(value) for value in row["values"].values()} == {float}
    with Image.open(tmp_path / "out/k.png") as image:
        assert (np.asarray(image) == after).all()
    doer.close()
    assert Loaded.closed == 1
