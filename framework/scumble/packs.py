"""A pack: a model as graphs that need no torch, with a manifest of all that a run must know."""

import hashlib
import stat
from pathlib import Path
from typing import Literal, Self, get_args

from pydantic import Field, ValidationError, model_validator

from scumble.errors import ModelError
from scumble.options import Options
from scumble.ports import Group
from scumble.sites import Kind, Place, Site, SiteTable

__all__ = [
    "MANIFEST",
    "Component",
    "Manifest",
    "PackPrecision",
    "SiteEntry",
    "Variant",
    "check_files",
    "read_manifest",
]

MANIFEST = "manifest.json"
PackPrecision = Literal["fp32", "fp16"]
Component = Literal["text_encoder", "vae_encoder", "vae_decoder"]


class SiteEntry(Options):
    """A `Site`, as JSON."""

    index: int
    path: str
    kind: Kind
    place: Place
    stride: int
    channels: int
    heads: int


class Variant(Options):
    """One UNet graph.

    Attributes:
        file: the graph.
        groups: port groups that it has beside the plain ports.
        parity: largest difference to torch in fp32 on random ports, relative to the largest value.
        truncated: True if it gives maps, or the gradient of a loss on them, and no noise; it ends
            where the last map is known.
        sensitivity: port -> how far the outputs moved when it alone was changed, relative to their
            size; of the ports that no variant before it has.
    """

    file: str
    groups: tuple[Group, ...]
    parity: float
    truncated: bool = False
    sensitivity: dict[str, float] = Field(default_factory=dict[str, float])


class Manifest(Options):
    """What `manifest.json` says.

    Attributes:
        format: of the manifest.
        precision: of the UNet's graphs.
        opset: of every graph.
        latent: (height, width) that the graphs are made for.
        native: (height, width) that the model was trained on.
        channels: of a latent.
        factor: pixels for each latent cell along a side.
        tokens: length of the text window.
        features: width of a text embedding.
        pooled: width of a pooled text, of a model whose UNet takes it, else None.
        zeroes_empty: True if an empty prompt is told to the UNet as zeros.
        rows: fewest and most rows of a step.
        words: weight vectors that a reading graph takes.
        terms: terms of a loss that a guiding graph takes.
        read_strides: strides whose maps a reading graph gives out, and a guiding one sees.
        sites: the UNet's sites.
        variants: name -> UNet graph, fewest ports first.
        components: text_encoder, vae_encoder, vae_decoder -> graph.
        remarks: graph -> what some runtimes are known to refuse in it, one sentence each.
        source: fingerprint of the checkpoint that it was made of.
        versions: package -> version that made the pack.
        files: name -> sha256 of every file but the manifest.
    """

    format: Literal[1] = 1
    precision: PackPrecision
    opset: int
    latent: tuple[int, int]
    native: tuple[int, int]
    channels: int
    factor: int
    tokens: int
    features: int
    pooled: int | None = None
    zeroes_empty: bool = False
    rows: tuple[int, int]
    words: int
    terms: int = 1
    read_strides: tuple[int, ...]
    sites: tuple[SiteEntry, ...]
    variants: dict[str, Variant]
    components: dict[Component, str]
    remarks: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    source: str = ""
    versions: dict[str, str]
    files: dict[str, str]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = sorted(set(get_args(Component)) - set(self.components))
        if missing or not self.variants:
            raise ValueError(f"it lacks {', '.join(missing) or 'variants'}")
        graphs = (*(variant.file for variant in self.variants.values()), *self.components.values())
        unlisted = sorted(set(graphs) - set(self.files))
        if unlisted:
            raise ValueError(f"{unlisted[0]!r} is used and has no checksum")
        return self

    def table(self) -> SiteTable:
        """Return the site table, checked."""
        sites = tuple(Site(**entry.model_dump()) for entry in self.sites)
        return SiteTable(sites, self.native)

    def variant_for(self, groups: frozenset[Group]) -> str | None:
        """Return the variant with the fewest ports that has all of these groups, or None.

        Replayed state has no neutral value, so a graph that takes it is not used without.
        """
        fitting = [
            name
            for name, variant in self.variants.items()
            if groups <= set(variant.groups)
            and ("replay" in groups) == ("replay" in variant.groups)
            and not variant.truncated
        ]
        return min(fitting, key=lambda n: len(self.variants[n].groups), default=None)

    @property
    def looking(self) -> str | None:
        """The variant that reads maps and gives no noise, if there is one."""
        return self._truncated("read")

    @property
    def guiding(self) -> str | None:
        """The variant that gives the gradient of a loss on maps, if there is one."""
        return self._truncated("loss")

    def _truncated(self, group: Group) -> str | None:
        found = (n for n, v in self.variants.items() if v.truncated and group in v.groups)
        return next(found, None)


def read_manifest(folder: Path) -> Manifest:
    """Return a pack's manifest.

    Raises:
        ModelError: there is none, or it is not one that this version reads.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{folder.name!r} is no pack: it has no {MANIFEST}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise ModelError(
            f"pack {folder.name!r} has a {MANIFEST} that cannot be used ({where}: {first['msg']}); "
            "export the model anew."
        ) from error


def check_files(folder: Path, manifest: Manifest, *, registered: bool = False) -> None:
    """Raise ModelError unless every file of a pack is its own, and what was written.

    Links are refused, soft and hard: a file that has another name can be exchanged behind the
    manifest. Where a graph keeps its weights is part of the graph, which the manifest vouches for.

    Args:
        folder: of the pack.
        manifest: what it says of itself.
        registered: True if an installed package brings it under a name; then it is as trusted as
            the code beside it, which installers too hard-link out of their caches.
    """
    for name, wanted in manifest.files.items():
        path, parts = folder / name, Path(name).parts
        if ".." in parts or Path(name).is_absolute():
            raise ModelError(
                f"pack {folder.name!r} names a file outside of it, {name!r}; export the model anew."
            )
        if any(folder.joinpath(*parts[: i + 1]).is_symlink() for i in range(len(parts))):
            raise ModelError(
                f"{name!r} of pack {folder.name!r} is reached through a link; put a copy of the "
                "file in its place."
            )
        try:
            state = path.stat()
        except OSError as error:
            raise ModelError(
                f"pack {folder.name!r} lacks {name!r}; export the model anew."
            ) from error
        if not stat.S_ISREG(state.st_mode):
            raise ModelError(
                f"{name!r} of pack {folder.name!r} is no regular file; export the model anew."
            )
        if state.st_nlink > 1 and not registered:
            raise ModelError(
                f"{name!r} of pack {folder.name!r} has a second name (a hard link), under which it "
                "can be changed; copy the folder and load the copy, or use its registered name."
            )
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != wanted:
            raise ModelError(
                f"{name!r} of pack {folder.name!r} is not the file that was exported; export anew."
            )
