"""`scumble build`, as it is called."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.built import BuiltCache
from scumble.cli import main
from scumble.packs import Manifest
from scumble_engines.tensorrt import command
from scumble_engines.tensorrt.cuda import Device
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.orders import Order, parts_of

pytestmark = pytest.mark.thorough
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    """Calls the program with a cache of its own, and gives exit code, stdout and stderr."""
    monkeypatch.setenv("SCUMBLE_CACHE_DIR", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as leaving:
            main([str(one) for one in arguments])
        written = capsys.readouterr()
        return int(leaving.value.code or 0), written.out, written.err

    return run


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, fake: Library) -> list[Order]:
    """What would have been built, by a TensorRT that is not there."""
    orders: list[Order] = []

    def build(library: Library, order: Order, device: int | None, tell: Any) -> bytes:
        tell("building", 0.5)
        orders.append(order)
        return b"plan of " + order.part.encode()

    monkeypatch.setattr(command, "build_apart", build)
    monkeypatch.setattr(command, "find_library", lambda: fake)
    monkeypatch.setattr(command, "open_device", lambda number: None)
    return orders


def test_a_second_build_is_a_hit_and_another_target_a_miss(
    call: Call, pack: Path, library: Library
):
    """For real, and what lies in the cache is what was built."""
    build = ("build", pack, "--variant", "vae_encoder", "--json")
    answers = [
        json.loads(call(*build, "--target", target)[1]) for target in ("sm89", "sm89", "sm89,sm120")
    ]
    assert {answer["engine"] for answer in answers} == {library.name}
    graphs = [graph for answer in answers for graph in answer["graphs"]]
    assert [(g["target"], g["built"], g["cached"]) for g in graphs] == [
        ("sm89", True, True), ("sm89", False, True), ("sm89", False, True), ("sm120", True, True),
    ]  # fmt: skip
    assert all(g["bytes"] > 1_000_000 for g in graphs)
    assert graphs[0]["bytes"] == graphs[1]["bytes"]
    kept = BuiltCache().entries()
    assert sorted(e.key["target"] for e in kept if e.key) == ["sm120", "sm89"]


def test_every_graph_is_built_unless_some_are_named(
    call: Call, pack: Path, unbuilt: list[Order], manifest: Manifest
):
    code, out, _ = call("build", pack, "--target", "sm89,sm120")
    assert code == 0
    wanted = [(part, target) for part in parts_of(manifest) for target in ("sm89", "sm120")]
    assert [(order.part, order.target.name) for order in unbuilt] == wanted
    for part, target in wanted:
        assert any({part, target, "built"} <= set(line.split()) for line in out.splitlines())
    assert f"{len(wanted)} graphs" in out
    assert "tensorrt_rtx 1.7.1" in out
    unbuilt.clear()
    call("build", pack, "--target", "sm120", "--variant", "plain", "--variant", "vae_decoder")
    assert not unbuilt  # they are there
    call("build", pack, "--target", "sm120", "--variant", "plain", "--stripped")
    assert [(order.part, order.stripped) for order in unbuilt] == [("plain", True)]


def test_weights_are_left_out_for_the_gpu_at_hand(
    call: Call, pack: Path, unbuilt: list[Order], monkeypatch: pytest.MonkeyPatch, driver: Any
):
    monkeypatch.setattr(command, "open_device", lambda number: Device(driver, number))
    _, out, _ = call("build", pack, "--variant", "plain")
    call("build", pack, "--variant", "routed", "--target", "sm89,sm120")
    call("build", pack, "--variant", "routed", "--target", "current", "--whole")
    assert [(o.part, o.target.name, o.stripped) for o in unbuilt] == [
        ("plain", "sm89", True), ("routed", "sm89", True), ("routed", "sm120", False),
        ("routed", "sm89", False),
    ]  # fmt: skip
    assert "without weights" in out
    assert driver.context is None  # given back before it builds


def test_a_diffusers_folder_with_a_pack_will_do(
    call: Call, pack: Path, small: Path, unbuilt: list[Order], tmp_path: Path
):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in small.iterdir():
        (folder / path.name).symlink_to(path)

    shutil.copytree(pack, folder / "pack")
    code, _, _ = call("build", folder, "--target", "sm89", "--variant", "plain", "--quiet")
    assert code == 0
    assert unbuilt[0].folder == folder / "pack"


def test_what_cannot_be_kept_is_said(
    call: Call, pack: Path, unbuilt: list[Order], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SCUMBLE_CACHE_GB", "0")
    code, out, err = call("build", pack, "--target", "sm89", "--variant", "plain")
    assert code == 0
    assert "built, not kept" in out
    assert "the built engine is not kept" in err
    code, out, err = call("build", pack, "--target", "sm89", "--variant", "plain", "--json")
    (graph,) = json.loads(out)["graphs"]
    assert not graph["cached"]
    assert "not kept" in graph["notes"][0]
    assert not err
    assert call("build", pack, "--target", "sm89", "--variant", "plain", "-q")[1:] == ("", "")


def test_what_made_room_for_later_graphs_is_said(
    call: Call, pack: Path, unbuilt: list[Order], monkeypatch: pytest.MonkeyPatch
):
    """One entry of these takes about 0.7 kB."""
    monkeypatch.setenv("SCUMBLE_CACHE_GB", "3e-6")
    code, out, err = call("build", pack, "--target", "sm89")
    assert code == 0
    kept = [line for line in out.splitlines() if line.rstrip().endswith("MB  built")]
    assert len(BuiltCache().entries()) == len(kept) > 0
    assert "plain for sm89 was dropped from the cache to make room" in err
    assert "built, not kept" in out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--target", "sm42"), "has no target 'sm42'; it builds for sm89, sm120, current"),
        (("--target", "current"), "it has no NVIDIA GPU with a working driver"),
        ((), "target 'current' is the GPU of this machine"),
        (
            ("--target", "sm89", "--variant", "none"),
            "this pack has no 'none'; it has plain, routed",
        ),
    ],
)
def test_mistakes_are_one_sentence(
    call: Call, pack: Path, unbuilt: list[Order], arguments: tuple[str, ...], reason: str
):
    code, out, err = call("build", pack, *arguments)
    assert (code, out) == (2, "")
    assert reason in err
    assert err.count("\n") == 1


def test_a_model_without_a_pack_is_refused(call: Call, small: Path, unbuilt: list[Order]):
    code, _, err = call("build", small, "--target", "sm89")
    assert code == 2
    assert f"scumble export {small} --out PACK" in err


def test_a_changed_pack_is_refused(call: Call, pack: Path, unbuilt: list[Order], tmp_path: Path):

    copy = Path(shutil.copytree(pack, tmp_path / "copy"))
    with (copy / "unet.plain.onnx").open("ab") as file:
        file.write(b"x")
    code, _, err = call("build", copy, "--target", "sm89")
    assert code == 2
    assert "is not the file that was exported" in err
    assert not unbuilt


def test_a_failed_build_names_the_graph_and_the_reason(
    call: Call, pack: Path, library: Library, tmp_path: Path
):

    copy = Path(shutil.copytree(pack, tmp_path / "copy"))
    (copy / "vae_encoder.onnx").write_bytes(b"junk")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["vae_encoder.onnx"] = hashlib.sha256(b"junk").hexdigest()
    (copy / "manifest.json").write_text(json.dumps(manifest))
    code, out, err = call("build", copy, "--target", "sm89", "--variant", "vae_encoder", "--json")
    assert (code, out) == (2, "")
    assert "TensorRT cannot read vae_encoder.onnx: Assertion failed" in err
    assert not BuiltCache().entries()
