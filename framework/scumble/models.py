"""Where a model's files are: a registered name, a diffusers folder, a pack, or a hub id.

One name can stand for two forms of a model: a diffusers folder may hold a pack of the same weights
in its subfolder `pack`, for the engines that run packs. Only safetensors weights are accepted as a
checkpoint: a pickle can run code.
"""

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from scumble.errors import ModelError
from scumble.packs import MANIFEST, Manifest, read_manifest
from scumble.plugins import list_entries, load_entry
from scumble.schedulers import SchedulerConfig

__all__ = ["PACK", "Checkpoint", "Form", "find_checkpoint"]

Form: TypeAlias = Literal["checkpoint", "pack"]
"""What an engine runs: a diffusers checkpoint, or a pack made of one."""

GROUP = "scumble.models"
PACK = "pack"
"""Subfolder of a diffusers folder with the pack that was made of it."""
PARTS = ("unet", "vae", "text_encoder")
SECOND = ("text_encoder_2", "tokenizer_2")
"""Parts of a model that has two text encoders."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A diffusers folder, or a pack, whose files have been looked over.

    Attributes:
        name: as the user gave it.
        folder: where it lies.
        scheduler: the noise schedule it was trained with.
        unet: the UNet's configuration; empty for a pack.
        manifest: of a pack, else None.
        registered: True if an installed package brings it, under the name.
        zeroes_empty: True if an empty prompt is told to the UNet as zeros, as SDXL was trained.
    """

    name: str
    folder: Path
    scheduler: SchedulerConfig
    unet: Mapping[str, Any]
    manifest: Manifest | None = None
    registered: bool = False
    zeroes_empty: bool = False

    @property
    def tokenizer(self) -> Path:
        """The tokenizer's folder, by which words are found."""
        return self.folder / "tokenizer"

    @property
    def tokenizers(self) -> tuple[Path, ...]:
        """The tokenizers' folders: the first, and that of a second text encoder where it has one.

        Both cut a prompt alike; they differ in what stands after its end.
        """
        second = self.folder / "tokenizer_2"
        return (self.tokenizer, second) if second.is_dir() else (self.tokenizer,)

    @property
    def pack(self) -> "Checkpoint | None":
        """This pack, or the one that lies in a checkpoint's `pack`; None where there is none.

        Raises:
            ModelError: it is there and cannot be used.
        """
        if self.manifest is not None:
            return self
        if not (self.folder / PACK / MANIFEST).is_file():
            return None
        return replace(_look_over(self.name, self.folder / PACK), registered=self.registered)

    def in_form(self, form: Form) -> "Checkpoint":
        """Return the form of this model that an engine runs, or itself where it has no other.

        Raises:
            ModelError: that form is there and cannot be used, or was made of other weights.
        """
        pack = self.pack if form == "pack" else None
        if pack is None or pack.manifest is None:
            return self
        if pack is not self and pack.manifest.source != self.fingerprint():
            raise ModelError(
                f"the pack in '{self.folder / PACK}' was made of other weights than those beside "
                "it; remove it, and export the model anew."
            )
        return pack

    def fingerprint(self) -> str:
        """Return the sha256 over every file that a run depends on, name by name."""
        if self.manifest is not None:
            return hashlib.sha256((self.folder / MANIFEST).read_bytes()).hexdigest()
        digest = hashlib.sha256()
        parts = (*PARTS, "tokenizer", "scheduler", *SECOND)
        found = sorted(path for part in parts for path in self.folder.glob(f"{part}/*"))
        # Whether an empty prompt is zeros is said there, and nothing else that a run depends on.
        found += [self.folder / "model_index.json"] if self.zeroes_empty else []
        for path in (path for path in found if path.is_file()):
            digest.update(path.relative_to(self.folder).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def find_checkpoint(
    name: str | Path, *, revision: str | None = None, local_files_only: bool = False
) -> Checkpoint:
    """Find and look over a checkpoint.

    Args:
        name: a registered name, a diffusers folder or a pack's, or a hub id such as `owner/model`.
        revision: branch, tag or commit of a hub id.
        local_files_only: True never asks the hub.

    Raises:
        ModelError: nothing of that name, not a checkpoint, or weights as pickle.
    """
    # By name, so that another model that cannot be imported is nothing to this one.
    registered = list_entries(GROUP)
    folder = Path(name)
    if str(name) in registered:
        folder = Path(load_entry(GROUP, str(name), "model")[1])
        return replace(_look_over(str(name), folder), registered=True)
    if not folder.exists():
        if str(name).count("/") != 1 or str(name).startswith((".", "/")):
            known = ", ".join(sorted(registered)) or "none"
            raise ModelError(f"no model {str(name)!r}; registered: {known}; or give a folder.")
        folder = _from_hub(str(name), revision, local_files_only)
    return _look_over(str(name), folder)


def _from_hub(name: str, revision: str | None, local_files_only: bool) -> Path:
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise ModelError(
            f"{name!r} looks like a hub id, and loading one needs: pip install 'scumble[torch]'."
        ) from error
    wanted = ["*.json", "*/*.json", "*/*.txt", "*/*.safetensors"]
    try:
        return Path(
            hub.snapshot_download(
                name,
                revision=revision,
                local_files_only=local_files_only,
                allow_patterns=wanted,
                # A pack's graphs are not among these; half a pack would be refused later.
                ignore_patterns=[f"{PACK}/*"],
            )
        )
    # The hub client raises many unrelated types (HTTP, cache, validation); each means "not there".
    except Exception as error:
        raise ModelError(f"hub model {name!r} could not be fetched: {error}") from error


def _look_over(name: str, folder: Path) -> Checkpoint:
    if (folder / MANIFEST).is_file():
        scheduler = read_json(folder / "scheduler" / "scheduler_config.json", name)
        manifest = read_manifest(folder)
        return Checkpoint(
            name, folder, SchedulerConfig.from_dict(scheduler), {}, manifest,
            zeroes_empty=manifest.zeroes_empty,
        )  # fmt: skip
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{name!r} is no checkpoint: {folder.name} has no model_index.json.")
    second = [part for part in SECOND[:1] if (folder / part).is_dir()]
    for part in (*PARTS, *second):
        weights = list((folder / part).glob("*.safetensors"))
        if not weights:
            pickled = [p.name for p in (folder / part).glob("*") if p.suffix in PICKLES]
            if pickled:
                raise ModelError(
                    f"{name!r} keeps its {part} weights as pickle ({pickled[0]}), which can run "
                    "code; convert it to safetensors."
                )
            raise ModelError(f"{name!r} is no checkpoint: {part} has no safetensors weights.")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json", name)
    unet = read_json(folder / "unet" / "config.json", name)
    index = read_json(folder / "model_index.json", name)
    # True where a file with two text encoders does not say, as in `StableDiffusionXLPipeline`.
    zeroes = bool(second) and bool(index.get("force_zeros_for_empty_prompt", True))
    config = SchedulerConfig.from_dict(scheduler)
    return Checkpoint(name, folder, config, unet, zeroes_empty=zeroes)


def read_json(path: Path, name: str) -> dict[str, Any]:
    """Return a JSON object from a file of model `name`, or raise ModelError."""
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{name!r} is no checkpoint: {path.name} cannot be read.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{name!r} is no checkpoint: {path.name} is not a JSON object.")
    return cast("dict[str, Any]", value)
