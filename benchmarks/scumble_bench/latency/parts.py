"""What a part of the measurements is given and what it gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scumble import Editor
from scumble.errors import OptionError
from scumble_bench.latency.interleaving import Comparison
from scumble_bench.latency.targets import Finding

__all__ = ["SOURCE_MEMORY", "Part", "Settings"]

SOURCE_MEMORY = 8 << 30
"""Bytes for recorded sources: 50 steps of SD1.5 at 256x256 in fp32 take 1.2 GB."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Attributes:
        shape: folder of a checkpoint with SD1.5's shapes; where there is none, one is written.
        model: the demo checkpoint.
        pack: a pack of it, for engines that run packs; None takes the one beside the checkpoint.
        shape_pack: a pack of `shape`, or None.
        engines: to measure.
        steps: of an edit.
        rounds: timed runs of each cell.
        warmup: untimed runs before.
        threads: of every runtime; None leaves their own choice.
        pixels: side of the pictures edited with `shape`; None is its native size.
        gpu_pixels: likewise, of the part `gpu`.
        edits: demo edits whose bf16 pictures are compared; None is all.
        device: of the part `gpu`.
    """

    shape: Path
    model: str = "rooms"
    pack: Path | None = None
    shape_pack: Path | None = None
    engines: tuple[str, ...] = ("torch", "onnxruntime")
    steps: int = 50
    rounds: int = 5
    warmup: int = 1
    threads: int | None = None
    pixels: int | None = 256
    gpu_pixels: int | None = 512
    edits: int | None = None
    device: str = "cuda"

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of the pictures edited with `shape`."""
        return None if self.pixels is None else (self.pixels, self.pixels)

    def load(self, model: str | Path, engine: str, precision: str = "fp32") -> Editor:
        """Return an editor on the CPU, with room for the recorded source of a large model."""
        return Editor.load(
            model,
            engine=engine,
            precision=precision,
            device="cpu",
            threads=self.threads,
            source_memory=SOURCE_MEMORY,
        )

    def model_for(self, engine: str) -> str | Path:
        """Return the demo checkpoint, or its pack for an engine that runs packs."""
        return self.model if engine == "torch" or self.pack is None else self.pack

    def shape_for(self, engine: str) -> Path:
        """Return the checkpoint of SD1.5's shapes, or its pack for an engine that runs packs.

        Raises:
            OptionError: no pack of it was given.
        """
        if engine == "torch":
            return self.shape
        if self.shape_pack is None:
            raise OptionError(
                f"engine {engine!r} runs packs, and none with SD1.5's shapes was given; export "
                "one and give it as --shape-pack."
            )
        return self.shape_pack


@dataclass(slots=True)
class Part:
    """What a part measured.

    Attributes:
        facts: what was run: prompts, options, rows, counts.
        comparisons: by name.
        findings: on its targets.
        weights: name -> sha256 of each model measured.
    """

    facts: dict[str, Any] = field(default_factory=dict[str, Any])
    comparisons: dict[str, Comparison] = field(default_factory=dict[str, Comparison])
    findings: list[Finding] = field(default_factory=list[Finding])
    weights: dict[str, str] = field(default_factory=dict[str, str])

    def as_json(self) -> Mapping[str, Any]:
        """Return facts and timings; findings are reported with the targets."""
        shown = {name: made.as_json() for name, made in self.comparisons.items()}
        return {"facts": self.facts, "comparisons": shown}
