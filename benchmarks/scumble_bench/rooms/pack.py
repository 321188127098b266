"""Writes the demo's graphs beside its weights: `python -m scumble_bench.rooms.pack`.

    python -m scumble_bench.rooms.pack [--checkpoint DIR]

The pack of the checkpoint's weights goes into `DIR/pack`, in place of one that is there, and the
judge's graph into `DIR/judge`. To be called whenever weights have changed.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scumble.errors import ScumbleError
from scumble.models import PACK, find_checkpoint
from scumble.packs import Manifest
from scumble_bench.rooms import CHECKPOINT
from scumble_bench.rooms.judge_network import WEIGHTS, write_graph
from scumble_export.pack import VARIANTS, export_pack

__all__ = ["LIMIT", "main", "write_pack"]

LIMIT = 32_000_000
"""Bytes that checkpoint and pack may have together."""
COLUMNS = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())


def write_pack(
    folder: Path,
    *,
    variants: Sequence[str] = tuple(VARIANTS),
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Manifest:
    """Writes a checkpoint's pack and its judge's graph; what was there stays if either fails.

    Args:
        folder: The checkpoint's.
        variants: Of the pack.
        progress: Told what is being done, and which share is done.

    Raises:
        ModelError: No checkpoint, or a graph that differs from torch.
    """
    checkpoint = find_checkpoint(folder)
    # In the folder itself: a rename does not cross file systems.
    with tempfile.TemporaryDirectory(prefix=f".{PACK}.", dir=folder) as scratch:
        made, before = Path(scratch) / PACK, Path(scratch) / "before"
        manifest = export_pack(checkpoint, made, variants=variants, progress=progress)
        if (folder / "judge" / WEIGHTS).is_file():
            progress("judge", 1.0)
            write_graph(folder / "judge")
        if (folder / PACK).exists():
            os.replace(folder / PACK, before)
        os.replace(made, folder / PACK)
    return manifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes, prints sizes; returns 1 if they are over the limit, 2 if nothing could be written."""
    parser = argparse.ArgumentParser(prog="scumble_bench.rooms.pack", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    folder: Path = parser.parse_args(arguments).checkpoint
    console = Console()
    try:
        with Progress(*COLUMNS, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("loading", total=1.0)
            manifest = write_pack(
                folder,
                progress=lambda what, share: bar.update(task, description=what, completed=share),
            )
    except ScumbleError as error:
        print(error, file=sys.stderr)
        return 2
    whole, pack = _size(folder), _size(folder / PACK)
    worst = max(variant.parity for variant in manifest.variants.values())
    console.print(f"{', '.join(manifest.variants)}: within {worst:.1e} of torch")
    console.print(f"checkpoint {(whole - pack) / 1e6:.2f} MB, pack {pack / 1e6:.2f} MB")
    if whole > LIMIT:
        console.print(f"together {whole / 1e6:.2f} MB: more than {LIMIT / 1e6:.0f} MB")
    return int(whole > LIMIT)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
