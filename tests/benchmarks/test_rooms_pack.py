"""One command writes what the demo runs without torch, whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from safetensors.torch import load_file

from scumble.errors import ModelError
from scumble.models import PARTS, find_checkpoint
from scumble.packs import check_files, read_manifest
from scumble.testing import fake_checkpoint
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms import pack as command
from scumble_bench.rooms.judge_network import WEIGHTS
from scumble_bench.rooms.pack import main, write_pack
from scumble_export.pack import VARIANTS


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint with a judge and an old pack; new ones are written as text."""
    folder = fake_checkpoint(tmp_path / "model").folder
    for name in (f"judge/{WEIGHTS}", "judge/judge.onnx", "pack/old", "pack/graph"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("old")

    def export(checkpoint: Any, out: Path, *, variants: Any, progress: Any) -> Any:
        assert checkpoint.folder == folder
        assert tuple(variants) == tuple(VARIANTS)
        progress("unet", 0.5)
        out.mkdir()
        (out / "graph").write_text("new")
        return read_manifest

    monkeypatch.setattr(command, "export_pack", export)
    monkeypatch.setattr(
        command, "write_graph", lambda judge: (judge / "judge.onnx").write_text("new")
    )
    return folder


def texts(folder: Path) -> dict[str, str]:
    """What lies in a folder's pack and judge, and what is hidden in it."""
    paths = [*folder.glob("pack/*"), *folder.glob("judge/*.onnx"), *folder.glob(".*")]
    return {path.relative_to(folder).as_posix(): path.read_text() for path in paths}


OLD = {"pack/old": "old", "pack/graph": "old", "judge/judge.onnx": "old"}
NEW = {"pack/graph": "new", "judge/judge.onnx": "new"}


def test_an_old_pack_gives_way_to_the_new_one(folder: Path):
    assert texts(folder) == OLD
    told: list[tuple[str, float]] = []
    assert write_pack(folder, progress=lambda *step: told.append(step)) is read_manifest
    assert texts(folder) == NEW
    assert told == [("unet", 0.5), ("judge", 1.0)]


def test_a_checkpoint_without_judge_or_pack(folder: Path):
    for name in (f"judge/{WEIGHTS}", "judge/judge.onnx", "pack/old", "pack/graph"):
        (folder / name).unlink()
    (folder / "pack").rmdir()
    write_pack(folder)
    assert texts(folder) == {"pack/graph": "new"}


@pytest.mark.parametrize("failing", ["export_pack", "write_graph"])
def test_what_fails_leaves_the_old_pack(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
):
    def fail(*_: object, **__: object) -> None:
        raise ModelError("it differs from torch.")

    monkeypatch.setattr(command, failing, fail)
    with pytest.raises(ModelError, match="differs"):
        write_pack(folder)
    assert texts(folder) == OLD


@pytest.mark.thorough
class TestRooms:
    """What ships."""

    def test_the_pack_is_the_checkpoints_other_form(self):
        found = find_checkpoint("rooms")
        assert found.manifest is None
        pack = found.in_form("pack")
        assert pack.manifest is not None
        assert pack.folder == CHECKPOINT / "pack"
        assert (pack.manifest.latent, pack.manifest.factor) == ((16, 16), 8)
        check_files(pack.folder, pack.manifest)
        assert not list(CHECKPOINT.glob(".*"))

    @pytest.mark.parametrize("part", PARTS)
    def test_it_holds_the_very_weights_of_the_checkpoint(self, part: str):
        held: set[bytes] = set()
        for path in (CHECKPOINT / "pack").glob("*.onnx"):
            for tensor in onnx.load(path).graph.initializer:
                array = numpy_helper.to_array(tensor).astype(np.float32)
                held.add(np.sort(array, axis=None).tobytes())
        (path,) = (CHECKPOINT / part).glob("*.safetensors")
        lost = [
            name
            for name, weight in load_file(path).items()
            if np.sort(weight.float().numpy(), axis=None).tobytes() not in held
        ]
        assert not lost

    @pytest.mark.parametrize(("limit", "code"), [(10**9, 0), (1000, 1)])
    def test_the_command_tells_sizes(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        limit: int,
        code: int,
    ):
        manifest = read_manifest(CHECKPOINT / "pack")
        monkeypatch.setattr(command, "write_pack", lambda folder, progress: manifest)
        monkeypatch.setattr(command, "LIMIT", limit)
        assert main([]) == code
        said = capsys.readouterr().out
        pack = sum(p.stat().st_size for p in (CHECKPOINT / "pack").rglob("*") if p.is_file())
        assert f"pack {pack / 1e6:.2f} MB" in said
        assert ("more than" in said) is bool(code)


def test_the_command_refuses_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--checkpoint", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    message = said.err.strip()  # after what is left of the progress line
    assert message.endswith("has no model_index.json.")
    assert "\n" not in message
