"""Makes the gallery: `python -m scumble_bench.gallery`, or `make gallery`.

Runs each entry's command as it is printed, keeps its strip as a small JPEG in
docs/pictures/gallery/, and writes docs/gallery.md. What is said below a picture was written by
someone who looked at it: after making pictures anew, look again.
"""

import argparse
import contextlib
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from scumble.cli import main as scumble
from scumble_bench.gallery_entries import ENTRIES, SCENES, SHOWN, Entry
from scumble_bench.rooms import world

__all__ = ["draw_scenes", "main", "page", "parser", "shown_command"]

ROOT = Path(__file__).resolve().parents[2]
PAGE = "docs/gallery.md"
QUALITY = 88
WIDTH = 96
INTRODUCTION = (
    "# Gallery\n\n"
    "Edits by the demo model, [*rooms*](guides/the-demo-world.md): what works, and what fails. A "
    "picture is the strip that its command writes, as a JPEG: the source on the left, the result "
    "on the right. The commands are run in the root of the repository, with the seed that they "
    "name; `make gallery` runs them all and writes this page.\n\n"
    "These pictures were chosen to show something. How often a method succeeds on scenes that "
    "nobody chose is [measured](../benchmarks/results/methods.json) by `make quality`. The model "
    "was trained on two CPU cores: it draws softly, and fewer than half of the poses that a prompt "
    "names.\n"
)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="scumble_bench.gallery", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [entry.name for entry in ENTRIES]
    made.add_argument("--root", type=Path, default=ROOT, help="of the repository")
    made.add_argument("--only", nargs="*", choices=names, help="pictures to make; all")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the pictures and write the page."""
    chosen = parser().parse_args(arguments)
    wanted = [entry for entry in ENTRIES if chosen.only is None or entry.name in chosen.only]
    folder: Path = chosen.root / SHOWN
    draw_scenes(folder)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("gallery", total=len(wanted))
        for entry in wanted:
            progress.update(task, description=entry.name)
            _make(entry, chosen.root, folder)
            progress.advance(task)
    (chosen.root / PAGE).write_text(page(ENTRIES), encoding="utf-8")
    return 0


def draw_scenes(folder: Path) -> None:
    """Draw the held-out scenes that entries edit, and the masks that are asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (seed, noun) in SCENES.items():
        scene = world.scene(seed)
        Image.fromarray(scene.image).save(folder / f"{name}.png", optimize=True)
        for item in scene.items:
            if item.noun == noun:
                Image.fromarray(item.mask).save(folder / f"{name}-{noun}.png", optimize=True)


def page(entries: Sequence[Entry]) -> str:
    """Return the page, as Markdown."""
    parts = [INTRODUCTION]
    for entry in entries:
        verdict = "" if entry.works else "**Fails.** "
        picture = f"{SHOWN.removeprefix('docs/')}/{entry.name}.jpg"
        parts.append(
            f"## {entry.title}\n\n![before and after, {entry.name}]({picture})\n\n"
            f"{verdict}{entry.caption}\n\n```console\n{shown_command(entry)}\n```\n"
        )
    return "\n".join(parts)


def shown_command(entry: Entry) -> str:
    """Return the command as it is typed, broken before flags where it is long."""
    groups: list[list[str]] = [["scumble"]]
    for word in entry.command:
        if word.startswith("--"):
            groups.append([])
        groups[-1].append(word)
    lines = ["$"]
    for group in map(shlex.join, groups):
        if len(lines[-1]) + len(group) >= WIDTH:
            lines[-1] += " \\"
            lines.append(">    ")
        lines[-1] += f" {group}"
    return "\n".join(lines)


def _make(entry: Entry, root: Path, folder: Path) -> None:
    """Run an entry's command, elsewhere, and keep its strip."""
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(root):
        words = [
            str(Path(work) / word) if before in ("--out", "--strip") else word
            for before, word in zip(("", *entry.command), entry.command, strict=False)
        ]
        try:
            scumble([*words, "--quiet"])
        except SystemExit as left:
            if left.code:
                raise RuntimeError(f"{shlex.join(entry.command)} ended with {left.code}") from None
        with Image.open(Path(work) / f"{entry.name}-strip.png") as strip:
            strip.convert("RGB").save(folder / f"{entry.name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
