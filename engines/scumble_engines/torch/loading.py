"""Components of a diffusers folder as torch modules; missing weights are an error."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from scumble.errors import ModelError
from scumble.models import Checkpoint
from scumble_engines.torch.memory import typed_memory_errors

__all__ = ["load_component"]


def load_component(
    kind: Any, checkpoint: Checkpoint, part: str, dtype: torch.dtype, device: torch.device
) -> Any:
    """Load one component, in evaluation and frozen.

    Args:
        kind: its class.
        checkpoint: a diffusers folder.
        part: the component's folder.
        dtype: of its weights.
        device: where they go.

    Raises:
        ModelError: files that cannot be loaded, or lack weights; the first is named.
        OutOfMemoryError: the weights do not fit.
    """
    # The two libraries name one argument differently.
    chosen: dict[str, Any] = {"dtype" if part.startswith("text_encoder") else "torch_dtype": dtype}
    try:
        with _quiet(), typed_memory_errors():
            module, report = kind.from_pretrained(
                checkpoint.folder / part,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                low_cpu_mem_usage=False,
                **chosen,
            )
            module = module.to(device)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"{checkpoint.name!r}: its {part} cannot be loaded: {error}") from error
    missing = [name for name in report["missing_keys"] if not name.endswith("position_ids")]
    if missing:
        raise ModelError(f"{checkpoint.name!r}: its {part} lacks weights, e.g. {missing[0]}.")
    return module.eval().requires_grad_(False)


@contextmanager
def _quiet() -> Generator[None]:
    """Keep the loading bars of the two libraries off the user's terminal."""
    was_shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_shown:
            transformers_logging.enable_progress_bar()
