"""Everything a user gives, looked over before the model is loaded: bad input fails at once."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scumble.cli.flags import Loading
from scumble.cli.reporting import hushed
from scumble.errors import OptionError, PromptError
from scumble.images import load_picture, read_mask
from scumble.models import find_checkpoint
from scumble.options import check_options
from scumble.plugins import list_entries, load_plugin
from scumble.requests import REQUESTS, EngineRequest
from scumble.words import Prompt, Tokenizer

__all__ = [
    "check_pictures",
    "check_plugin",
    "check_prompts",
    "check_request",
    "first_with",
    "named_masks",
]


def named_masks(given: Iterable[str]) -> dict[str, Path]:
    """Return mask files by name, from `FILE` or `NAME=FILE`; the one without a name is ''.

    Raises:
        OptionError: a name that is given twice.
    """
    found: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = "", text
        if name in found:
            which = f"mask {name!r}" if name else "--mask without a name"
            raise OptionError(f"{which} is given twice; name each mask once, as NAME=FILE.")
        found[name] = Path(path)
    return found


def check_pictures(image: Path | None, masks: Iterable[Path] = ()) -> None:
    """Refuse a picture or masks that cannot be used.

    Raises:
        ImageError: missing, unreadable, or a mask of another size.
        OptionError: a mask without a picture.
    """
    if image is None:
        if list(masks):
            raise OptionError("--mask needs a picture of its size; give an IMAGE too.")
        return
    picture = load_picture(image)
    for mask in masks:
        read_mask(mask, picture.size)


def check_request(operation: str, fields: Mapping[str, Any]) -> None:
    """Refuse a request that `Editor` would refuse."""
    check_options(REQUESTS[operation], fields, operation)


def check_plugin(name: str, options: Mapping[str, Any]) -> None:
    """Refuse a plugin that is missing or broken, or options that it refuses."""
    with hushed():
        load_plugin(name, options)


def check_prompts(
    loading: Loading,
    prompts: Sequence[str],
    negative: str | None = None,
    *,
    silent: bool = False,
) -> list[Prompt]:
    """Return prompts as the model's tokenizer cuts them; no weights are read.

    Args:
        loading: of the model.
        prompts: in order.
        negative: that of the unconditional rows.
        silent: True if the first prompt may be empty.

    Raises:
        PromptError: empty, far too long, or with control characters.
        OptionError: no such engine, or a setting out of range.
        ModelError: no such model, or a folder that is no checkpoint.
    """
    for index, prompt in enumerate(prompts):
        if not prompt.strip() and (prompt or index or not silent):
            raise PromptError("a prompt is empty; say what is to be seen.")
    asked = check_options(EngineRequest, loading.fields(), "scumble")
    engines = list_entries("scumble.engines")
    for name in (asked.engine, asked.gradient_engine):
        if name is not None and name not in engines:
            known = ", ".join(engines) or "none"
            raise OptionError(f"no engine {name!r}; installed: {known}.")
    with hushed():
        checkpoint = find_checkpoint(
            asked.model, revision=asked.revision, local_files_only=asked.local_files_only
        )
    tokenizer = Tokenizer.load(checkpoint.tokenizer)
    tokenizer.encode(negative or "")
    return [tokenizer.encode(prompt) for prompt in prompts]


def first_with(word: str, prompts: Sequence[Prompt]) -> int:
    """Return the picture whose map of a word is meant: the first target that has it, else 0.

    Args:
        word: or phrase.
        prompts: the source's first.

    Raises:
        PromptError: no prompt has it.
    """
    missing: PromptError | None = None
    for picture in (*range(1, len(prompts)), 0):
        try:
            prompts[picture].tokens_of(word)
            return picture
        except PromptError as error:
            missing = error
    raise missing or PromptError(f"no prompt has the word {word!r}.")
