"""Every port of a graph is changed alone, and has to move what comes out."""

from collections.abc import Iterable

from scumble.errors import ModelError
from scumble_export.graph import Declaration, nudged
from scumble_export.tracing import GraphRun, distance

__all__ = ["LEAST", "sensitivity"]

LEAST = 1e-6
"""Least movement relative to the outputs' size. A port that is not connected moves nothing at all,
for both runs are otherwise alike; one site of a trained model may move little."""
ROWS = 2


def sensitivity(
    graph: GraphRun, declaration: Declaration, names: Iterable[str]
) -> dict[str, float]:
    """Return how far a graph's outputs move with each port, relative to their size.

    Args:
        graph: as written.
        declaration: what it takes.
        names: the ports to change.

    Raises:
        ModelError: a port moves nothing, so that an edit through it would do nothing.
    """
    base = declaration.examples(ROWS, seed=11)
    before = graph(base)
    addressable = ROWS + ("replay" in declaration.groups)
    moved: dict[str, float] = {}
    for name in names:
        rows = ROWS if name in ("feature_route", "record.row") else addressable
        changed = {**base, name: nudged(name, base[name], rows).astype(base[name].dtype)}
        moved[name] = distance(graph(changed), before)
        if not moved[name] > LEAST:
            raise ModelError(
                f"port {name!r} has no effect in {graph.name} (moved by {moved[name]:.1e}); "
                "the pack was not written."
            )
    return moved
