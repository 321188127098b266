"""Where a model is, and what is refused as one."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from scumble.errors import ModelError, PluginError
from scumble.models import PACK, PARTS, find_checkpoint, read_json
from scumble.packs import MANIFEST
from scumble.testing import fake_checkpoint

Install = Any


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_checkpoint(tmp_path / "model").folder


def hub(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    module = ModuleType("huggingface_hub")
    module.__dict__["snapshot_download"] = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_a_folder(folder: Path):
    found = find_checkpoint(folder)
    assert found.name == str(folder)
    assert found.tokenizer == folder / "tokenizer"
    assert found.scheduler.steps_offset == 1
    assert found.unet["in_channels"] == 4


class TestForms:
    """One name, two forms: a folder, and the pack that lies in it."""

    def test_the_pack_in_a_folder(self, folder: Path, fake_pack: Any):
        fake_pack(folder / PACK, find_checkpoint(folder))
        found = find_checkpoint(folder)
        assert found.manifest is None
        assert found.in_form("checkpoint") is found
        pack = found.in_form("pack")
        assert pack == found.pack
        assert pack.manifest is not None
        assert (pack.name, pack.folder) == (str(folder), folder / PACK)
        assert pack.fingerprint() == find_checkpoint(folder / PACK).fingerprint()

    def test_a_folder_without_one_stays_itself(self, folder: Path):
        (folder / PACK).mkdir()
        found = find_checkpoint(folder)
        assert found.pack is None
        assert found.in_form("pack") is found

    def test_a_pack_is_its_own_pack(self, fake_pack: Any, tmp_path: Path):
        found = find_checkpoint(fake_pack(tmp_path / "p"))
        assert found.pack is found
        assert found.in_form("pack") is found
        assert found.in_form("checkpoint") is found

    def test_a_pack_that_cannot_be_used_is_an_error_where_it_is_wanted(
        self, folder: Path, fake_pack: Any
    ):
        (fake_pack(folder / PACK) / MANIFEST).write_text("{}")
        found = find_checkpoint(folder)
        assert found.in_form("checkpoint") is found
        with pytest.raises(ModelError, match="cannot be used"):
            found.in_form("pack")

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
    def test_a_pack_of_other_weights_is_refused(self, folder: Path, fake_pack: Any, part: str):
        fake_pack(folder / PACK, find_checkpoint(folder))
        (folder / part / "more").write_text("changed since")
        found = find_checkpoint(folder)
        assert found.in_form("checkpoint") is found
        with pytest.raises(ModelError, match=r"pack' was made of other weights.*export.* anew\.$"):
            found.in_form("pack")
        # By itself it is what it is.
        assert find_checkpoint(folder / PACK).in_form("pack").manifest is not None

    def test_the_pack_is_no_part_of_the_checkpoint(self, folder: Path, fake_pack: Any):
        before = find_checkpoint(folder).fingerprint()
        fake_pack(folder / PACK)
        assert find_checkpoint(folder).fingerprint() == before


def test_no_such_name(tmp_path: Path):
    with pytest.raises(ModelError, match=r"no model 'nowhere'; registered: .*rooms"):
        find_checkpoint("nowhere")
    for name in (str(tmp_path / "gone"), "./gone", "a/b/c", "../a/b"):
        with pytest.raises(ModelError, match="no model"):
            find_checkpoint(name)


@pytest.mark.parametrize("name", ["model_index.json", *(f"{part}" for part in PARTS)])
def test_something_missing(folder: Path, name: str):
    if name in PARTS:
        (folder / name / "model.safetensors").unlink()
    else:
        (folder / name).unlink()
    with pytest.raises(ModelError, match=f"is no checkpoint: .*{name}"):
        find_checkpoint(folder)


@pytest.mark.parametrize("suffix", ["bin", "pt", "pth", "ckpt", "pkl"])
@pytest.mark.parametrize("part", PARTS)
def test_pickle_is_refused(folder: Path, part: str, suffix: str):
    (folder / part / "model.safetensors").rename(folder / part / f"weights.{suffix}")
    with pytest.raises(ModelError, match=rf"{part} weights as pickle \(weights.{suffix}\).*conv"):
        find_checkpoint(folder)


def test_pickle_beside_safetensors_is_not_looked_at(folder: Path):
    (folder / "unet" / "weights.bin").write_bytes(b"evil")
    find_checkpoint(folder)


@pytest.mark.parametrize("name", ["unet/config.json", "scheduler/scheduler_config.json"])
@pytest.mark.parametrize("content", ["{", "[]", "", "\xff", None])
def test_broken_json(folder: Path, name: str, content: str | None):
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError, match=rf"is no checkpoint: {path.name}"):
        find_checkpoint(folder)


def test_a_schedule_that_ddim_cannot_run(folder: Path):
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler"}))
    with pytest.raises(ModelError, match="FlowMatchEulerDiscreteScheduler"):
        find_checkpoint(folder)


def test_read_json(tmp_path: Path):
    (tmp_path / "a.json").write_text('{"a": 1}')
    assert read_json(tmp_path / "a.json", "m") == {"a": 1}


class TestRegistered:
    @pytest.mark.parametrize("kind", ["", "Path"])
    def test_a_distribution_brings_one(self, install: Install, folder: Path, kind: str):
        source = f"from pathlib import Path\nFOLDER = {kind}({str(folder)!r})"
        install("my-model", {"scumble.models": {"mine": "my_model:FOLDER"}}, {"my_model": source})
        found = find_checkpoint("mine")
        assert (found.name, found.folder) == ("mine", folder)

    def test_what_a_distribution_brings_is_told_from_what_lies_about(
        self, install: Install, folder: Path, fake_pack: Any
    ):
        """Its pack too, as the engines ask for it."""
        fake_pack(folder / PACK, find_checkpoint(folder))
        source = {"my_model": f"FOLDER = {str(folder)!r}\nIN = {str(folder / PACK)!r}"}
        names = {"mine": "my_model:FOLDER", "within": "my_model:IN"}
        install("my-model", {"scumble.models": names}, source)
        for name in names:
            assert find_checkpoint(name).registered
            assert find_checkpoint(name).in_form("pack").registered
        for path in (folder, folder / PACK):
            assert not find_checkpoint(path).registered
            assert not find_checkpoint(path).in_form("pack").registered

    def test_two_of_a_name(self, install: Install):
        for name in ("one", "two"):
            install(name, {"scumble.models": {"m": f"{name}:FOLDER"}}, {name: "FOLDER = 1"})
        with pytest.raises(PluginError, match=r"model 'm' is offered by .* 1\.0 and .* 1\.0"):
            find_checkpoint("m")

    def test_one_that_is_broken_leaves_the_others_alone(self, install: Install, folder: Path):
        install("broken-model", {"scumble.models": {"broken": "gone_module:FOLDER"}})
        find_checkpoint(folder)
        with pytest.raises(ModelError, match=r"registered: broken, .*rooms"):
            find_checkpoint("nowhere")
        with pytest.raises(PluginError, match=r"model 'broken' of broken-model 1.0"):
            find_checkpoint("broken")


class TestHub:
    def test_without_the_client(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(ModelError, match=r"hub id.*pip install 'scumble\[torch\]'"):
            find_checkpoint("owner/model")

    def test_asked_for_safetensors_only(self, monkeypatch: pytest.MonkeyPatch, folder: Path):
        asked = SimpleNamespace()

        def download(name: str, **options: Any) -> str:
            asked.name, asked.options = name, options
            return str(folder)

        hub(monkeypatch, download)
        found = find_checkpoint("owner/model", revision="v1", local_files_only=True)
        assert (found.name, asked.name, found.folder) == ("owner/model", "owner/model", folder)
        assert asked.options["revision"] == "v1"
        assert asked.options["local_files_only"] is True
        patterns = asked.options["allow_patterns"]
        assert "*/*.safetensors" in patterns
        assert not any(pattern.endswith(("*", ".bin", ".pt", ".ckpt")) for pattern in patterns)
        assert asked.options["ignore_patterns"] == ["pack/*"]

    def test_whatever_the_client_raises(self, monkeypatch: pytest.MonkeyPatch):
        def download(name: str, **options: Any) -> str:
            raise RuntimeError("404")

        hub(monkeypatch, download)
        with pytest.raises(ModelError, match="'owner/model' could not be fetched: 404"):
            find_checkpoint("owner/model")


class TestFingerprint:
    def test_it_follows_content_and_name_and_nothing_else(self, tmp_path: Path):
        first = fake_checkpoint(tmp_path / "one")
        again = fake_checkpoint(tmp_path / "two")
        before = first.fingerprint()
        assert before == again.fingerprint()
        assert len(before) == 64
        weights = first.folder / "unet" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
        assert first.fingerprint() != before
        renamed = again.folder / "vae" / "model.safetensors"
        renamed.rename(renamed.with_name("other.safetensors"))
        assert again.fingerprint() != before


class TestTwoTextEncoders:
    @pytest.fixture
    def paired(self, folder: Path) -> Path:
        (folder / "tokenizer_2").mkdir()
        (folder / "text_encoder_2").mkdir()
        (folder / "text_encoder_2" / "model.safetensors").write_text("second")
        return folder

    def test_both_tokenizers_are_found(self, paired: Path):
        found = find_checkpoint(paired)
        assert found.tokenizers == (paired / "tokenizer", paired / "tokenizer_2")
        (paired / "tokenizer_2").rmdir()
        assert find_checkpoint(paired).tokenizers == (paired / "tokenizer",)

    def test_an_empty_prompt_is_zeros_unless_the_index_says_otherwise(self, paired: Path):
        index = paired / "model_index.json"
        found = find_checkpoint(paired)
        assert found.zeroes_empty
        index.write_text('{"force_zeros_for_empty_prompt": false}')
        other = find_checkpoint(paired)
        assert not other.zeroes_empty
        assert other.fingerprint() != found.fingerprint()

    def test_one_encoder_never_zeroes(self, folder: Path):
        (folder / "model_index.json").write_text('{"force_zeros_for_empty_prompt": true}')
        assert not find_checkpoint(folder).zeroes_empty

    def test_the_second_encoder_is_looked_over_and_counts(self, paired: Path):
        before = find_checkpoint(paired).fingerprint()
        weights = paired / "text_encoder_2" / "model.safetensors"
        weights.write_text("another")
        assert find_checkpoint(paired).fingerprint() != before
        weights.rename(weights.with_suffix(".bin"))
        with pytest.raises(ModelError, match="text_encoder_2 weights as pickle"):
            find_checkpoint(paired)
