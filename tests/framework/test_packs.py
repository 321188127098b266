"""A pack's manifest and files are looked over before anything is done with them."""

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import ModelError
from scumble.models import find_checkpoint
from scumble.packs import MANIFEST, check_files, read_manifest
from scumble.ports import Group
from scumble.testing.fake_engine import SITES


@pytest.fixture
def folder(fake_pack: Callable[[Path], Path], tmp_path: Path) -> Path:
    return fake_pack(tmp_path / "pack")


@pytest.fixture
def told(folder: Path) -> dict[str, Any]:
    """What the manifest of `folder` says."""
    return json.loads((folder / MANIFEST).read_text())


def check(folder: Path) -> None:
    check_files(folder, read_manifest(folder))


def test_a_pack_is_found(folder: Path):
    found = find_checkpoint(folder)
    assert found.manifest == read_manifest(folder)
    assert found.unet == {}
    assert found.scheduler.steps_offset == 1
    assert found.fingerprint() == hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    assert found.manifest is not None
    assert found.manifest.table() == SITES
    check(folder)


@pytest.mark.parametrize(
    ("groups", "variant"),
    [((), "plain"), (("route",), "all"), (("read", "mix"), "all"), (("region",), None)],
)
def test_the_smallest_variant_that_will_do(
    folder: Path, groups: tuple[Group, ...], variant: str | None
):
    assert read_manifest(folder).variant_for(frozenset(groups)) == variant


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"surprise": 1}, "surprise"),
        ({"format": 2}, "format"),
        ({"precision": "fp8"}, "precision"),
        ({"sites": [{"index": 0}]}, r"sites\.0"),
        ({"components": {"text_encoder": "text_encoder.onnx"}}, "lacks vae_decoder, vae_encoder"),
        ({"variants": {}}, "lacks variants"),
        (
            {"variants": {"plain": {"file": "../x.onnx", "groups": [], "parity": 0}}},
            r"'\.\./x\.onnx' is used and has no checksum",
        ),
        ({"variants": {"plain": {"file": "unet.plain.onnx", "groups": ["odd"], "parity": 0}}},
         "variants.plain.groups"),
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_used(
    folder: Path, told: dict[str, Any], change: dict[str, Any], said: str
):
    (folder / MANIFEST).write_text(json.dumps(told | change))
    with pytest.raises(ModelError, match=f"cannot be used .*{said}.*; export the model anew"):
        find_checkpoint(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_broken_manifest(folder: Path, content: str):
    (folder / MANIFEST).write_text(content)
    with pytest.raises(ModelError, match="cannot be used"):
        read_manifest(folder)


def test_no_manifest(tmp_path: Path):
    with pytest.raises(ModelError, match=r"is no pack: it has no manifest\.json"):
        read_manifest(tmp_path)


def remove(path: Path) -> None:
    path.unlink()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def link(path: Path) -> None:
    path.rename(path.with_suffix(".real"))
    path.symlink_to(path.with_suffix(".real").name)


def link_away(path: Path) -> None:
    outside = path.parents[1] / "outside"
    path.rename(outside)
    os.symlink(outside, path)


def link_folder(path: Path) -> None:
    path = path.parent / "tokenizer"
    path.rename(path.parents[1] / "away")
    path.symlink_to(path.parents[1] / "away", target_is_directory=True)


def link_hard(path: Path) -> None:
    os.link(path, path.parents[1] / "second name")


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def to_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def to_socket(path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as opened, contextlib.chdir(path.parent):
        opened.bind(path.name)  # by its name: an address holds 108 bytes


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (remove, "lacks 'unet.plain.onnx'; export the model anew"),
        (to_folder, "'unet.plain.onnx' of pack 'pack' is no regular file; export the model anew"),
        (to_pipe, "is no regular file"),
        (to_socket, "is no regular file"),
        (to_device, "is reached through a link"),
        (flip, "'unet.plain.onnx' of pack 'pack' is not the file that was exported"),
        (cut, "is not the file that was exported"),
        (link, "'unet.plain.onnx' of pack 'pack' is reached through a link; put a copy"),
        (link_away, "'unet.plain.onnx' of pack 'pack' is reached through a link"),
        (link_folder, "of pack 'pack' is reached through a link"),
        (link_hard, "'unet.plain.onnx' of pack 'pack' has a second name (a hard link)"),
    ],
)
def test_a_file_that_is_not_what_was_written(
    folder: Path, damage: Callable[[Path], None], said: str
):
    damage(folder / "unet.plain.onnx")
    with pytest.raises(ModelError) as error:
        check(folder)
    assert said in str(error.value)
    assert str(error.value).endswith(".")
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize("damage", [remove, flip, cut, link, link_folder, to_folder, to_pipe])
def test_a_registered_pack_is_looked_over_too(folder: Path, damage: Callable[[Path], None]):
    damage(folder / "unet.plain.onnx")
    with pytest.raises(ModelError):
        check_files(folder, read_manifest(folder), registered=True)


def test_an_installer_may_link_the_files_of_a_registered_pack(folder: Path):
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        os.link(path, folder.parent / path.relative_to(folder).as_posix().replace("/", "-"))
    check_files(folder, read_manifest(folder), registered=True)
    with pytest.raises(ModelError, match="or use its registered name"):
        check(folder)
    check(Path(shutil.copytree(folder, folder.parent / "copy")))  # as the message says


@pytest.mark.parametrize("name", ["../outside", "tokenizer/../../outside", "/etc/hostname"])
def test_names_that_lead_out(folder: Path, told: dict[str, Any], name: str):
    (folder.parent / "outside").write_text("x")
    told["files"][name] = hashlib.sha256(b"x").hexdigest()
    (folder / MANIFEST).write_text(json.dumps(told))
    with pytest.raises(ModelError, match="names a file outside of it"):
        check(folder)
