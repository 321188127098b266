"""The command line: `scumble edit | generate | maps | ...`, and what other packages bring."""

from scumble.cli.app import main

__all__ = ["main"]
