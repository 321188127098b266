"""What a user may ask of an `Editor`, checked before anything runs; unknown keys are refused."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from scumble.options import Options

__all__ = [
    "REQUESTS",
    "EditRequest",
    "EngineRequest",
    "GenerateRequest",
    "InvertRequest",
    "PrepareRequest",
]

Length = Annotated[int, Field(ge=8, le=4096)]


class SamplingRequest(Options):
    """What every run has.

    Attributes:
        steps: DDIM steps.
        guidance: classifier-free guidance scale; 1 is none, and halves the rows.
        negative: the text of the unconditional rows.
        seed: of every random draw.
        size: (height, width) in pixels; None is the model's native size.
        fit: how a picture of another shape is brought to that size.
    """

    steps: Annotated[int, Field(ge=1, le=1000)] = 50
    guidance: Annotated[float, Field(ge=1, le=100)] = 7.5
    negative: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    size: tuple[Length, Length] | None = None
    fit: Literal["crop", "pad", "stretch"] = "crop"


class GenerateRequest(SamplingRequest):
    """Make a picture from a prompt.

    Attributes:
        prompt: what is to be seen.
    """

    prompt: str


class InvertRequest(SamplingRequest):
    """Find the noise that leads to a picture, and sample back from it.

    Attributes:
        source: describes the picture.
        inversion: the plugin that inverts.
        inversion_options: its options.
        guidance: of the way back.
    """

    source: str
    inversion: str = "ddim"
    inversion_options: Mapping[str, Any] = Field(default_factory=dict)
    guidance: Annotated[float, Field(ge=1, le=100)] = 1.0


class PrepareRequest(SamplingRequest):
    """Invert a picture and record its source row ahead of its edits.

    Attributes:
        source: describes the picture.
        inversion: the plugin that inverts.
        inversion_options: its options.
    """

    source: str
    inversion: str = "direct"
    inversion_options: Mapping[str, Any] = Field(default_factory=dict)


class EditRequest(SamplingRequest):
    """Edit a picture, or a generated one, from a source prompt to target prompts.

    Attributes:
        source: describes the picture as it is.
        targets: describe what it is to become, one result each.
        method: the plugin that edits.
        options: its options.
        further: more plugins that edit, with their options; each is asked after those before it.
        inversion: the plugin that inverts; not used where the source is generated, nor with a
            method that brings its own way to noise.
        inversion_options: its options.
        masking: a plugin that makes the mask, in place of a given one; None leaves it to the user,
            or to a method that makes its own.
        masking_options: its options.
    """

    source: str
    targets: Annotated[tuple[str, ...], Field(min_length=1, max_length=64)]
    method: str = "prompt_to_prompt"
    options: Mapping[str, Any] = Field(default_factory=dict)
    further: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    inversion: str = "direct"
    inversion_options: Mapping[str, Any] = Field(default_factory=dict)
    masking: str | None = None
    masking_options: Mapping[str, Any] = Field(default_factory=dict)


class EngineRequest(Options):
    """On what to run.

    Attributes:
        model: registered name, diffusers folder, pack or hub id.
        engine: the engine's name; None is onnxruntime for a model with a pack, else torch.
        precision: of the UNet.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads; None leaves the runtime's default.
        mode: `eager` runs the UNet as it is, `compile` and `graph` in a form made for its shapes.
        revision: of a hub id.
        local_files_only: never ask the hub.
        gradient_engine: the engine of what needs a derivative; None is the run's own.
    """

    model: str = "rooms"
    engine: str | None = None
    precision: Literal["fp32", "fp64", "bf16", "fp16"] = "fp32"
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    mode: Literal["eager", "compile", "graph"] = "eager"
    revision: str | None = None
    local_files_only: bool = False
    gradient_engine: str | None = None


REQUESTS: dict[str, type[Options]] = {
    "edit": EditRequest,
    "engine": EngineRequest,
    "generate": GenerateRequest,
    "invert": InvertRequest,
    "prepare": PrepareRequest,
}
"""Every request by name; `scumble schema NAME` prints its JSON schema."""
