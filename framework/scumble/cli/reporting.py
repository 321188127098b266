"""What reaches the terminal when something goes wrong: one sentence, or nothing at all."""

import os
import sys
import traceback
import warnings
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout

__all__ = ["BUG", "INTERRUPTED", "MISUSED", "debugging", "hushed", "one_line", "report", "shown"]

MISUSED = 2  # exit codes
BUG = 1
INTERRUPTED = 130
LONGEST = 1000  # characters of a message; a plugin's own may be a whole file

QUIET = {
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def debugging() -> bool:
    """Return True where the user wants tracebacks and the libraries' warnings."""
    return os.environ.get("SCUMBLE_DEBUG", "") not in ("", "0")


def shown(text: str) -> str:
    """Return text that a terminal shows and does not obey: no control characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(message: str) -> str:
    """Return a message on one line, printable and of bearable length."""
    line = shown(" ".join(message.split()))
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def report(message: str, error: BaseException | None = None) -> None:
    """Print one sentence on stderr, after the traceback of an error where that is wanted."""
    if error is not None and debugging():
        traceback.print_exception(error)
    print(f"scumble: {one_line(message)}", file=sys.stderr)


@contextmanager
def hushed() -> Generator[None]:
    """Keep what libraries and plugins print off stdout, and their warnings off the terminal.

    What they print on purpose goes to stderr; stdout is for results.
    """
    if debugging():
        with redirect_stdout(sys.stderr):
            yield
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with redirect_stdout(sys.stderr), warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield
