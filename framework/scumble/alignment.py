"""Which source token each target token takes its attention map from (Prompt-to-Prompt).

Hertz et al. 2022, arXiv:2208.01626; `seq_aligner.py` of google/prompt-to-prompt is the reference.
Nothing here assumes a number of tokens; both prompts must come from one tokenizer.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scumble.errors import PromptError
from scumble.prompts import Prompt, Word

__all__ = [
    "align",
    "gather_matrix",
    "refine_alignment",
    "refine_matrix",
    "replace_matrix",
    "replacement",
]

Pair = tuple[Sequence[int], Sequence[int]]


def replace_matrix(
    source: Prompt, target: Prompt, *, compat_tail: bool = False
) -> NDArray[np.float64]:
    """Return how word swap mixes the source's maps, (source tokens, target tokens).

    A target map is `source maps @ matrix`. Words are what stands between white space; those that
    differ are swapped in place. Where a swapped word has another number of tokens, each of its
    source tokens is spread evenly over its target tokens, the words after it are shifted, and
    padding is not. A row sums to 1: no attention is lost on the way.

    Args:
        source: prompt of the picture.
        target: prompt of the edit, with as many words.
        compat_tail: do what the reference does, which does not shift what follows the last
            swapped word, to repeat published figures.

    Raises:
        PromptError: the word counts differ, or a swapped word is not read by the model.
    """
    _check_windows(source, target)
    before, after = source.chunks, target.chunks
    if len(before) != len(after):
        raise PromptError(
            f"a word swap needs two prompts of as many words, and the source has {len(before)} "
            f"and the target {len(after)}; use refine for prompts that add or drop words."
        )
    pairs = [
        (_tokens(source, old), _tokens(target, new))
        for old, new in zip(before, after, strict=True)
        if old.text != new.text
    ]
    return replacement(pairs, len(source.ids), source.length, compat_tail=compat_tail)


def replacement(
    pairs: Sequence[Pair], tokens: int, length: int, *, compat_tail: bool = False
) -> NDArray[np.float64]:
    """Return the matrix of a word swap, (tokens, tokens), rows being source tokens.

    Args:
        pairs: source and target tokens of each swapped word, in order; contiguous, none empty.
        tokens: size of the window.
        length: tokens of the source up to and with EOS.
        compat_tail: do not shift what follows the last swapped word, as the reference.
    """
    matrix = np.zeros((tokens, tokens))
    waiting = list(pairs)
    end = tokens if compat_tail else length
    i = j = 0
    while i < end and j < tokens:
        if waiting and waiting[0][0][0] == i:
            old, new = waiting.pop(0)
            if len(old) == len(new):
                matrix[old, new] = 1
            else:
                matrix[np.ix_(old, new)] = 1 / len(new)
            i, j = i + len(old), j + len(new)
        else:
            matrix[j if compat_tail and not waiting else i, j] = 1
            i, j = i + 1, j + 1
    if not compat_tail:
        # Padding stays where it is: the last of it can hold most of a map, and must not be lost.
        for row in range(i, tokens):
            matrix[row, max(row, min(j, tokens - 1))] = 1
    return matrix


def refine_alignment(
    source: Prompt, target: Prompt
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return where each target token stands in the source, and whether it does at all.

    Returns:
        The source token of each target token, (target tokens,), -1 for a token that is new; and
        1 or 0 for each target token, (target tokens,), 0 for a token that is new.
    """
    _check_windows(source, target)
    mapper = np.arange(len(target.ids), dtype=np.int64)
    mapper[: target.length] = align(
        source.ids[: source.length].tolist(), target.ids[: target.length].tolist()
    )
    return mapper, (mapper >= 0).astype(np.float64)


def refine_matrix(source: Prompt, target: Prompt) -> NDArray[np.float64]:
    """Return how refinement mixes the source's maps, (source tokens, target tokens).

    A target map is `source maps @ matrix + own maps * (1 - alpha)`; columns of new tokens are 0.
    """
    mapper, _ = refine_alignment(source, target)
    return gather_matrix(mapper)


def gather_matrix(mapper: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the matrix that gathers columns, (tokens, tokens); -1 gives a column of zeros.

    Args:
        mapper: the source token of each target token, (tokens,), or -1.
    """
    matrix = np.zeros((len(mapper), len(mapper)))
    kept = np.flatnonzero(mapper >= 0)
    matrix[mapper[kept], kept] = 1
    return matrix


def align(source: Sequence[int], target: Sequence[int]) -> list[int]:
    """Return the place in the source of each element of the target, -1 where there is none.

    Needleman-Wunsch with gap 0, match 1, mismatch -1. Of equal scores, leaving out a target element
    goes before leaving out a source element, and that before a match: the reference's order.

    Args:
        source: ids, BOS and EOS included.
        target: ids, BOS and EOS included.
    """
    scores = np.zeros((len(source) + 1, len(target) + 1), dtype=np.int64).tolist()
    for i, old in enumerate(source, 1):
        for j, new in enumerate(target, 1):
            step = 1 if old == new else -1
            scores[i][j] = max(scores[i][j - 1], scores[i - 1][j], scores[i - 1][j - 1] + step)
    places = [-1] * len(target)
    i, j = len(source), len(target)
    while i and j:
        if scores[i][j] == scores[i][j - 1]:
            j -= 1
        elif scores[i][j] == scores[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            places[j] = i
    return places


def _tokens(prompt: Prompt, word: Word) -> tuple[int, ...]:
    """Return the tokens of a swapped word, which must all be there."""
    tokens = prompt.tokens_in(word.start, word.end)
    if not tokens or any(w.start >= word.start and w.end <= word.end for w in prompt.overflow):
        raise PromptError(
            f"the swapped word {word.text!r} is beyond the {len(prompt.ids)} tokens that the model "
            "reads; move it towards the beginning or shorten the prompt."
        )
    return tokens


def _check_windows(source: Prompt, target: Prompt) -> None:
    if len(source.ids) != len(target.ids):
        raise PromptError(
            f"the source has {len(source.ids)} tokens and the target {len(target.ids)}; encode "
            "both with one tokenizer."
        )
