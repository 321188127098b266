"""Every port of a graph leads to its outputs, and moves them when it is changed alone."""

from collections.abc import Iterable, Mapping

from onnx import ModelProto

from scumble.arrays import Array
from scumble.errors import ModelError
from scumble_export.graph import Declaration, nudged
from scumble_export.tracing import GraphRun, distance

__all__ = ["LEAST", "require_connected", "sensitivity"]

LEAST = 1e-6
"""Least movement relative to the outputs' size. A port that is not connected moves nothing at all,
for both runs are otherwise alike; one site of a trained model may move little."""
ROWS = 2


def require_connected(model: ModelProto) -> None:
    """Raise ModelError if no path leads from an input of a graph to one of its outputs."""
    needed = {value.name for value in model.graph.output}
    # Nodes come after those that they depend on.
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    for value in model.graph.input:
        if value.name not in needed:
            raise ModelError(
                f"port {value.name!r} leads to no output of its graph, so an edit through it would "
                "do nothing; the pack was not written."
            )


def sensitivity(
    graph: GraphRun,
    declaration: Declaration,
    names: Iterable[str],
    *,
    base: tuple[Mapping[str, Array], list[Array]] | None = None,
    groups_at_once: bool = False,
) -> dict[str, float]:
    """Return how far a graph's outputs move with each port, relative to their size.

    Args:
        graph: as written.
        declaration: what it takes.
        names: the ports to change.
        base: inputs of two rows, and the graph's outputs for them, if they are known.
        groups_at_once: changes the ports of a group together, all but the plain ones, under the
            group's name. A large model takes too long to be run for each, of which recorded state
            has one a site; that each is connected is `require_connected`'s to say.

    Raises:
        ModelError: a port moves nothing, so that an edit through it would do nothing.
    """
    inputs, before = base or _computed(graph, declaration)
    addressable = ROWS + ("replay" in declaration.groups)
    changes: dict[str, list[str]] = {}
    for name in names:
        group = next(port.group for port in declaration.inputs if port.name == name)
        at_once = groups_at_once and group != "plain"
        changes.setdefault(group if at_once else name, []).append(name)
    moved: dict[str, float] = {}
    for change, ports in changes.items():
        other = {n: nudged(n, inputs[n], _rows(n, addressable)) for n in ports}
        other = {n: array.astype(inputs[n].dtype) for n, array in other.items()}
        moved[change] = distance(graph({**inputs, **other}), before)
        if not moved[change] > LEAST:
            raise ModelError(
                f"port {change!r} has no effect in {graph.name} (moved by {moved[change]:.1e}); "
                "the pack was not written."
            )
    return moved


def _rows(name: str, addressable: int) -> int:
    return ROWS if name in ("feature_route", "record.row") else addressable


def _computed(graph: GraphRun, declaration: Declaration) -> tuple[dict[str, Array], list[Array]]:
    inputs = declaration.examples(ROWS, seed=11)
    return inputs, graph(inputs)
