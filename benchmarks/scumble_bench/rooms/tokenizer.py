"""The word pieces of the rooms world: a CLIP tokenizer built from its captions.

Every word of the captions is one token, except the few of `SPLIT_WORDS`, so that programs which
count tokens as words are found out. Words the world never says still encode, as characters.
"""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import json
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

WINDOW = 40
"""Tokens in a prompt, the start and end tokens included."""

SPLIT_WORDS: dict[str, tuple[str, ...]] = {
    "carpet": ("car", "pet"),
    "purple": ("pur", "ple"),
    "standing": ("stand", "ing"),
    "vase": ("va", "se"),
    "picture": ("pic", "tu", "re"),
}
"""Words that deliberately take two or three tokens, with their pieces."""

START = "<|startoftext|>"
END = "<|endoftext|>"
_SUFFIX = "</w>"
_WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+")


def words_of(captions: Iterable[str]) -> list[str]:
    """Lists the distinct words of captions, in alphabetical order, as CLIP splits them."""
    found: set[str] = set()
    for caption in captions:
        found.update(_WORD.findall(caption.lower()))
    return sorted(found)


def intended_pieces(word: str) -> tuple[str, ...]:
    """Returns the tokens that a word is meant to become, the end-of-word mark included."""
    pieces = SPLIT_WORDS.get(word, (word,))
    return (*pieces[:-1], pieces[-1] + _SUFFIX)


class Merges:
    """A byte-pair merge list that is grown word by word, so that no merge undoes an earlier word.

    A new merge has a lower priority than all before it, and a word is cut by the merges so far
    before new ones join its pieces: what was one token stays one token.
    """

    def __init__(self) -> None:
        self.pairs: dict[tuple[str, str], int] = {}

    def cut(self, word: str) -> list[str]:
        """Splits a word into pieces by the merges so far, lowest rank first, as BPE does."""
        pieces = [*word[:-1], word[-1] + _SUFFIX]
        while len(pieces) > 1:
            ranked = [
                (rank, place)
                for place, pair in enumerate(pairwise(pieces))
                if (rank := self.pairs.get(pair)) is not None
            ]
            if not ranked:
                break
            rank = min(ranked)[0]
            left, right = next(pair for pair, value in self.pairs.items() if value == rank)
            joined: list[str] = []
            for piece in pieces:
                if joined and joined[-1] == left and piece == right:
                    joined[-1] = left + right
                else:
                    joined.append(piece)
            pieces = joined
        return pieces

    def learn(self, word: str) -> None:
        """Adds the merges that make a word its intended pieces."""
        target = intended_pieces(word)
        while tuple(pieces := self.cut(word)) != target:
            pair = self._next_pair(pieces, target)
            if pair is None:
                message = f"'{word}' is cut as {pieces}, which cannot be joined into {target}"
                raise ValueError(message)
            self.pairs[pair] = len(self.pairs)

    def _next_pair(self, pieces: list[str], target: tuple[str, ...]) -> tuple[str, str] | None:
        ends: set[int] = set()
        length = 0
        for piece in target:
            length += len(piece)
            ends.add(length)
        place = 0
        for left, right in pairwise(pieces):
            place += len(left)
            if place not in ends and (left, right) not in self.pairs:
                return left, right
        return None


def byte_characters() -> list[str]:
    """Returns the 256 characters that stand for bytes in GPT-2's and CLIP's vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(spare))]


def build_vocabulary(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Builds a vocabulary and a merge list in CLIP's order from the words to know.

    Raises:
        ValueError: A word is not cut as `intended_pieces` says.
    """
    merges = Merges()
    known = [*SPLIT_WORDS, *sorted(set(words) - SPLIT_WORDS.keys())]
    for word in known:
        merges.learn(word)
    for word in known:
        if tuple(merges.cut(word)) != intended_pieces(word):
            message = f"a later merge broke '{word}' into {merges.cut(word)}"
            raise ValueError(message)
    characters = byte_characters()
    tokens = dict.fromkeys([*characters, *(character + _SUFFIX for character in characters)])
    tokens.update(dict.fromkeys(left + right for left, right in merges.pairs))
    tokens.update(dict.fromkeys([START, END]))
    return {token: number for number, token in enumerate(tokens)}, list(merges.pairs)


def save_tokenizer(folder: Path, words: Iterable[str]) -> None:
    """Writes a tokenizer folder that an unmodified `CLIPTokenizer` loads.

    `vocab.json` and `merges.txt` are what transformers 4 reads, `tokenizer.json` is what
    transformers 5 and the tokenizers library read.
    """
    from tokenizers import Regex as Pattern
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary, merges = build_vocabulary(words)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_json(folder / "vocab.json", vocabulary)
    special: dict[str, str] = {
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
        "unk_token": END,
    }
    _write_json(folder / "special_tokens_map.json", special)
    config: dict[str, Any] = {
        **special,
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": WINDOW,
        "tokenizer_class": "CLIPTokenizer",
    }
    _write_json(folder / "tokenizer_config.json", config)

    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix=_SUFFIX,
            fuse_unk=False,
            unk_token=END,
        )
    )
    backend.add_special_tokens([START, END])
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Pattern(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = (
        r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d"
        r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    )
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Pattern(split), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), False, False
    )
    backend.save(str(folder / "tokenizer.json"))


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
