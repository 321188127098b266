"""Which engine is taken where none is named: by what is asked for, found and installed."""

import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from scumble import engine_choice
from scumble.engine_choice import choose_engine
from scumble.errors import ModelError
from scumble.models import Checkpoint, find_checkpoint
from scumble.packs import MANIFEST
from scumble.requests import EngineRequest
from scumble.testing import fake_checkpoint

Installed = Callable[..., None]


def asked(**settings: Any) -> EngineRequest:
    return EngineRequest.model_validate(settings)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Let only these runtimes be installed."""

    def only(*names: str) -> None:
        def find(name: str) -> ModuleSpec | None:
            return ModuleSpec(name, None) if name in names else None

        monkeypatch.setattr(engine_choice, "find_spec", find)

    return only


@pytest.fixture
def bare(tmp_path: Path) -> Checkpoint:
    """A checkpoint without a pack."""
    return fake_checkpoint(tmp_path / "model")


@pytest.fixture
def both(bare: Checkpoint, fake_pack: Any) -> Checkpoint:
    """A checkpoint with a pack beside it, in fp32."""
    fake_pack(bare.folder / "pack")
    return bare


@pytest.fixture
def pack(fake_pack: Any, tmp_path: Path) -> Checkpoint:
    return find_checkpoint(fake_pack(tmp_path / "pack"))


ALL = ("onnxruntime", "torch")


@pytest.mark.parametrize(
    ("there", "precision", "device", "chosen"),
    [
        (ALL, "fp32", "auto", "onnxruntime"),
        (ALL, "fp32", "cpu", "onnxruntime"),
        (ALL, "fp64", "auto", "torch"),
        (ALL, "bf16", "cpu", "torch"),
        (ALL, "fp32", "cuda", "torch"),
        (ALL, "fp32", "cuda:1", "torch"),
        (("onnxruntime",), "fp32", "auto", "onnxruntime"),
        # Torch would be needed, and says how to install it.
        (("onnxruntime",), "bf16", "auto", "torch"),
        (("torch",), "fp32", "auto", "torch"),
        # Neither is there: what is quicker to install is asked for.
        ((), "fp32", "auto", "onnxruntime"),
    ],
)
def test_a_checkpoint_with_a_pack(
    installed: Installed,
    both: Checkpoint,
    there: tuple[str, ...],
    precision: str,
    device: str,
    chosen: str,
):
    installed(*there)
    assert choose_engine(both, asked(precision=precision, device=device)) == chosen


@pytest.mark.parametrize("there", [ALL, ("onnxruntime",), ("torch",), ()])
def test_a_checkpoint_without_one(installed: Installed, bare: Checkpoint, there: tuple[str, ...]):
    installed(*there)
    assert choose_engine(bare, asked()) == "torch"


@pytest.mark.parametrize("there", [ALL, ("torch",), ()])
@pytest.mark.parametrize(("precision", "device"), [("fp32", "auto"), ("fp16", "cuda")])
def test_a_pack_alone(
    installed: Installed, pack: Checkpoint, there: tuple[str, ...], precision: str, device: str
):
    installed(*there)
    assert choose_engine(pack, asked(precision=precision, device=device)) == "onnxruntime"


def test_the_precision_is_the_packs(installed: Installed, both: Checkpoint):
    installed(*ALL)
    manifest = both.folder / "pack" / MANIFEST
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"precision": "fp16"}))
    assert choose_engine(both, asked(precision="fp16")) == "onnxruntime"
    assert choose_engine(both, asked()) == "torch"


@pytest.mark.parametrize("mode", ["compile", "graph"])
def test_a_mode_is_torchs(installed: Installed, both: Checkpoint, mode: str):
    installed(*ALL)
    assert choose_engine(both, asked(mode=mode)) == "torch"


def test_a_broken_pack_is_not_passed_over(installed: Installed, both: Checkpoint):
    installed(*ALL)
    (both.folder / "pack" / MANIFEST).write_text("{}")
    with pytest.raises(ModelError, match="cannot be used"):
        choose_engine(both, asked())


def test_nothing_is_imported_to_see_whether_it_is_there(
    both: Checkpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    for name in ALL:
        monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / f"{name}.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert choose_engine(both, asked()) == "onnxruntime"
    # As tests, and some programs, say that a module must not be imported.
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert choose_engine(both, asked()) == "torch"
