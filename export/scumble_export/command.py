"""`scumble export`: a model becomes a pack."""

import json
from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scumble.errors import EngineError, OptionError
from scumble.models import find_checkpoint
from scumble.packs import PackPrecision

__all__ = ["export"]

COLUMNS = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())


def export(
    model: Annotated[str, typer.Argument(help="Registered name, diffusers folder or hub id.")],
    out: Annotated[Path, typer.Option(help="Folder of the pack; must not exist.")],
    opset: Annotated[int, typer.Option(help="23, or 21 for older runtimes.")] = 23,
    precision: Annotated[str, typer.Option(help="Of the UNet: fp32, or fp16 for GPUs.")] = "fp32",
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Height and width in pixels of the pictures; default: the model's own."),
    ] = None,
    variant: Annotated[
        list[str] | None, typer.Option(help="Variant to export; repeat for several.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Export a model to a pack, which the onnxruntime engine runs without torch."""
    # Here and not above: the exporter needs torch and onnx, and help must not.
    try:
        from scumble_export.pack import VARIANTS, export_pack
    except ImportError as error:
        raise EngineError(
            f"exporting needs {error.name}, which is not installed: pip install 'scumble[export]'."
        ) from error
    console = Console(stderr=True)
    if precision not in get_args(PackPrecision):
        raise OptionError(
            f"precision is {precision!r}; want {' or '.join(get_args(PackPrecision))}."
        )
    with Progress(*COLUMNS, console=console, transient=True) as bar:
        task = bar.add_task("loading", total=1.0)
        manifest = export_pack(
            find_checkpoint(model),
            out,
            opset=opset,
            precision=cast("PackPrecision", precision),
            size=size,
            variants=tuple(variant or VARIANTS),
            progress=lambda what, share: bar.update(task, description=what, completed=share),
        )
    if as_json:
        print(json.dumps(manifest.model_dump(mode="json")))
        return
    weight = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    for name, made in manifest.variants.items():
        groups = ", ".join(made.groups) or "no controls"
        print(f"{name}: {groups}; within {made.parity:.1e} of torch")
    print(f"{out}: {weight:.1f} MB")
