"""From what a user asked for to a loaded model: which engine, in which form, with what memory."""

from pathlib import Path

from scumble.engine import GUIDED, Engine, EngineSettings, engines_with
from scumble.engine_choice import choose_engine
from scumble.errors import EngineError, UnsupportedError
from scumble.models import Checkpoint, find_checkpoint
from scumble.plugins import load_entry
from scumble.requests import EngineRequest
from scumble.session import Session

__all__ = ["open_session"]


def open_session(
    asked: EngineRequest, source_memory: int, source_folder: Path | None
) -> tuple[Session, str]:
    """Return a session, and the name of its engine.

    Args:
        asked: model, engine and how it is to run.
        source_memory: bytes that recorded sources may take on the device.
        source_folder: where they are kept on disk too, or None.

    Raises:
        ModelError: no such model, or a folder that is no checkpoint.
        EngineError: the engine's runtime is not installed, or cannot use the device.
        UnsupportedError: an engine was named for gradients that has none.
    """
    found = find_checkpoint(
        asked.model, revision=asked.revision, local_files_only=asked.local_files_only
    )
    name = asked.engine or choose_engine(found, asked)
    settings = EngineSettings(asked.precision, asked.device, asked.threads, asked.mode)
    session = _opened(found, name, settings, source_memory, source_folder)
    try:
        if asked.gradient_engine not in (None, name):
            other = _opened(found, str(asked.gradient_engine), settings, 0, None)
            session.take_gradients_from(other)
        if asked.gradient_engine is not None and not session.gradients.engine.supports(GUIDED):
            others = ", ".join(engines_with(GUIDED)) or "none that is installed"
            raise UnsupportedError(
                f"engine {asked.gradient_engine!r} has no gradients for this model; engines that "
                f"could: {others}."
            )
    except BaseException:
        session.close()
        raise
    return session, name


def _opened(
    found: Checkpoint,
    name: str,
    settings: EngineSettings,
    source_memory: int,
    source_folder: Path | None,
) -> Session:
    listed, kind = load_entry("scumble.engines", name, "engine")
    if not (isinstance(kind, type) and issubclass(kind, Engine)):
        raise EngineError(f"engine {name!r} of {listed.origin} is no scumble.Engine.")
    form = found.in_form(kind.runs)
    return Session(form, kind(settings), budget=source_memory, folder=source_folder)
