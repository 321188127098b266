"""Which engine runs a model when nobody names one."""

from importlib.util import find_spec

from scumble.models import Checkpoint
from scumble.requests import EngineRequest

__all__ = ["choose_engine"]

QUICK, REFERENCE = "onnxruntime", "torch"


def choose_engine(checkpoint: Checkpoint, asked: EngineRequest) -> str:
    """Return the name of the engine that is taken when none is named.

    A pack is run by `onnxruntime`. So is a checkpoint that has a pack beside it, unless another
    precision than the pack's, a CUDA device or a mode is asked for; these, and a checkpoint without
    a pack, are run by `torch`. Where torch alone is installed, it runs the checkpoint in any case.

    Only what is asked for, what lies in the folder and what is installed decide; not which devices
    a machine has.

    Args:
        checkpoint: as `find_checkpoint` found it.
        asked: precision, device and mode.

    Raises:
        ModelError: the checkpoint's pack cannot be used.
    """
    if checkpoint.manifest is not None:
        return QUICK
    pack = checkpoint.pack
    if pack is None or pack.manifest is None or pack.manifest.precision != asked.precision:
        return REFERENCE
    if asked.device.startswith("cuda") or asked.mode != "eager":
        return REFERENCE
    return REFERENCE if _installed(REFERENCE) and not _installed(QUICK) else QUICK


def _installed(runtime: str) -> bool:
    """Return whether a module could be imported, without importing it: a runtime takes seconds."""
    return find_spec(runtime) is not None
