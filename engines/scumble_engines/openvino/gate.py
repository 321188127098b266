"""The quality gate: a graph in bf16 has to agree with itself in fp32 before it is used."""

from collections.abc import Hashable, Mapping
from pathlib import Path

import numpy as np

from scumble.arrays import Array
from scumble.errors import EngineError
from scumble_engines.openvino.graphs import Graph

__all__ = ["BOUND", "passed", "random_ports"]

BOUND = 0.03
"""Largest error of an output in bf16, as a root mean square relative to the output's.

Measured, on a CPU with AVX512-BF16: 0.004 on the demo checkpoint, 0.012 on a tiny UNet of random
weights; 0.02 to 0.07 on that one where the timestep is rounded to bf16.
"""
ROWS = 2
# Neither is a number of 8 bits, so that a graph which rounds its timestep shows it.
TIMESTEPS = (515, 999)

_VERDICTS: dict[Hashable, float] = {}


def passed(key: Hashable, path: Path, threads: int | None) -> Graph:
    """Return a graph that computes in bf16, compared once in a process with fp32.

    That costs one more compilation and one step of two rows the first time; the fp32 graph is let
    go before the other is made. The comparison finds what reduced precision does to this model,
    and kernels that are wrong in one of the two; what both compute wrongly it cannot see.

    Args:
        key: what determines the answer: the pack's files and the graph among them.
        path: of the graph.
        threads: as of `Graph`.

    Raises:
        EngineError: it differs by more than `BOUND`.
    """
    if key not in _VERDICTS:
        exact = Graph(path, "f32", threads)
        feed = random_ports(exact.shapes)
        wanted = exact(feed)
        del exact
        graph = Graph(path, "bf16", threads)
        _VERDICTS[key] = _error(graph(feed), wanted)
    else:
        graph = Graph(path, "bf16", threads)
    worst = _VERDICTS[key]
    if not worst <= BOUND:  # and not `>`, which passes over NaN
        raise EngineError(
            f"{path.name} in bf16 is off by {worst:.1e} of its fp32 outputs, more than {BOUND}; "
            "use precision 'fp32'."
        )
    return graph


def random_ports(shapes: Mapping[str, tuple[int | None, ...]]) -> dict[str, Array]:
    """Return random inputs of two rows that use every port.

    Args:
        shapes: input name -> shape, None being the rows.
    """
    rng = np.random.default_rng(0)
    addressable = ROWS + ("source.text" in shapes)
    values: dict[str, Array] = {}
    for name, shape in shapes.items():
        rows = addressable if name == "read.weights" else ROWS
        size = tuple(rows if axis is None else axis for axis in shape)
        if name == "timestep":
            values[name] = np.array(TIMESTEPS)
        elif name in ("route", "feature_route", "mix.row", "record.row"):
            values[name] = rng.integers(0, ROWS, size)
        elif name in ("region.query", "region.key"):
            values[name] = rng.integers(0, 2, size).astype(np.float32)
        elif name == "added.size":
            values[name] = rng.integers(0, 1024, size).astype(np.float32)
        elif name.endswith(".sites"):
            values[name] = np.ones(size, np.float32)
        elif name.startswith(("mix.", "read.")):
            values[name] = rng.random(size, np.float32)
        else:
            values[name] = rng.standard_normal(size, np.float32)
    return values


def _error(found: Mapping[str, Array], wanted: Mapping[str, Array]) -> float:
    """Return the worst output's relative error."""
    errors = [np.linalg.norm(found[n] - wanted[n]) / np.linalg.norm(wanted[n]) for n in wanted]
    return float(np.max(errors))
