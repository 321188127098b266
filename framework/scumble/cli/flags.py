"""Flags that several commands share, as groups, and the one place where they become request fields.

A flag that was not given is None and left out, so that the request's own default holds.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, cast, get_type_hints

import typer

from scumble.cli.settings import read_settings
from scumble.errors import OptionError
from scumble.requests import EditRequest, EngineRequest, InvertRequest

__all__ = ["Inverting", "Loading", "Out", "Output", "Sampling", "grouped"]

Out = Annotated[Path, typer.Option(help="PNG to write; it holds the whole recipe.")]

SAMPLING = "Sampling"
INVERSION = "Inversion of a given picture"
MODEL = "Model and engine"
OUTPUT = "Output"


def _default(name: str) -> str:
    """Return a request field's default, for help texts."""
    known = EngineRequest.model_fields | EditRequest.model_fields
    return str(known[name].default)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a picture is sampled."""

    steps: Annotated[
        int | None,
        typer.Option(help="DDIM steps.", show_default=_default("steps"), rich_help_panel=SAMPLING),
    ] = None
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Classifier-free guidance scale; 1 is none.",
            show_default=f"{_default('guidance')}; 1 where a picture is only inverted",
            rich_help_panel=SAMPLING,
        ),
    ] = None
    negative: Annotated[
        str | None,
        typer.Option(help="Text of the unconditional rows.", rich_help_panel=SAMPLING),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of every random draw.", show_default=_default("seed"), rich_help_panel=SAMPLING
        ),
    ] = None
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Height x width in pixels, or one number for a square.",
            show_default="the model's own",
            rich_help_panel=SAMPLING,
        ),
    ] = None
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="crop|pad|stretch",
            help="How a picture of another shape is brought to that size.",
            show_default=_default("fit"),
            rich_help_panel=SAMPLING,
        ),
    ] = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of a `SamplingRequest`."""
        size = None if self.size is None else read_size(self.size)
        return _given(
            steps=self.steps,
            guidance=self.guidance,
            negative=self.negative,
            seed=self.seed,
            size=size,
            fit=self.fit,
        )


@dataclass(frozen=True, slots=True)
class Inverting:
    """How the noise that leads to a given picture is found."""

    inversion: Annotated[
        str | None,
        typer.Option(
            metavar="PLUGIN",
            help="Plugin that inverts; `scumble plugins` lists them.",
            show_default=f"{_default('inversion')}; ddim for `scumble invert`",
            rich_help_panel=INVERSION,
        ),
    ] = None
    inversion_set: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An option of that plugin.", rich_help_panel=INVERSION
        ),
    ] = None

    def fields(self, default: str | None = None) -> dict[str, Any]:
        """Return the fields that `EditRequest` and `InvertRequest` share.

        Args:
            default: the command's own default plugin, where it is not the request's.
        """
        name = self.inversion or default
        whose = name or str(InvertRequest.model_fields["inversion"].default)
        options = read_settings(whose, self.inversion_set or [], "--inversion-set")
        return _given(inversion=name, inversion_options=options or None)


@dataclass(frozen=True, slots=True)
class Loading:
    """What runs, and on what."""

    model: Annotated[
        str | None,
        typer.Option(
            help="Registered name, diffusers folder, pack or hub id.",
            show_default=_default("model"),
            rich_help_panel=MODEL,
        ),
    ] = None
    engine: Annotated[
        str | None,
        typer.Option(
            help="What runs the UNet; `scumble engines` lists them.",
            show_default="onnxruntime for a model with a pack, else torch",
            rich_help_panel=MODEL,
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="fp32|fp64|bf16|fp16",
            help="Of the UNet.",
            show_default=_default("precision"),
            rich_help_panel=MODEL,
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            metavar="auto|cpu|cuda|cuda:N",
            help="Where it runs.",
            show_default=_default("device"),
            rich_help_panel=MODEL,
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads.", show_default="the runtime's own", rich_help_panel=MODEL),
    ] = None
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="eager|compile|graph",
            help="As the UNet is, or in a form made for its shapes: torch, and tensorrt for graph.",
            show_default=_default("mode"),
            rich_help_panel=MODEL,
        ),
    ] = None
    revision: Annotated[
        str | None,
        typer.Option(help="Branch, tag or commit of a hub id.", rich_help_panel=MODEL),
    ] = None
    gradient_engine: Annotated[
        str | None,
        typer.Option(
            metavar="ENGINE",
            help="Engine of what needs a derivative, such as mag_edit.",
            show_default="the run's own",
            rich_help_panel=MODEL,
        ),
    ] = None
    local_files_only: Annotated[
        bool, typer.Option("--local-files-only", help="Never ask the hub.", rich_help_panel=MODEL)
    ] = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of an `EngineRequest`."""
        return _given(
            model=self.model,
            engine=self.engine,
            precision=self.precision,
            device=self.device,
            threads=self.threads,
            mode=self.mode,
            revision=self.revision,
            local_files_only=self.local_files_only or None,
            gradient_engine=self.gradient_engine,
        )


@dataclass(frozen=True, slots=True)
class Output:
    """How a command says what it did."""

    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print one JSON object and no more.", rich_help_panel=OUTPUT),
    ] = False
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=OUTPUT),
    ] = False


def read_size(text: str) -> tuple[int, int]:
    """Return (height, width) from `HxW`, or from one number for a square.

    Raises:
        OptionError: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,9})(?:[xX]([0-9]{1,9}))?", text.strip())
    if match is None:
        raise OptionError(f"--size is {text!r}; give HEIGHTxWIDTH such as 128x192, or one number.")
    return int(match[1]), int(match[2] or match[1])


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function that typer sees with one flag for each field of a group it takes.

    A parameter annotated with one of the dataclasses above stands for all of their fields.
    """
    flat: list[inspect.Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind = parameter.annotation
        if not is_dataclass(kind):
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        groups[parameter.name] = cast("type[Any]", kind)
        hints = get_type_hints(kind, include_extras=True)
        flat.extend(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=hints[field.name],
            )
            for field in fields(kind)
        )

    @wraps(function)
    def command(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        function(**given, **made)

    command.__signature__ = inspect.Signature(flat)  # pyright: ignore[reportAttributeAccessIssue]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    return command


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
