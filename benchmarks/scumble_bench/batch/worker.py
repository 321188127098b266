"""Makes edits, one after the other, each as it would be made in any other order or process.

An editor remembers pictures, and an edit that replays a source differs by rounding from one that
ran it. So that neither order nor a crash shows in a picture, an edit begins with its picture either
prepared or unknown, and the list alone says which: those of a picture with several are prepared.
"""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scumble import Editor, Run
from scumble.errors import ImageError, OptionError
from scumble_bench.work.pieces import Piece

__all__ = ["EditWorker"]


class EditWorker:
    """An editor that is loaded once.

    Args:
        settings: of a job made by `scumble_bench.batch.jobs`.

    Raises:
        ScumbleError: the model cannot be loaded.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._out = Path(settings["out"])
        self._editor = Editor.load(**settings["model"])
        self._prepared = ""  # the picture that was prepared last, and how
        self._vain: set[str] = set()  # requests that make no use of a picture that is prepared

    def __call__(self, piece: Piece) -> dict[str, Any]:
        """Make an edit, write its pictures, and return what it took.

        Raises:
            ScumbleError: the edit failed; nothing is written.
        """
        begun = time.perf_counter()
        try:
            prepared = self._prepare(piece.payload)
            run = self._edited(piece.payload)
        except BaseException:
            self._forget()  # half a run may have left anything
            raise
        if self._prepared and "inversion" in run.rows:
            # It inverted all the same, and what it left behind is no part of being prepared.
            self._vain.add(_way(piece.payload))
            self._forget()
        paths = run.save(self._out / f"{piece.payload['name']}.png")
        return {
            "images": [path.name for path in paths],
            "rows": run.rows,
            "row_count": run.row_count,
            "prepared": prepared,
            "seconds": round(time.perf_counter() - begun, 3),
            "notes": list(run.notes),
        }

    def close(self) -> None:
        """Free the device."""
        self._editor.close()

    def _prepare(self, asked: Mapping[str, Any]) -> int:
        """Have the picture prepared, or forgotten; return the row evaluations that it took."""
        shared = asked["prepare"]
        if shared is None or _way(asked) in self._vain:
            self._forget()
            return 0
        wanted = json.dumps([asked["picture"], shared], sort_keys=True)
        if wanted == self._prepared:
            return 0
        rows = self._editor.session.rows
        rows.clear()
        # An inversion that pins no source leaves nothing to replay: its latents are kept all the
        # same, and what else is wrong the edit will say.
        with suppress(OptionError):
            self._editor.prepare(asked["picture"][0], **shared)
        self._prepared = wanted
        return sum(rows.values())

    def _edited(self, asked: Mapping[str, Any]) -> Run:
        request = dict(asked["request"])
        run = self._editor.edit(
            None if asked["picture"] is None else asked["picture"][0],
            source=request.pop("source"),
            target=request.pop("targets"),
            mask={name: path for name, (path, _) in asked["masks"].items()},
            **request,
        )
        for name, sha256 in asked["was"].items():
            if run.recipe["sources"][name]["sha256"] != sha256:
                raise ImageError(f"the {name} of the recipe was another one; give the original.")
        return run

    def _forget(self) -> None:
        self._editor.session.sources.clear()
        self._prepared = ""


def _way(asked: Mapping[str, Any]) -> str:
    """Return how an edit is made, whatever its words: what decides whether it inverts anew."""
    how = {name: v for name, v in asked["request"].items() if name not in ("source", "targets")}
    return json.dumps(how, sort_keys=True)
