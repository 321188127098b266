"""The command line run in this process, a tiny random model, and distributions made on the spot."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.cli import main
from scumble.editor import Editor

Scumble = Callable[..., "Outcome"]


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def refused(self, *parts: str) -> None:
        """One sentence on stderr, exit code 2, nothing on stdout."""
        assert self.code == 2, (self.code, self.out, self.err)
        assert self.out == ""
        assert self.err.startswith("scumble: ")
        assert self.err.count("\n") == 1
        assert self.err.endswith("\n")
        for part in parts:
            assert part in self.err


@pytest.fixture
def scumble(capsys: pytest.CaptureFixture[str]) -> Scumble:
    """Run the command line and return what it said."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture(autouse=True)
def _plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No colours, a wide terminal, and no debugging, whatever the developer has set."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SCUMBLE_DEBUG", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of the rooms model's own classes, with random weights."""
    import json

    import torch

    from scumble_bench.rooms import models, tokenizer, world

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    words = tokenizer.words_of(world.scene(i).caption for i in range(60))
    words = sorted({*words, "red", "blue", "cat", "dog", "room", "with", "a", "fluffy"})
    tokenizer.save_tokenizer(folder / "words", words)
    count = len(json.loads((folder / "words" / "vocab.json").read_text()))
    nets = models.Networks(
        models.build_vae(), models.build_text_encoder(count), models.build_unet()
    )
    models.save_folder(folder / "model", nets, folder / "words")
    return folder / "model"


@pytest.fixture
def fast(checkpoint: Path) -> list[str]:
    """Flags for a short run on the tiny model."""
    return ["--model", str(checkpoint), "--threads", "1", "--steps", "2"]


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A picture file, not square."""
    pixels = np.random.default_rng(3).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((160, 120)).save(tmp_path / "room.png")
    return tmp_path / "room.png"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for results, empty."""
    folder = tmp_path / "results"
    folder.mkdir()
    return folder


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading a model fails the test: what is refused must be refused before."""

    def load(*_: Any, **__: Any) -> Any:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Editor, "load", load)


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Install a distribution: modules, and entry points by group."""
    made: list[str] = []

    def install(
        name: str,
        modules: dict[str, str],
        entry_points: dict[str, dict[str, str]],
        requires: tuple[str, ...] = (),
    ) -> Path:
        site = tmp_path / f"site-{name}"
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        required = "".join(f"Requires-Dist: {line}\n" for line in requires)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{required}"
        (info / "METADATA").write_text(metadata)
        groups = (
            f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
            for group, points in entry_points.items()
        )
        (info / "entry_points.txt").write_text("\n".join(groups))
        for module, source in modules.items():
            path = site.joinpath(*module.split(".")).with_suffix(".py")
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
            made.append(module)
        monkeypatch.syspath_prepend(site)
        return site

    yield install
    for module in made:
        sys.modules.pop(module, None)
