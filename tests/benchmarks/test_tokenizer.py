import random
from pathlib import Path

import pytest
import transformers

from scumble_bench.rooms import dataset, world
from scumble_bench.rooms.tokenizer import (
    SPLIT_WORDS,
    WINDOW,
    Merges,
    build_vocabulary,
    intended_pieces,
    save_tokenizer,
)


@pytest.fixture(scope="module")
def words() -> list[str]:
    return dataset.collect_words(400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder, words)
    return folder


def test_every_word_of_the_world_becomes_the_pieces_intended(folder: Path, words: list[str]):
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    assert {*world.NOUNS, *world.COLOURS, *world.POSES} <= set(words)
    assert len(SPLIT_WORDS.keys() & set(words)) >= 4
    for word in words:
        pieces = tokenizer.convert_ids_to_tokens(tokenizer(word).input_ids)
        assert pieces == ["<|startoftext|>", *intended_pieces(word), "<|endoftext|>"]


def test_words_keep_their_pieces_within_sentences_and_unknown_ones_encode(folder: Path):
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    pieces = tokenizer.convert_ids_to_tokens(tokenizer("A  purple carpet, quux").input_ids)
    expected = ["a</w>", "pur", "ple</w>", "car", "pet</w>", ",</w>", "q", "u", "u", "x</w>"]
    assert pieces[1:-1] == expected


def test_the_folder_has_its_own_window_and_pads_with_the_end(folder: Path):
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == WINDOW == 40
    padded = tokenizer("a room", padding="max_length").input_ids
    assert len(padded) == 40
    assert set(padded[4:]) == {tokenizer.eos_token_id} == {tokenizer.pad_token_id}
    assert tokenizer.eos_token_id == len(tokenizer) - 1 == tokenizer.bos_token_id + 1


def test_transformers_4_files_give_the_same_tokens(folder: Path, tmp_path: Path):
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    old = transformers.CLIPTokenizer.from_pretrained(tmp_path)
    new = dataset.load_backend(folder)
    for seed in range(20):
        caption = world.captions(world.design_room(seed), random.Random(seed), 1)[0].text
        assert old(caption).input_ids == new.encode(caption).ids


def test_later_words_never_cut_earlier_ones():
    # "am" inside "lamp" is what a merge list sorted by frequency would get wrong.
    vocabulary, pairs = build_vocabulary(["lamp", "am", "amber", "la", "sofa", "of", "so"])
    merges = Merges()
    merges.pairs = {pair: rank for rank, pair in enumerate(pairs)}
    for word in ("lamp", "am", "amber", "la", "sofa", "of", "so"):
        assert merges.cut(word) == [f"{word}</w>"]
        assert f"{word}</w>" in vocabulary


def test_a_word_that_its_pieces_cannot_make_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SPLIT_WORDS, "vase", ("vas", "se"))
    with pytest.raises(ValueError, match="vase"):
        build_vocabulary([])


@pytest.mark.parametrize("seed", range(30))
def test_spans_of_captions_cover_their_words(folder: Path, seed: int):
    backend = dataset.load_backend(folder)
    scene = world.scene(seed)
    tokens, spans = dataset.encode_caption(backend, scene)
    assert len(tokens) == WINDOW
    named: set[int] = set()
    for index, words in zip(scene.mentioned, scene.words, strict=True):
        item = scene.items[index]
        named.add(index)
        for kind, said, word in (
            (0, words.noun, item.noun),
            (1, words.colour, item.colour),
            (2, words.pose, item.pose),
        ):
            start, end = spans[index, kind]
            if said is None:
                assert start == -1
            else:
                pieces = [backend.id_to_token(token) for token in tokens[start:end]]
                assert tuple(pieces) == intended_pieces(word or "")
    assert (spans[[i for i in range(len(spans)) if i not in named]] == -1).all()
