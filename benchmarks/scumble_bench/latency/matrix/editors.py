"""Loaded models, each once, however many cells of the matrix they serve."""

import gc
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from scumble import Editor
from scumble_bench.latency.interleaving import cause_of
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.parts import SOURCE_MEMORY

__all__ = ["Editors"]


class Editors:
    """Editors by model, engine and precision; use it as a context manager.

    Args:
        device: `auto`, `cpu` or `cuda`.
        threads: of every runtime; None leaves their own choice.
    """

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        self.device = device
        self.threads = threads
        self._loaded: dict[tuple[str, str, str], Editor] = {}
        self._failed: dict[tuple[str, str, str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def of(self, model: str, engine: str, precision: str) -> Editor:
        """Return the editor, loaded now if it is not.

        Raises:
            RuntimeError: it could not be loaded, now or before.
        """
        key = model, engine, precision
        if key in self._failed:
            raise RuntimeError(self._failed[key])
        if key not in self._loaded:
            try:
                self._loaded[key] = self.fresh(model, engine, precision)
            # Whatever hinders an engine is what its cells report.
            except Exception as error:
                self._failed[key] = cause_of(error)
                raise RuntimeError(self._failed[key]) from error
        return self._loaded[key]

    def for_cell(self, spec: CellSpec) -> Editor:
        """Return the editor of a cell; raises as `of`."""
        return self.of(spec.model, spec.engine, spec.precision)

    def fresh(self, model: str, engine: str, precision: str) -> Editor:
        """Return another editor, which the caller closes."""
        settings: dict[str, Any] = {"precision": precision, "device": self.device}
        return Editor.load(
            model, engine, threads=self.threads, source_memory=SOURCE_MEMORY, **settings
        )

    def close(self) -> None:
        """Free every device."""
        closing: list[Callable[[], None]] = [editor.close for editor in self._loaded.values()]
        self._loaded.clear()
        for close in closing:
            close()
        gc.collect()
