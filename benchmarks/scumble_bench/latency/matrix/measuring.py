"""The whole matrix: own cells and peers, interleaved in one process, and each one's memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from scumble.errors import OptionError
from scumble.plugins import load_class
from scumble_bench.latency.interleaving import cause_of, interleave
from scumble_bench.latency.matrix.axes import CellSpec
from scumble_bench.latency.matrix.beside import PeerCell, beside
from scumble_bench.latency.matrix.cases import case_of
from scumble_bench.latency.matrix.editors import Editors
from scumble_bench.latency.matrix.fresh import FreshRun, run_fresh
from scumble_bench.latency.matrix.ours import OwnCell, generates
from scumble_bench.latency.records import Measured
from scumble_bench.peers.peer import PeerEntry

__all__ = ["Begin", "Matrix", "chosen_baseline", "measure_matrix"]

Begin: TypeAlias = Callable[[str, int], Callable[[str], object]]
"""Told of a stretch of work and how many turns it has; what it returns is told of each turn."""

BASELINES = ("reference prompt_to_prompt, torch", "reference ", "prompt_to_prompt, torch")
"""What is measured against if nobody says: the first cell of the first of these that there is."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """What is measured.

    Attributes:
        specs: own cells.
        peers: that stand beside them.
        baseline: part of the name of the cell that ratios are against; empty chooses one.
        rounds: timed runs of each cell.
        warmup: untimed runs before.
        memory: whether each cell is run once more, in a process of its own.
        seed: of pictures' last bits, and of what is generated.
    """

    specs: Sequence[CellSpec]
    peers: tuple[PeerEntry, ...] = ()
    baseline: str = ""
    rounds: int = 5
    warmup: int = 1
    memory: bool = True
    seed: int = 0


def measure_matrix(
    matrix: Matrix, editors: Editors, begin: Begin = lambda what, turns: lambda name: None
) -> tuple[tuple[Measured, ...], str]:
    """Return what each cell took, and the baseline's name.

    Args:
        matrix: what is measured.
        editors: models that are loaded, or will be.
        begin: told of what is done.

    Raises:
        OptionError: no cell, or no single one that the baseline could be.
    """
    own = [OwnCell(spec, editors, matrix.seed) for spec in matrix.specs if _exists(spec)]
    peers = beside(matrix.peers, [cell.spec for cell in own], editors)
    names = [*(cell.name for cell in peers), *(cell.spec.name for cell in own)]
    baseline = chosen_baseline(matrix.baseline, names)
    cells = [each.cell() for each in (*peers, *own)]
    tell = begin("edits", len(cells) * (matrix.rounds + matrix.warmup))
    done = interleave(*cells, rounds=matrix.rounds, warmup=matrix.warmup, tell=tell)
    found = [each.measured(done, baseline) for each in (*peers, *own)]
    if matrix.memory:
        found = _with_memory(found, peers, own, editors, begin("memory", len(found)))
    return tuple(found), baseline


def chosen_baseline(asked: str, names: Sequence[str]) -> str:
    """Return the name of the cell that ratios are against.

    Args:
        asked: the whole of a name, or a part of it that one cell alone has; empty chooses.
        names: of all cells.

    Raises:
        OptionError: there is no cell, or none or several of that name.
    """
    if not names:
        raise OptionError("no cell is left to be measured; name a method, engine and model.")
    if not asked:
        for part in BASELINES:
            for name in names:
                if name.startswith(part):
                    return name
        return names[0]
    fitting = [name for name in names if name == asked] or [n for n in names if asked in n]
    if len(fitting) != 1:
        listed = "; ".join(fitting or names)
        raise OptionError(f"baseline {asked!r} is {len(fitting)} cells; choose one of: {listed}.")
    return fitting[0]


def _exists(spec: CellSpec) -> bool:
    """Return whether a cell can be.

    A generated picture has no next edit, and a convention is of an inversion that takes one.
    """
    if spec.edit == "first" and spec.convention == "target":
        return True
    # A plugin that cannot be loaded is a cell that failed, and says why; once is enough.
    try:
        if generates(case_of(spec)):
            return False
        return spec.convention == "target" or not hasattr(
            load_class(spec.method)[1], "scumble_invert"
        )
    except Exception:  # as said above
        return spec.convention == "target"


def _with_memory(
    measured: Sequence[Measured],
    peers: Sequence[PeerCell],
    own: Sequence[OwnCell],
    editors: Editors,
    tell: Callable[[str], object],
) -> list[Measured]:
    """Return the cells with their peaks; one process serves the first and the next edit."""
    known: dict[str, FreshRun] = {}
    found: list[Measured] = []
    for cell, each in zip(measured, (*peers, *own), strict=True):
        peer = each.entry.name if isinstance(each, PeerCell) else None
        key = f"{each.spec.title(peer or each.spec.method)}, {each.spec.convention}"
        if cell.failure is None:
            # What hinders this run is a note, for the cell has its times.
            try:
                if key not in known:
                    known[key] = run_fresh(
                        each.spec, peer=peer, device=editors.device, threads=editors.threads
                    )
            except Exception as error:  # as said above
                why = f"Its memory could not be measured: {cause_of(error)}."
                cell = cell.model_copy(update={"notes": (*cell.notes, why)})
            else:
                run = known[key]
                peak = run.first if cell.edit == "first" else run.next
                cell = cell.model_copy(update={"memory": peak})
        found.append(cell)
        tell(cell.name)
    return found
