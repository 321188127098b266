"""Networks out of folders as transformers saves them, whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from scumble.errors import ModelError

__all__ = ["load_whole"]


def load_whole(
    folder: Path, example: str, parts: tuple[Callable[..., Any], ...], model: Callable[..., Any]
) -> tuple[Any, ...]:
    """The parts of a folder and its model, ready to be used but not trained.

    transformers itself only warns of weights that are missing, and makes them up.

    Args:
        folder: holds `config.json`; nothing is looked for elsewhere.
        example: a published model that would do, for sentences.
        parts: `from_pretrained` of processors and tokenizers.
        model: `from_pretrained` of the model, which can return what it found.

    Returns:
        What each of the parts gave, then the model; typed in no version of transformers.

    Raises:
        ModelError: something is not there, cannot be read, or lacks weights.
    """
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} holds no config.json; give a folder with a copy of {example}.")
    try:
        loaded = [part(folder, local_files_only=True) for part in parts]
        network, found = model(folder, local_files_only=True, output_loading_info=True)
    except (OSError, ValueError, RuntimeError, TypeError) as error:
        raise ModelError(
            f"{folder} cannot be loaded as a copy of {example}, transformers says: {error}"
        ) from error
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} weights, the first is {missing[0]!r}; give a whole "
            f"copy of {example}."
        )
    return *loaded, network.eval().requires_grad_(False)
