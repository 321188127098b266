"""Who makes and scores one edit of a row: the worker of `scumble_bench.work`."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from PIL import Image

from scumble import Editor
from scumble.engine import GUIDED
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.methods.cases import CaseSet, Kind, case_of
from scumble_bench.rooms.methods.rows import Row, cases_of
from scumble_bench.rooms.methods.scoring import make, score
from scumble_bench.work.pieces import Piece

__all__ = ["WORKER", "Engines", "MethodWorker", "pieces_of", "values_of"]

WORKER = f"{__name__}:MethodWorker"


def pieces_of(rows: Sequence[Row], sets: Mapping[Kind, CaseSet]) -> list[Piece]:
    """Return a piece for each row and each of its cases, row by row.

    Args:
        rows: of the table.
        sets: kind -> the cases.
    """
    return [
        Piece(
            f"{row.task}.{row.slug}.{number:03d}",
            {"row": row.as_json(), "seed": case.seed, "number": number},
        )
        for row in rows
        for number, case in enumerate(sets[cases_of(row.task)].cases)
    ]


def values_of(row: Row, pieces: Sequence[Piece], done: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return what was done of a row, in the order of its pieces."""
    mine = {piece.key for piece in pieces if piece.payload["row"] == row.as_json()}
    return [one for one in done if one["key"] in mine]


class MethodWorker:
    """Makes edits, and has the judge look at them.

    Args:
        settings: `model` and `threads` as `Editor.load` takes them, `steps`; `engine`, None for the
            quickest; `pictures`, a folder for the results, None for none.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._judge = Judge.load(CHECKPOINT / "judge")
        self._engines = Engines(settings["model"], settings["threads"], settings.get("engine"))
        self._steps = int(settings["steps"])
        folder = settings.get("pictures")
        self._pictures = None if folder is None else Path(folder)
        if self._pictures is not None:
            self._pictures.mkdir(parents=True, exist_ok=True)

    def __call__(self, piece: Piece) -> Mapping[str, Any]:
        """Make an edit, and return what was measured of it."""
        row, number = Row(**piece.payload["row"]), int(piece.payload["number"])
        case = case_of(cases_of(row.task), piece.payload["seed"])
        editor = self._engines.for_row(row)
        made = make(editor, row, case, number, self._steps)
        if self._pictures is not None:
            Image.fromarray(made.after).save(self._pictures / f"{piece.key}.png")
        values = score(row.task, case, made, self._judge, editor)
        engine = editor.session.provenance()["engine"]
        return {"values": {name: float(value) for name, value in values.items()}, "engine": engine}

    def close(self) -> None:
        """Give back the engines."""
        self._engines.close()


class Engines:
    """Editors of one model by engine, each loaded when it is first asked for.

    Args:
        model: as `Editor.load` takes it.
        threads: likewise.
        engine: for every row; None is onnxruntime where that will do.
    """

    def __init__(self, model: str, threads: int | None, engine: str | None = None) -> None:
        self._model, self._threads, self._engine = model, threads, engine
        self._open: dict[str, Editor] = {}
        self._stack = ExitStack()

    def for_row(self, row: Row) -> Editor:
        """Return an editor that remembers no sources, of an engine that can do what a row needs."""
        if self._engine is not None:
            return self._of(self._engine)
        quick = self._of("onnxruntime")
        if row.gradients and not quick.session.engine.supports(GUIDED):
            return self._of("torch")
        return quick

    def close(self) -> None:
        """Free the devices."""
        self._stack.close()
        self._open.clear()

    def _of(self, engine: str) -> Editor:
        if engine not in self._open:
            loaded = Editor.load(self._model, engine, source_memory=0, threads=self._threads)
            self._open[engine] = self._stack.enter_context(loaded)
        return self._open[engine]
