"""The code blocks of the README, the guides, the concepts and the tutorial run, in order.

A page has one folder, with the demo's pictures and masks in it, and one namespace for its Python
blocks.
In a shell block `scumble ...` is run and `make ...` must name a target; other commands need the
line `<!-- not run: reason -->` above the block.
"""

import contextlib
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "benchmarks/scumble_bench/pictures").glob("*.*"))
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/guides/*.md")),
    *sorted(ROOT.glob("docs/concepts/*.md")),
    *sorted(ROOT.glob("docs/tutorial/*.md")),
]
SHELL = {"console", "bash", "shell", "sh"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, text and first line, and the reason if it is not to be run."""

    language: str
    text: str
    line: int
    reason: str | None


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = page.splitlines()
    place = 0
    reason: str | None = None
    while place < len(lines):
        line = lines[place]
        note = re.fullmatch(r"\s*<!-- not run:\s*(.*?)\s*-->\s*", line)
        fence = re.fullmatch(r"(\s*)(`{3,}|~{3,})\s*([\w+-]*).*", line)
        if fence:
            indent, mark, language = fence.groups()
            first = place + 1
            place = first
            while place < len(lines) and lines[place].strip() != mark:
                place += 1
            assert place < len(lines), f"line {first}: the block is never closed"
            body = [text.removeprefix(indent) for text in lines[first:place]]
            found.append(Block(language.lower(), "\n".join(body), first + 1, reason))
        if note:
            reason = note.group(1)
        elif line.strip():
            reason = None
        place += 1
    return found


def commands(block: Block) -> list[tuple[int, list[str]]]:
    """The commands of a shell block with their lines; in a console block, those after `$`."""
    found: list[tuple[int, list[str]]] = []
    joined = ""
    start = block.line
    for number, line in enumerate(block.text.splitlines(), start=block.line):
        text = line.strip()
        if not joined:
            start = number
            if block.language == "console" and not text.startswith("$ "):
                continue
            text = text.removeprefix("$ ")
        else:
            text = text.removeprefix("> ")
        joined += text.removesuffix("\\")
        if text.endswith("\\"):
            continue
        words = shlex.split(joined, comments=True)
        joined = ""
        if words:
            found.append((start, words))
    return found


def call_scumble(arguments: list[str]) -> None:
    """Run the console script in this process; a non-zero exit is a failure."""
    (script,) = entry_points(group="console_scripts", name="scumble")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["scumble", *arguments])
        try:
            code = script.load()()
        except SystemExit as leave:
            code = leave.code
    assert not code, f"exit code {code}"


def run_page(page: str, name: str, scumble: Callable[[list[str]], None] = call_scumble) -> int:
    """Run the blocks of a page in the current folder; give the number of blocks that ran."""
    makefile = (ROOT / "Makefile").read_text()
    namespace: dict[str, object] = {"__name__": "__page__"}
    ran = 0
    for block in blocks(page):
        if block.reason is not None:
            assert block.reason, f"{name}:{block.line}: say why the block is not run"
            continue
        if block.language == "python":
            # Blank lines in front give a traceback the line numbers of the page.
            exec(compile("\n" * (block.line - 1) + block.text, name, "exec"), namespace)
        elif block.language in SHELL:
            for line, words in commands(block):
                where = f"{name}:{line}: {shlex.join(words)}"
                extra = [
                    word for word in words if word in {"|", "||", "&&", ";", "&", ">", ">>", "<"}
                ]
                assert not extra, f"{where}: {extra} needs a shell; mark the block as not run"
                if words[0] == "scumble":
                    print(where)
                    scumble(words[1:])
                elif words[0] == "make":
                    for target in (word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)):
                        assert re.search(rf"^{target}:", makefile, re.MULTILINE), (
                            f"{where}: no target"
                        )
                else:
                    pytest.fail(f"{where}: neither scumble nor make; mark the block as not run")
        else:
            continue
        ran += 1
    return ran


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder as a reader would have it: with the demo's pictures and masks in it."""
    for picture in PICTURES:
        shutil.copy(picture, tmp_path)
    with contextlib.chdir(tmp_path):
        yield tmp_path


@pytest.mark.thorough
@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_blocks_of_the_page_run(page: Path):
    run_page(page.read_text(), page.relative_to(ROOT).as_posix())


def test_the_method_of_the_tutorial_is_short():
    """Under 80 lines, docstrings and imports among them."""
    page = (ROOT / "docs/tutorial/write-a-plugin.md").read_text()
    first = next(block for block in blocks(page) if block.language == "python")
    assert "class Photoswap(Plugin)" in first.text
    assert len(first.text.splitlines()) < 80


EXAMPLE = """
```python
note = "x"
with open("note.txt", "w") as file:
    file.write(note)
```
Text.
```python
from pathlib import Path
assert Path("note.txt").read_text() == note
```
<!-- not run: needs a network -->
```console
$ git clone somewhere
```
```console
$ scumble edit room.png \\
>     --target "a blue room"
wrote out.png
$ make test
```
```json
{"not": "run"}
```
"""


@pytest.mark.usefixtures("folder")
def test_a_page_is_run_in_order_with_one_namespace():
    called: list[list[str]] = []
    assert run_page(EXAMPLE, "example.md", called.append) == 3
    assert called == [["edit", "room.png", "--target", "a blue room"]]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("block", "what"),
    [
        ("```python\nassert False, 'seen'\n```", "seen"),
        ("```bash\nmake nonsense\n```", "no target"),
        ("```bash\ngit clone x\n```", "neither scumble nor make"),
        ("```bash\nscumble show x | head\n```", "needs a shell"),
        ("<!-- not run: -->\n```bash\nscumble show x\n```", "say why"),
        ("```python\npass\n", "never closed"),
    ],
)
def test_a_wrong_block_fails(block: str, what: str):
    with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
        run_page(block, "example.md", lambda arguments: None)
    assert what in str(caught.value)


def test_a_failing_command_fails():
    with pytest.raises(AssertionError, match="exit code"):
        call_scumble(["no-such-command"])
