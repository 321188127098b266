"""The child of `scumble.cli.plugin_test`: makes one plugin's checks, a line of JSON for each."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from scumble.cli.reporting import hushed, one_line
from scumble.errors import ScumbleError
from scumble.testing.plugin_contract import FAKE, Finding, findings
from scumble.testing.subject import Subject

__all__ = ["main", "tried"]


def tried(plugin: str, engines: Sequence[str]) -> Iterator[Finding]:
    """Yield whether a plugin loads, and if so what comes of every check."""
    with hushed():
        try:
            Subject.of(plugin)
        except ScumbleError as error:
            yield Finding("loads", FAKE, "failed", one_line(str(error)))
            return
        yield Finding("loads", FAKE, "passed", "it is a plugin, with hooks that there are.")
        yield from findings(plugin, engines)


def main() -> None:
    """Read the search path, the plugin and the engines from stdin, and report."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    # What a plugin writes, even from C, goes nowhere: only findings reach the parent.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as reports:
        os.dup2(2, 1)
        for found in tried(asked["plugin"], asked["engines"]):
            print(json.dumps(asdict(found)), file=reports, flush=True)


if __name__ == "__main__":
    main()
