"""`scumble build`: the graphs of a pack, built for a kind of GPU and kept in the cache."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from scumble.built import BuiltCache
from scumble.cli.flags import Output, grouped
from scumble.cli.output import Work, print_json, print_table, remark, working
from scumble.errors import ModelError, OptionError
from scumble.models import Checkpoint, find_checkpoint
from scumble.packs import Manifest, check_files
from scumble_engines.tensorrt.cuda import open_device
from scumble_engines.tensorrt.library import Library, find_library
from scumble_engines.tensorrt.orders import Order, parts_of
from scumble_engines.tensorrt.targets import CURRENT, Target, read_targets, target_of
from scumble_engines.tensorrt.worker import build_apart

__all__ = ["build"]


@dataclass(frozen=True, slots=True)
class Done:
    """One graph for one target, as `--json` prints it.

    Attributes:
        graph: variant or component.
        target: kind of GPU.
        seconds: that it took, parsing included.
        bytes: of what was built.
        built: False if it was in the cache.
        cached: True if it is there now.
        stripped: True if the weights are left out.
        digest: of its key in the cache.
        notes: what went wrong beside it, one sentence each.
    """

    graph: str
    target: str
    seconds: float
    bytes: int
    built: bool
    cached: bool
    stripped: bool
    digest: str
    notes: tuple[str, ...]


@grouped
def build(
    *,
    pack: Annotated[str, typer.Argument(help="Pack, or a model that has one.")],
    target: Annotated[
        str,
        typer.Option(
            metavar="sm89,sm120|current", help="Kinds of GPU to build for, or the one at hand."
        ),
    ] = CURRENT,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="Variant or component to build; repeat for several.", show_default="all"),
    ] = None,
    stripped: Annotated[
        bool | None,
        typer.Option(
            "--stripped/--whole",
            help="Leave the weights out, or build with them; leaving them out needs a GPU.",
            show_default="stripped for the GPU at hand, whole for others",
        ),
    ] = None,
    output: Output,
) -> None:
    """Build a pack's graphs for TensorRT, ahead of time; most kinds of GPU need not be here."""
    checkpoint = _pack(pack)
    library = find_library()
    targets, here = _targets(target, library)
    cache, done = BuiltCache(), list[Done]()
    with working(output) as work:
        assert checkpoint.manifest is not None
        check_files(checkpoint.folder, checkpoint.manifest, registered=checkpoint.registered)
        for part in _chosen(checkpoint.manifest, variant):
            for one in targets:
                leave = one == here if stripped is None else stripped
                order = Order(checkpoint.folder, checkpoint.manifest, part, one, leave)
                done.append(_built(library, order, cache, None if here is None else 0, work))
    _report(checkpoint, library, cache, _still_there(cache, done), output)


def _pack(name: str) -> Checkpoint:
    """Return a pack, or the one that lies in a diffusers folder."""
    checkpoint = find_checkpoint(name).in_form("pack")
    if checkpoint.manifest is None:
        raise ModelError(
            f"{name!r} is no pack, and graphs are built from packs; make one: "
            f"scumble export {name} --out PACK."
        )
    return checkpoint


def _chosen(manifest: Manifest, names: Sequence[str] | None) -> list[str]:
    """Return the graphs to build, all of them where none is named."""
    known = parts_of(manifest)
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise OptionError(f"this pack has no {unknown[0]!r}; it has {', '.join(known)}.")
    return list(dict.fromkeys(names or known))


def _targets(text: str, library: Library) -> tuple[tuple[Target, ...], Target | None]:
    """Return the targets that are asked for, and the one that is at hand."""
    device = open_device(0)
    try:
        here = None if device is None else target_of(library, device)
        return read_targets(text, library, device), here
    finally:
        if device is not None:
            device.close()


def _built(
    library: Library, order: Order, cache: BuiltCache, device: int | None, work: Work
) -> Done:
    name, key = f"{order.part} for {order.target.name}", order.key(library)
    start = time.perf_counter()
    made = cache.get_or_build(
        key,
        lambda: build_apart(
            library, order, device, lambda what, share: work.stage(f"{name}: {what} {share:.0%}")
        ),
        progress=lambda what: work.stage(f"{name}: {what}"),
    )
    return Done(
        graph=order.part,
        target=order.target.name,
        seconds=round(time.perf_counter() - start, 2),
        bytes=len(made.data),
        built=made.built,
        cached=made.cached,
        stripped=order.stripped,
        digest=key.digest,
        notes=made.notes,
    )


def _still_there(cache: BuiltCache, done: list[Done]) -> list[Done]:
    """Return the graphs, those that made room for later ones not cached any more."""
    if not any(one.cached for one in done):
        return done
    kept = {entry.digest for entry in cache.entries()}
    gone = (
        "was dropped from the cache to make room for the others; SCUMBLE_CACHE_GB sets how many "
        "gigabytes it may have."
    )
    return [
        one
        if one.digest in kept or not one.cached
        else replace(one, cached=False, notes=(*one.notes, f"{one.graph} for {one.target} {gone}"))
        for one in done
    ]


def _report(
    checkpoint: Checkpoint,
    library: Library,
    cache: BuiltCache,
    done: list[Done],
    output: Output,
) -> None:
    if output.as_json:
        rows: list[dict[str, Any]] = [
            {field: getattr(one, field) for field in Done.__slots__} for one in done
        ]
        print_json(
            {
                "pack": str(checkpoint.folder),
                "engine": library.name,
                "version": library.version,
                "cache": str(cache.folder),
                "graphs": rows,
            }
        )
        return
    for note in dict.fromkeys(note for one in done for note in one.notes):
        remark(output, note)
    if not output.quiet:
        print_table(
            ("graph", "target", "seconds", "size", ""),
            [
                (
                    one.graph,
                    one.target,
                    f"{one.seconds:.1f}",
                    f"{one.bytes / 1e6:.1f} MB",
                    _state(one),
                )
                for one in done
            ],
        )
        total = sum(one.bytes for one in done) / 1e6
        by = f"{library.name} {library.version}"
        print(f"\n{len(done)} graphs, {total:.1f} MB, by {by}, in {cache.folder}")


def _state(one: Done) -> str:
    state = "built" if one.built else "was in the cache"
    if not one.cached:
        state += ", not kept"
    return f"{state}, without weights" if one.stripped else state
