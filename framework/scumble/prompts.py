"""Prompts as a text encoder reads them: which tokens stand for which words."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from scumble.errors import PromptError

__all__ = ["Prompt", "Word", "require_text", "split_words"]

LISTED_WORDS = 30


@dataclass(frozen=True, slots=True)
class Word:
    """A word and where it stands: `prompt.text[start:end]` is its text."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt as the text encoder reads it.

    Attributes:
        text: the prompt as given.
        ids: token ids, (tokens,) int64; BOS first, then the words, EOS and padding.
        spans: start and end of each token in `text`, in characters, (tokens,) pairs; empty for
            BOS, EOS and padding.
        length: tokens up to and with EOS.
        needed: the length that a window of any size would have given.
        overflow: the words that are not, or not wholly, inside the window.
    """

    text: str
    ids: NDArray[np.int64]
    spans: tuple[tuple[int, int], ...]
    length: int
    needed: int
    overflow: tuple[Word, ...] = ()

    @property
    def words(self) -> tuple[Word, ...]:
        """The words in order, without the punctuation around them."""
        return tuple(split_words(self.text))

    @property
    def chunks(self) -> tuple[Word, ...]:
        """What stands between white space, punctuation included, in order."""
        return _chunks(self.text)

    @property
    def notice(self) -> str:
        """A sentence on what the model does not read, or nothing when it reads the whole prompt."""
        if not self.overflow:
            return ""
        return (
            f"The prompt has {self.needed} tokens and the model reads {len(self.ids)}, so it does "
            f"not see {_listing(self.overflow)}; shorten the prompt."
        )

    def tokens_in(self, start: int, end: int) -> tuple[int, ...]:
        """Return the indices of the tokens, BOS being 0, that share a character with a stretch."""
        inside = range(1, self.length - 1)
        return tuple(i for i in inside if self.spans[i][0] < end and self.spans[i][1] > start)

    def tokens_of(self, selector: str | int) -> tuple[int, ...]:
        """Return the indices of the tokens of a word, BOS being 0, rising.

        Args:
            selector: a word or a phrase, whatever its case and punctuation, meaning each place
                where it stands; "cat#2" means the second place only; a number is a position in
                `words`, counted from 0.

        Raises:
            PromptError: the prompt has no such word, or the model does not read it.
        """
        found = self._at(selector) if isinstance(selector, int) else self._called(selector)
        for word in found:
            if word in self.overflow:
                raise PromptError(
                    f"the word {word.text!r} is beyond the {len(self.ids)} tokens that the model "
                    "reads; move it towards the beginning or shorten the prompt."
                )
        tokens = {i for word in found for i in self.tokens_in(word.start, word.end)}
        if not tokens:
            raise PromptError(f"the tokenizer of this model drops {selector!r}; give another word.")
        return tuple(sorted(tokens))

    def has(self, selector: str | int) -> bool:
        """Return whether `tokens_of` would find the word."""
        try:
            return bool(self.tokens_of(selector))
        except PromptError:
            return False

    def _at(self, position: int) -> list[Word]:
        words = self.words
        if isinstance(position, bool) or not 0 <= position < len(words):
            raise PromptError(
                f"the prompt has no word at position {position!r}; "
                f"it has {len(words)} words, counted from 0: {_listing(words)}."
            )
        return [words[position]]

    def _called(self, selector: str) -> list[Word]:
        if not isinstance(cast(object, selector), str):
            raise PromptError(f"{selector!r} is no word; give a word, a phrase or a position.")
        counted = re.fullmatch(r"(.*\S)#([0-9]{1,4})", selector, re.DOTALL)
        name = counted[1] if counted else selector
        wanted = [_key(word.text) for word in split_words(name)]
        marks = all(_is_mark(key) for key in wanted)
        wanted = wanted if marks else [key for key in wanted if not _is_mark(key)]
        words = [word for word in self.words if marks or not _is_mark(word.text)]
        keys = [_key(word.text) for word in words]
        size = len(wanted)
        starts = [i for i in range(len(keys)) if wanted and keys[i : i + size] == wanted]
        if not starts:
            raise PromptError(
                f"the prompt has no {_short(name)}; its words are {_listing(self.words)}."
            )
        if counted:
            place = int(counted[2])
            if not 1 <= place <= len(starts):
                raise PromptError(
                    f"the prompt has no place {place} for {_short(name)}; it stands there "
                    f"{len(starts)} times, counted from 1."
                )
            starts = [starts[place - 1]]
        return [word for i in starts for word in words[i : i + size]]


def require_text(prompt: str, what: str) -> None:
    """Raise PromptError if a prompt says nothing."""
    if not prompt.strip():
        raise PromptError(f"the {what} is empty; say what is to be seen.")


def _chunks(text: str) -> tuple[Word, ...]:
    return tuple(Word(m[0], m.start(), m.end()) for m in re.finditer(r"\S+", text))


def split_words(text: str) -> Iterator[Word]:
    """Yield the words of a text; a chunk of nothing but punctuation is a word too."""
    for chunk in _chunks(text):
        runs = "".join(
            " " if _is_mark(c) and not _is_joint(chunk.text, i) else c
            for i, c in enumerate(chunk.text)
        )
        for run in re.finditer(r"\S+", runs) if runs.strip() else re.finditer(r"\S+", chunk.text):
            start, end = chunk.start + run.start(), chunk.start + run.end()
            yield Word(text[start:end], start, end)


def _is_mark(text: str) -> bool:
    return all(unicodedata.category(character).startswith("P") for character in text)


def _is_joint(text: str, i: int) -> bool:
    """Return whether a character is the apostrophe inside a word, as in "cat's"."""
    return text[i] in "'’" and text[max(i - 1, 0)].isalnum() and text[i + 1 : i + 2].isalnum()


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("’", "'")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "…")


def _listing(words: tuple[Word, ...]) -> str:
    names = list(dict.fromkeys(_short(word.text) for word in words))
    more = len(names) - LISTED_WORDS
    return ", ".join(names[:LISTED_WORDS]) + (f" and {more} more" if more > 0 else "") or "none"
