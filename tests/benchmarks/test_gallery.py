"""The gallery's page is that of its entries, and each command is one that was run."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble_bench import gallery
from scumble_bench.gallery import PAGE, ROOT, draw_scenes, main, page, shown_command
from scumble_bench.gallery_entries import ENTRIES, SCENES, SHOWN, Entry
from scumble_bench.rooms import world

ENTRY = Entry(
    "name",
    "A title",
    ("room.png", "--source", "a red sofa, and a very long story of it", "--target", "a sofa",
     "--set", "words=[1, 2]"),
    "What is seen.",
    works=False,
    seed=7,
)  # fmt: skip


def typed(block: str) -> list[str]:
    """The words of a command as a reader would paste it."""
    lines = [line.removeprefix("$ ").removeprefix(">").strip() for line in block.splitlines()]
    return shlex.split(" ".join(line.removesuffix("\\") for line in lines))


@pytest.mark.parametrize("entry", [*ENTRIES, ENTRY], ids=lambda entry: entry.name)
def test_what_is_shown_is_what_is_run(entry: Entry):
    block = shown_command(entry)
    assert typed(block) == ["scumble", *entry.command]
    lines = block.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("$ scumble edit")
    assert all(line.endswith(" \\") for line in lines[:-1])
    assert f"--seed {entry.seed} " in block


def test_a_failure_is_called_one():
    shown = page([ENTRY])
    assert "## A title\n" in shown
    assert "![before and after, name](pictures/gallery/name.jpg)" in shown
    assert "\n**Fails.** What is seen.\n" in shown
    assert shown_command(ENTRY) in shown


def test_the_page_is_current():
    assert (ROOT / PAGE).read_text(encoding="utf-8") == page(ENTRIES), "make gallery"


def test_the_pictures_are_there_and_small():
    folder = ROOT / SHOWN
    wanted = {f"{entry.name}.jpg" for entry in ENTRIES}
    wanted |= {f"{name}.png" for name in SCENES}
    wanted |= {f"{name}-{noun}.png" for name, (_, noun) in SCENES.items() if noun}
    assert {path.name for path in folder.iterdir()} == wanted
    assert sum(path.stat().st_size for path in folder.iterdir()) < 700_000


def test_scenes_are_drawn_with_their_masks(tmp_path: Path):
    draw_scenes(tmp_path / "new")
    for name, (seed, noun) in SCENES.items():
        assert seed >= world.HELD_OUT
        scene = world.scene(seed)
        drawn = np.asarray(Image.open(tmp_path / "new" / f"{name}.png"))
        assert np.array_equal(drawn, scene.image)
        masks = {path.name for path in (tmp_path / "new").glob(f"{name}-*.png")}
        assert masks == ({f"{name}-{noun}.png"} if noun else set())
        for mask in masks:
            (item,) = (item for item in scene.items if item.noun == noun)
            assert np.array_equal(np.asarray(Image.open(tmp_path / "new" / mask)) > 0, item.mask)


def test_each_command_is_run_and_its_strip_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "docs").mkdir()
    ran: list[list[str]] = []

    def scumble(words: list[str]) -> None:
        ran.append(words)
        Image.new("RGB", (64, 32), (200, 10, 10)).save(words[words.index("--strip") + 1])
        raise SystemExit(0)

    monkeypatch.setattr(gallery, "scumble", scumble)
    assert main(["--root", str(tmp_path), "--only", "swap", "pose"]) == 0
    chosen = [entry for entry in ENTRIES if entry.name in ("swap", "pose")]
    assert [words[1:6] for words in ran] == [list(entry.command[1:6]) for entry in chosen]
    for words in ran:
        assert words[-1] == "--quiet"
        assert str(tmp_path / "docs") not in words[words.index("--out") + 1]
    pictures = {path.name for path in (tmp_path / SHOWN).glob("*.jpg")}
    assert pictures == {"swap.jpg", "pose.jpg"}
    with Image.open(tmp_path / SHOWN / "swap.jpg") as kept:
        assert kept.size == (64, 32)
    assert (tmp_path / PAGE).read_text(encoding="utf-8") == page(ENTRIES)


def test_a_command_that_fails_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "docs").mkdir()

    def scumble(words: list[str]) -> None:
        raise SystemExit(2)

    monkeypatch.setattr(gallery, "scumble", scumble)
    with pytest.raises(RuntimeError, match=r"edit .*drawn\.jpg .* ended with 2"):
        main(["--root", str(tmp_path), "--only", "swap"])


@pytest.mark.thorough
def test_a_picture_is_made_by_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The shortest of them, in two steps."""
    (tmp_path / "docs").mkdir()
    pictures = tmp_path / "benchmarks/scumble_bench"
    pictures.mkdir(parents=True)
    (pictures / "pictures").symlink_to(ROOT / "benchmarks/scumble_bench/pictures")
    (entry,) = (entry for entry in ENTRIES if entry.name == "swap")
    short = Entry(entry.name, entry.title, (*entry.arguments, "--threads", "1"), entry.caption)
    monkeypatch.setattr("scumble_bench.gallery_entries.STEPS", ("--steps", "2"))
    monkeypatch.setattr(gallery, "ENTRIES", (short,))
    assert main(["--root", str(tmp_path)]) == 0
    with Image.open(tmp_path / SHOWN / "swap.jpg") as kept:
        assert kept.width > 2 * 256
