"""One graph of a pack that is to be built: for what, how, and under which key it is kept."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from scumble.built import BuildKey
from scumble.errors import ModelError
from scumble.packs import Manifest
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.profiles import Profile, profile_of
from scumble_engines.tensorrt.targets import Target

__all__ = ["Order", "flags_of", "parts_of"]

WEIGHTS = (".bin", ".safetensors")


@dataclass(frozen=True, slots=True)
class Order:
    """A graph, and what to build of it.

    Attributes:
        folder: of the pack, whose files have been checked.
        manifest: of the pack.
        part: name of a variant or component.
        target: kind of GPU.
        stripped: True leaves the weights out; they are put in from the pack when it is loaded.
    """

    folder: Path
    manifest: Manifest
    part: str
    target: Target
    stripped: bool

    @property
    def path(self) -> Path:
        """The graph."""
        return self.folder / parts_of(self.manifest)[self.part]

    @property
    def profile(self) -> Profile:
        """The rows that it is built for."""
        return profile_of(self.manifest, self.part)

    def key(self, library: Library) -> BuildKey:
        """Return all that determines what a library builds of this."""
        manifest = self.manifest
        height, width = manifest.latent
        return BuildKey(
            graph=manifest.files[parts_of(manifest)[self.part]],
            weights=_weights(manifest),
            variant=self.part,
            engine=library.name,
            runtime=library.version,
            target=self.target.name,
            precision=manifest.precision,
            rows=(self.profile.counts,),
            picture=(height * manifest.factor, width * manifest.factor),
            options=(("attention", "decomposable"), ("flags", " ".join(flags_of(library, self)))),
            stripped=self.stripped,
        )


def parts_of(manifest: Manifest) -> dict[str, str]:
    """Return the file of each variant and component."""
    variants = {name: variant.file for name, variant in manifest.variants.items()}
    return {**variants, **{str(name): file for name, file in manifest.components.items()}}


def flags_of(library: Library, order: Order) -> tuple[str, ...]:
    """Return the builder flags that are set; every other one is cleared, TF32 among them.

    REQUIRE_USER_ALLOCATION keeps memory that it takes by itself out of a step, so that a step can
    be captured; `tensorrt` never takes any. A stripped plan is to be refitted with the very
    weights that it was built from, of which REFIT_IDENTICAL makes use.
    """
    wanted = ["REQUIRE_USER_ALLOCATION"]
    if order.stripped:
        wanted += ["STRIP_PLAN", "REFIT_IDENTICAL"]
    return tuple(flag for flag in wanted if hasattr(library.api.BuilderFlag, flag))


def _weights(manifest: Manifest) -> str:
    """Return the sha256 of the weight file; over those of all of them if there are several."""
    found = sorted(d for name, d in manifest.files.items() if Path(name).suffix in WEIGHTS)
    if not found:
        raise ModelError("this pack lists no file of weights; export the model anew.")
    return found[0] if len(found) == 1 else hashlib.sha256("".join(found).encode()).hexdigest()
