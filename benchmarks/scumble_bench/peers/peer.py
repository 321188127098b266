"""What a peer is: something else that does what Scumble does, to be timed beside it.

A peer is given a `Work` and a picture, and so is Scumble, by `PeerEntry.ours`. Only where the
latents of both agree has a peer done the same, and only then does its time say something.

This module imports no runtime: an entry of `PEERS` imports what its peer needs when it loads it.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from scumble import Editor
from scumble.arrays import Array
from scumble_bench.demo_edits import EDITS, METHOD_EDITS, PICTURES

__all__ = ["PEERS", "Peer", "PeerEntry", "PeerPrecision", "PeerRun", "Picture", "Work", "agreement"]

PeerPrecision: TypeAlias = Literal["fp32", "fp64", "bf16"]
Picture: TypeAlias = str | Path | Array
"""A file, or (height, width, 3) uint8."""


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One piece of work; fields are named as in `Editor.edit` and `Editor.generate`.

    Attributes:
        target: the prompt of what is made.
        source: describes the picture as it is; None where nothing is edited.
        method: the plugin that edits; `generate` where nothing is.
        options: of the plugin.
        mask: where the picture may change, for methods that take one.
        inversion: the plugin that inverts.
        steps: DDIM steps.
        guidance: classifier-free guidance scale.
        seed: of the noise where no picture is given.
        size: (height, width) in pixels; None is the model's native size.
    """

    target: str
    source: str | None = None
    method: str = "generate"
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    mask: Picture | None = None
    inversion: str = "direct"
    steps: int = 50
    guidance: float = 7.5
    seed: int = 0
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PeerRun:
    """What a peer made.

    Attributes:
        latents: (pictures, channels, height, width): source and target of an edit, or what was
            generated.
        rows: row evaluations of the UNet by stage, forward passes of gradients included.
        gradients: taken.
        picture: (height, width, 3) uint8, of the last latent.
    """

    latents: Array
    rows: Mapping[str, int]
    gradients: int
    picture: Array

    @property
    def row_count(self) -> int:
        """Row evaluations of all stages."""
        return sum(self.rows.values())


class Peer(Protocol):
    """Does work another way; a loaded model."""

    @property
    def name(self) -> str:
        """As in the registry."""
        ...

    @property
    def method(self) -> str:
        """The plugin that does the same, or `generate`."""
        ...

    @property
    def engine(self) -> str:
        """What runs the UNet: torch, onnxruntime or openvino."""
        ...

    def run(self, work: Work, picture: Picture | None = None) -> PeerRun:
        """Do all of the work anew.

        Args:
            work: of the peer's method.
            picture: to be edited; None generates the source of an edit.

        Raises:
            OptionError: the work asks for something that this peer cannot do.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class PeerEntry:
    """A peer by name.

    Attributes:
        name: no two have the same.
        method: the plugin that does the same, or `generate`.
        engine: what runs its UNet.
        module: where it is; imported by `load` alone.
        kind: its class there.
        tolerance: of `agreement`, in fp32.
        settings: further arguments of the class's `load`.
        inversion: of its work.
        notes: what a reader of its times has to know, one sentence each.
    """

    name: str
    method: str
    engine: str
    module: str
    kind: str
    tolerance: float
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    inversion: str = "direct"
    notes: tuple[str, ...] = ()

    def load(
        self,
        model: str | Path = "rooms",
        precision: PeerPrecision = "fp32",
        threads: int | None = None,
        device: str = "cpu",
    ) -> Peer:
        """Load it.

        Args:
            model: a registered name, a diffusers folder, or for plain runtimes a pack.
            precision: of the UNet.
            threads: of its runtime; torch's are set for the whole process. None leaves them.
            device: `cpu` or `cuda`.

        Raises:
            ImportError: its runtime is not installed.
            ModelError: no such model, or not in the form that it runs.
            OptionError: it has no such precision or device.
        """
        kind = getattr(importlib.import_module(self.module), self.kind)
        return kind.load(model, precision, threads, device, **self.settings)

    def work(self, steps: int = 50, size: tuple[int, int] | None = None) -> Work:
        """Return the demo's work of the method, which `picture` belongs to."""
        if self.method == "generate":
            return Work(PICTURES[0].prompt, steps=steps, size=size)
        if self.method == "prompt_to_prompt":
            edit, source = EDITS[0], PICTURES[0].prompt
            options, mask = edit.options, None
        else:
            edit = next(edit for edit in METHOD_EDITS if edit.method == self.method)
            source, options = edit.source, edit.options
            mask = edit.picture.mask_of(edit.thing) if edit.masked and edit.picture else None
        return Work(
            edit.target, source, self.method, options, mask, self.inversion, steps, size=size
        )

    def picture(self) -> Path | None:
        """Return the demo's picture that `work` edits, or None where nothing is edited."""
        if self.method == "generate":
            return None
        if self.method == "prompt_to_prompt":
            return PICTURES[0].path
        edit = next(edit for edit in METHOD_EDITS if edit.method == self.method)
        return edit.picture.path if edit.picture else None

    def ours(self, editor: Editor, work: Work, picture: Picture | None = None) -> Array:
        """Return the latents that Scumble makes of the same work, as `PeerRun.latents`.

        Args:
            editor: with the same checkpoint, on any engine.
            work: as the peer is given it.
            picture: likewise.
        """
        asked: dict[str, Any] = {
            "steps": work.steps,
            "guidance": work.guidance,
            "seed": work.seed,
            "size": work.size,
        }
        if work.source is None:
            run = editor.generate(work.target, **asked)
        else:
            run = editor.edit(
                picture,
                source=work.source,
                target=work.target,
                mask=work.mask,
                method=work.method,
                options=work.options,
                inversion=work.inversion,
                **asked,
            )
        return np.stack([run.latents[shown] for shown in sorted(run.latents)])


def agreement(theirs: Array, wanted: Array) -> float:
    """Return the largest difference of the last latents, relative to our largest number.

    The last is the target's. Of a source that runs freely Scumble leaves out what no picture needs,
    so that there may be nothing to compare it with.

    Args:
        theirs: `PeerRun.latents`.
        wanted: what `PeerEntry.ours` returned.
    """
    found, own = np.asarray(theirs[-1], np.float64), np.asarray(wanted[-1], np.float64)
    return float(np.abs(found - own).max() / np.abs(own).max())


FOLDER = "scumble_bench.peers"
COMPILED = "The first two runs compile; warm up twice."
BREAKS = (
    "torch.compile is broken off at every attention site while a control is in force, for the "
    "control is Python; inversion and the steps that find offsets are compiled whole."
)


def _reference(
    method: str, kind: str, *, compiled: bool = False, inversion: str = "direct"
) -> PeerEntry:
    return PeerEntry(
        name="reference " + method + " ddim" * (inversion == "ddim") + " compiled" * compiled,
        method=method,
        engine="torch",
        module=f"{FOLDER}.reference_{kind}",
        kind=KINDS[method],
        tolerance=1e-3,
        settings={"compiled": compiled},
        inversion=inversion,
        notes=(COMPILED, BREAKS) if compiled else (),
    )


KINDS = {
    "prompt_to_prompt": "ReferenceP2P",
    "masactrl": "ReferenceMasaCtrl",
    "mag_edit": "ReferenceMagEdit",
}

PEERS: tuple[PeerEntry, ...] = (
    PeerEntry(
        "plain diffusers", "generate", "torch", f"{FOLDER}.plain_pipeline", "PlainPipeline", 1e-3
    ),
    PeerEntry(
        "plain diffusers compiled", "generate", "torch", f"{FOLDER}.plain_pipeline",
        "PlainPipeline", 1e-3, {"compiled": True}, notes=(COMPILED,),
    ),
    PeerEntry(
        "plain onnxruntime", "generate", "onnxruntime", f"{FOLDER}.plain_runtime",
        "PlainRuntimeUNet", 1e-3, {"engine": "onnxruntime"},
    ),
    PeerEntry(
        "plain openvino", "generate", "openvino", f"{FOLDER}.plain_runtime",
        "PlainRuntimeUNet", 1e-3, {"engine": "openvino"},
    ),
    _reference("prompt_to_prompt", "p2p"),
    _reference("prompt_to_prompt", "p2p", compiled=True),
    _reference("masactrl", "masactrl"),
    _reference("masactrl", "masactrl", inversion="ddim"),
    _reference("masactrl", "masactrl", compiled=True),
    _reference("mag_edit", "mag_edit"),
    _reference("mag_edit", "mag_edit", compiled=True),
)  # fmt: skip
"""Every peer, those of nothing but generation first."""
