"""`scumble export`: a model becomes a pack."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from scumble.errors import EngineError
from scumble.models import find_checkpoint

__all__ = ["export"]


def export(
    model: Annotated[str, typer.Argument(help="Registered name, diffusers folder or hub id.")],
    out: Annotated[Path, typer.Option(help="Folder of the pack; must not exist.")],
    opset: Annotated[int, typer.Option(help="23, or 21 for older runtimes.")] = 23,
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
    with console.status("loading") as status:
        manifest = export_pack(
            find_checkpoint(model),
            out,
            opset=opset,
            variants=tuple(variant or VARIANTS),
            progress=status.update,
        )
    if as_json:
        print(json.dumps(manifest.model_dump(mode="json")))
        return
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    for name, made in manifest.variants.items():
        groups = ", ".join(made.groups) or "no controls"
        print(f"{name}: {groups}; within {made.parity:.1e} of torch")
    print(f"{out}: {size:.1f} MB")
