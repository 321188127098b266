"""The published vectors of word swap and refinement, and what must hold for any two prompts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scumble.alignment import (
    align,
    gather_matrix,
    refine_alignment,
    refine_matrix,
    replace_matrix,
)
from scumble.errors import PromptError
from scumble.words import Prompt, Word

BOS, EOS, PAD = 0, 1, 2
SIZES = {"chihuahua": 3, "croutons": 2, "papillons": 3, "pterodactyl": 4}


def toy(text: str, tokens: int = 77) -> Prompt:
    """A prompt of a tokenizer that cuts the words of SIZES into so many pieces, others not."""
    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    words: list[Word] = []
    place = 0
    for text_of_word in text.split():
        start = text.index(text_of_word, place)
        place = start + len(text_of_word)
        words.append(Word(text_of_word, start, place))
        for piece in range(SIZES.get(text_of_word, 1)):
            ids.append(1000 + sum(map(ord, text_of_word)) * 10 + piece)
            spans.append((start + piece, start + piece + 1))
    kept = min(len(ids), tokens - 2)
    cut = spans[kept][0] if kept < len(ids) else len(text)
    padding = tokens - kept - 2
    return Prompt(
        text=text,
        ids=np.array([BOS, *ids[:kept], EOS, *[PAD] * padding]),
        spans=((0, 0), *spans[:kept], *[(len(text), len(text))] * (padding + 1)),
        length=kept + 2,
        needed=len(ids) + 2,
        overflow=tuple(word for word in words if kept < len(ids) and word.end > cut),
    )


def columns(matrix: np.ndarray) -> list[dict[int, float]]:
    """The source tokens and weights of each target token."""
    return [{int(i): float(c[i]) for i in np.flatnonzero(c)} for c in matrix.T]


def one(*sources: int) -> list[dict[int, float]]:
    return [{i: 1.0} for i in sources]


THIRD = 1 / 3


def test_swap_of_one_token_for_one_is_the_identity() -> None:
    matrix = replace_matrix(toy("a cat on a mat"), toy("a dog on a mat"))
    np.testing.assert_array_equal(matrix, np.eye(77))
    assert matrix.dtype == np.float64


def test_longer_word() -> None:
    found = columns(replace_matrix(toy("a cat on a mat"), toy("a chihuahua on a mat")))
    assert found[:9] == [*one(0, 1), *[{2: THIRD}] * 3, *one(3, 4, 5, 6)]
    assert found[9] == {7: 1, 8: 1, 9: 1}  # the padding that the longer word has driven out
    assert found[10:] == one(*range(10, 77))


def test_longer_word_as_the_reference() -> None:
    source, target = toy("a cat on a mat"), toy("a chihuahua on a mat")
    found = columns(replace_matrix(source, target, compat_tail=True))
    assert found[:5] == [*one(0, 1), *[{2: THIRD}] * 3]
    assert found[5:] == one(*range(5, 77))  # "on" takes the map of "mat"


def test_shorter_word() -> None:
    found = columns(replace_matrix(toy("a chihuahua on a mat"), toy("a cat on a mat")))
    assert found[:7] == [*one(0, 1), {2: 1, 3: 1, 4: 1}, *one(5, 6, 7, 8)]
    assert found[7:9] == [{}, {}]  # where the source has words and the target none any more
    assert found[9:] == one(*range(9, 77))


def test_shorter_word_as_the_reference() -> None:
    source, target = toy("a chihuahua on a mat"), toy("a cat on a mat")
    found = columns(replace_matrix(source, target, compat_tail=True))
    assert found[:3] == [*one(0, 1), {2: 1, 3: 1, 4: 1}]
    assert found[3:75] == one(*range(3, 75))  # "on" takes the map of a piece of "chihuahua"
    assert found[75:] == [{}, {}]


@pytest.mark.parametrize("compat_tail", [False, True])
def test_between_swapped_words_both_forms_shift(compat_tail: bool) -> None:
    source, target = toy("a cat on a mat here"), toy("a chihuahua on a rug here")
    found = columns(replace_matrix(source, target, compat_tail=compat_tail))
    assert found[:8] == [*one(0, 1), *[{2: THIRD}] * 3, *one(3, 4, 5)]
    assert found[8] == ({8: 1} if compat_tail else {6: 1})


def test_words_of_other_sizes_on_both_sides() -> None:
    source, target = toy("pterodactyl by cat"), toy("croutons by chihuahua")
    found = columns(replace_matrix(source, target))
    half = {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.5}
    assert found[:8] == [*one(0), half, half, *one(5), *[{6: THIRD}] * 3, *one(7)]


def test_words_of_several_tokens_pair_off() -> None:
    source, target = toy("a chihuahua sat"), toy("a papillons sat")
    np.testing.assert_array_equal(replace_matrix(source, target), np.eye(77))


def reference_replace(source: Prompt, target: Prompt) -> np.ndarray:
    """The walk of the reference, `get_replacement_mapper_` of seq_aligner.py."""
    size = len(source.ids)
    old, new = source.text.split(" "), target.text.split(" ")
    differing = [k for k in range(len(old)) if old[k] != new[k]]

    def tokens(words: list[str], k: int) -> list[int]:
        first = 1 + sum(SIZES.get(word, 1) for word in words[:k])
        return list(range(first, first + SIZES.get(words[k], 1)))

    sources, targets = [tokens(old, k) for k in differing], [tokens(new, k) for k in differing]
    matrix, i, j, k = np.zeros((size, size)), 0, 0, 0
    while i < size and j < size:
        if k < len(sources) and sources[k][0] == i:
            if len(sources[k]) == len(targets[k]):
                matrix[sources[k], targets[k]] = 1
            else:
                for column in targets[k]:
                    matrix[sources[k], column] = 1 / len(targets[k])
            i, j, k = i + len(sources[k]), j + len(targets[k]), k + 1
        elif k < len(sources):
            matrix[i, j] = 1
            i, j = i + 1, j + 1
        else:
            matrix[j, j] = 1
            i, j = i + 1, j + 1
    return matrix


vocabulary = st.sampled_from(["a", "cat", "dog", "on", "chihuahua", "croutons", "pterodactyl"])
twins = st.lists(st.tuples(vocabulary, vocabulary), max_size=8)
sentences = st.lists(vocabulary, max_size=8).map(" ".join)
windows = st.sampled_from([40, 77, 128])


@settings(max_examples=200, deadline=None)
@given(pairs=twins, tokens=windows)
def test_compat_is_the_reference(pairs: list[tuple[str, str]], tokens: int) -> None:
    source, target = (
        toy(" ".join(words), tokens) for words in zip(*pairs or [("", "")], strict=True)
    )
    found = replace_matrix(source, target, compat_tail=True)
    np.testing.assert_array_equal(found, reference_replace(source, target))


@settings(max_examples=200, deadline=None)
@given(pairs=twins, tokens=windows)
def test_the_default_aligns_every_word(pairs: list[tuple[str, str]], tokens: int) -> None:
    source, target = (
        toy(" ".join(words), tokens) for words in zip(*pairs or [("", "")], strict=True)
    )
    matrix = replace_matrix(source, target)
    assert matrix.shape == (tokens, tokens)
    for old, new in zip(source.chunks, target.chunks, strict=True):
        rows = source.tokens_in(old.start, old.end)
        cells = target.tokens_in(new.start, new.end)
        block = matrix[np.ix_(rows, cells)]
        assert block.sum() == pytest.approx(len(rows))  # all of a word's attention stays with it
        assert matrix[:, cells].sum() == pytest.approx(len(rows))
    assert columns(matrix)[target.length - 1] == {source.length - 1: 1}
    np.testing.assert_allclose(matrix.sum(axis=1), 1)  # no attention is lost, and none added
    padded = max(source.length, target.length)
    # What lies beyond the words of both is where it was; where a word was cut, nothing is.
    np.testing.assert_array_equal(matrix[padded:, padded:], np.eye(tokens - padded))
    assert not matrix[: source.length, target.length :].any()


@settings(max_examples=100, deadline=None)
@given(sentence=sentences, tokens=windows, compat_tail=st.booleans())
def test_equal_prompts_give_the_identity(sentence: str, tokens: int, compat_tail: bool) -> None:
    prompt = toy(sentence, tokens)
    found = replace_matrix(prompt, prompt, compat_tail=compat_tail)
    np.testing.assert_array_equal(found, np.eye(tokens))
    np.testing.assert_array_equal(refine_matrix(prompt, prompt), np.eye(tokens))


def test_swap_in_a_full_window() -> None:
    found = columns(replace_matrix(toy("a chihuahua on", 7), toy("a cat on", 7)))
    assert found == [*one(0, 1), {2: 1, 3: 1, 4: 1}, *one(5, 6), {}, {}]
    found = columns(replace_matrix(toy("a cat on", 7), toy("a chihuahua on", 7)))
    # No padding is left in the target: its EOS takes what looked at the source's.
    assert found == [*one(0, 1), *[{2: THIRD}] * 3, *one(3), {4: 1, 5: 1, 6: 1}]


def test_unequal_word_counts_are_refused() -> None:
    with pytest.raises(PromptError, match="source has 5 and the target 6; use refine"):
        replace_matrix(toy("a cat on a mat"), toy("a fat cat on a mat"))


def test_a_swapped_word_beyond_the_window_is_refused() -> None:
    source, target = toy("a cat on a mat", 6), toy("a cat on a rug", 6)
    with pytest.raises(PromptError, match="'mat' is beyond the 6 tokens"):
        replace_matrix(source, target)
    with pytest.raises(PromptError, match="'chihuahua' is beyond the 6 tokens"):
        replace_matrix(toy("a big cat", 6), toy("a big chihuahua", 6))
    same_end = replace_matrix(toy("a cat on a mat", 6), toy("a dog on a mat", 6))
    np.testing.assert_array_equal(same_end, np.eye(6))


def test_windows_of_two_tokenizers_are_refused() -> None:
    for function in (replace_matrix, refine_alignment, refine_matrix):
        with pytest.raises(PromptError, match="source has 77 tokens and the target 64"):
            function(toy("a cat"), toy("a dog", 64))


@pytest.mark.parametrize(
    ("source", "target", "mapper"),
    [
        ("a cat on a mat", "a fluffy cat on a mat", [0, 1, -1, 2, 3, 4, 5, 6, 8, 9]),
        ("a cat on a mat", "a dog on a mat", [0, 1, -1, 3, 4, 5, 6, 7]),
        ("a big cat on a mat", "a cat on a mat", [0, 1, 3, 4, 5, 6, 7, 7, 8, 9]),
        ("soup", "pea soup with croutons", [0, -1, 1, -1, -1, -1, 2, 7, 8, 9]),
    ],
)
def test_refine_vectors(source: str, target: str, mapper: list[int]) -> None:
    found, alpha = refine_alignment(toy(source), toy(target))
    assert found.tolist() == mapper + list(range(len(mapper), 77))
    assert alpha.tolist() == [float(place >= 0) for place in found]
    assert (found.dtype, alpha.dtype) == (np.int64, np.float64)


def reference_align(x: list[int], y: list[int]) -> list[int]:
    """The traceback table of the reference: 1 left, 2 up, 3 diagonal."""
    score = np.zeros((len(x) + 1, len(y) + 1), dtype=int)
    trace = np.zeros_like(score)
    trace[0, 1:], trace[1:, 0], trace[0, 0] = 1, 2, 4
    for i in range(1, len(x) + 1):
        for j in range(1, len(y) + 1):
            left, up = score[i, j - 1], score[i - 1, j]
            diagonal = score[i - 1, j - 1] + (1 if x[i - 1] == y[j - 1] else -1)
            score[i, j] = max(left, up, diagonal)
            trace[i, j] = 1 if score[i, j] == left else 2 if score[i, j] == up else 3
    i, j, mapper = len(x), len(y), []
    while trace[i, j] != 4:
        if trace[i, j] == 3:
            mapper.append(i - 1)
            i, j = i - 1, j - 1
        elif trace[i, j] == 1:
            mapper.append(-1)
            j -= 1
        else:
            i -= 1
    return mapper[::-1]


sequences = st.lists(st.integers(1, 4), max_size=12)


@settings(max_examples=300, deadline=None)
@given(x=sequences, y=sequences)
def test_align_is_the_reference(x: list[int], y: list[int]) -> None:
    found = align(x, y)
    assert found == reference_align(x, y)
    matched = [i for i in found if i >= 0]
    assert matched == sorted(set(matched))
    assert all(x[i] == y[j] for j, i in enumerate(found) if i >= 0)


@settings(max_examples=100, deadline=None)
@given(source=sentences, target=sentences, tokens=windows)
def test_refine_matrix_is_the_gather(source: str, target: str, tokens: int) -> None:
    before, after = toy(source, tokens), toy(target, tokens)
    mapper, alpha = refine_alignment(before, after)
    maps = np.random.default_rng(0).random((5, tokens))
    np.testing.assert_array_equal(maps @ refine_matrix(before, after), maps[:, mapper] * alpha)
    assert mapper[0] == 0
    assert mapper[after.length :].tolist() == list(range(after.length, tokens))


def test_gather_matrix_leaves_new_tokens_empty() -> None:
    expected = [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    np.testing.assert_array_equal(gather_matrix(np.array([2, 0, -1])), expected)
