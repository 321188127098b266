"""Word services: CLIP's tokenizer, without transformers, as the words of a prompt need it."""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import tokenizers
from tokenizers import normalizers, pre_tokenizers
from tokenizers.models import BPE

from scumble.errors import ModelError, PromptError
from scumble.prompts import Prompt, Word, split_words

__all__ = ["MAX_CHARACTERS", "Prompt", "Tokenizer", "Word"]

MAX_CHARACTERS = 10_000  # longer prompts are refused unread; a window of 77 tokens holds about 300
# How CLIP cuts a prompt before byte-pair encoding (openai/CLIP, simple_tokenizer.py).
CUTS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
ROLES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, slots=True, eq=False)
class Tokenizer:
    """CLIP's byte-pair encoding, with the ids that transformers' `CLIPTokenizer` gives.

    Attributes:
        window: tokens that the text encoder reads, BOS and EOS included.
        bos: id of the first token.
        eos: id of the token after the last word.
        pad: id of the tokens after EOS.
    """

    backend: tokenizers.Tokenizer
    window: int
    bos: int
    eos: int
    pad: int

    @classmethod
    def load(cls, folder: str | Path, window: int | None = None) -> Self:
        """Return the tokenizer in the `tokenizer` folder of a diffusers checkpoint.

        Args:
            folder: has `tokenizer.json`, or `vocab.json` and `merges.txt`; and
                `tokenizer_config.json`.
            window: tokens that the text encoder reads; None takes `model_max_length`.
        """
        folder = Path(folder)
        settings, path = _json(folder / "tokenizer_config.json"), folder / "tokenizer.json"
        whole = _json(path) if path.is_file() else None
        if "added_tokens_decoder" not in settings:
            legacy = folder / "special_tokens_map.json"
            settings |= _json(legacy) if legacy.is_file() else {}
            listed: list[Any] = (whole or {}).get("added_tokens", [])
            settings["added_tokens_decoder"] = dict(enumerate(listed))
        declared = settings.get("model_max_length") if window is None else window
        if not isinstance(declared, int) or not 3 <= declared <= MAX_CHARACTERS:
            raise ModelError(
                f"the tokenizer in {folder} reads {declared!r} tokens by its model_max_length; "
                f"give a whole number from 3 to {MAX_CHARACTERS}."
            )
        special = list(_special(settings, folder))
        names = dict(zip(ROLES, special[-len(ROLES) :], strict=True))
        backend = tokenizers.Tokenizer(_bpe(whole, folder, names["unk_token"].content))
        backend.normalizer = normalizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
            [
                normalizers.NFC(),
                normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
                normalizers.Lowercase(),
            ]
        )
        backend.pre_tokenizer = pre_tokenizers.Sequence(  # pyright: ignore[reportAttributeAccessIssue]
            [
                pre_tokenizers.Split(tokenizers.Regex(CUTS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
        for token in special:
            if backend.token_to_id(token.content) is None:
                raise ModelError(f"the vocabulary in {folder} has no {token.content!r}; add it.")
        backend.add_special_tokens(special)  # pyright: ignore[reportUnknownMemberType]
        bos, eos, _, pad = (cast(int, backend.token_to_id(names[r].content)) for r in ROLES)
        return cls(backend, declared, bos, eos, pad)

    def encode(self, prompt: str) -> Prompt:
        """Return a prompt as tokens; the empty prompt is that of the unconditional row.

        A prompt that is longer than the window is cut as the model's own pipeline cuts it, and
        says so in `overflow` and `notice`.
        """
        _check(prompt)
        coded = self.backend.encode(prompt, add_special_tokens=False)
        offsets = [(int(start), int(end)) for start, end in coded.offsets]
        kept = min(len(offsets), self.window - 2)
        padding = self.window - kept - 2
        ids = [self.bos, *coded.ids[:kept], self.eos, *[self.pad] * padding]
        rest = (len(prompt), len(prompt))
        unread = offsets[kept:]
        cut = unread[0][0] if unread else len(prompt)
        array = np.array(ids, dtype=np.int64)
        array.setflags(write=False)
        return Prompt(
            text=prompt,
            ids=array,
            spans=((0, 0), *offsets[:kept], *[rest] * (padding + 1)),
            length=kept + 2,
            needed=len(offsets) + 2,
            overflow=tuple(word for word in split_words(prompt) if unread and word.end > cut),
        )


def _check(prompt: object) -> None:
    if not isinstance(prompt, str):
        raise PromptError(f"a prompt is text and this is {type(prompt).__name__}; give a string.")
    if len(prompt) > MAX_CHARACTERS:
        raise PromptError(
            f"the prompt has {len(prompt)} characters; give at most {MAX_CHARACTERS}."
        )
    for place, character in enumerate(prompt):
        if unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n\r":
            raise PromptError(
                f"the prompt has the control character U+{ord(character):04X} at position {place}; "
                "remove it."
            )


def _json(path: Path) -> dict[str, Any]:
    try:
        value: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({error}); fetch the model anew."
        ) from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object; fetch the model anew.")
    return cast(dict[str, Any], value)


def _special(settings: Mapping[str, Any], folder: Path) -> Iterator[tokenizers.AddedToken]:
    """Yield the tokens that are never split: the added ones, then one for each role, in order."""
    defaults = ("<|startoftext|>", *["<|endoftext|>"] * (len(ROLES) - 1))
    roles = (settings.get(role) or usual for role, usual in zip(ROLES, defaults, strict=True))
    flags = ("lstrip", "rstrip", "single_word", "normalized")
    added: dict[str, tokenizers.AddedToken] = {}

    def token(given: Any) -> tokenizers.AddedToken:
        values: dict[str, Any] = {"content": given} if isinstance(given, str) else given
        known = {name: bool(values[name]) for name in flags if name in values}
        return tokenizers.AddedToken(values["content"], special=True, **known)

    try:
        for entry in map(token, settings["added_tokens_decoder"].values()):
            added[entry.content] = entry
            yield entry
        for role in map(token, roles):
            yield added.get(role.content, role)
    except (AttributeError, TypeError, LookupError) as error:
        raise ModelError(
            f"{folder} has a special token that is no text ({error!r}); fetch the model anew."
        ) from error


def _bpe(whole: Mapping[str, Any] | None, folder: Path, unknown: str) -> BPE:
    """Return the model of a parsed `tokenizer.json`; None reads the two older files instead."""
    options: dict[str, Any] = {
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "</w>",
        "unk_token": unknown,
    }
    try:
        if whole is None:
            files = str(folder / "vocab.json"), str(folder / "merges.txt")
            return BPE(*BPE.read_file(*files), **options)
        model = whole["model"]
        if model.get("type", "BPE") != "BPE" or model.get("end_of_word_suffix") != "</w>":
            raise TypeError("tokenizer.json is not CLIP's byte-pair encoding")
        pairs = (m.split(" ") if isinstance(m, str) else m for m in model["merges"])
        return BPE(model["vocab"], [(first, second) for first, second in pairs], **options)
    except Exception as error:  # tokenizers raises plain Exception
        raise ModelError(
            f"{folder} has no usable tokenizer.json, nor vocab.json with merges.txt ({error!r}); "
            "fetch the model anew."
        ) from error
