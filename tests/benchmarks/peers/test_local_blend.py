"""LocalBlend on maps made by hand: 4x4 maps of an 8x8 latent."""

from typing import Any

import pytest
import torch

from scumble import Editor
from scumble.sites import Site, SiteTable
from scumble_bench.peers.local_blend import LocalBlend
from scumble_plugins.prompt_to_prompt import PromptToPromptOptions

SOURCE, TARGET = "a red cat on a sofa", "a red dog on a sofa"
PLACES: tuple[tuple[Any, int], ...] = (("down", 1), ("down", 2), ("mid", 2), ("up", 2))
SITES = SiteTable(
    tuple(
        Site(index, f"{place}.{index}", "cross", place, stride, 8, 2)
        for index, (place, stride) in enumerate(PLACES)
    ),
    (32, 32),
)
READ = (SITES.sites[1], SITES.sites[3])


@pytest.fixture
def blend(editor: Editor):
    encode = editor.session.tokenizer.encode
    prompts = encode(SOURCE), encode(TARGET)

    def made(**options: Any) -> LocalBlend:
        given = {"blend_words": ("cat", "dog"), "blend_start": 0.2, **options}
        return LocalBlend(PromptToPromptOptions(**given), prompts, SITES, (8, 8), 10)

    return made


def stored(editor: Editor, **cells: dict[tuple[int, int], float]) -> dict[Site, torch.Tensor]:
    """Summed maps, zero but for a word's cells, in one head of one of the sites that are read."""
    found = {place: torch.zeros(2, 2, place.grid((8, 8))[0] ** 2, 40) for place in SITES}
    for picture, prompt in enumerate((SOURCE, TARGET)):
        for word, values in cells.items():
            if word in prompt:
                (token,) = editor.session.tokenizer.encode(prompt).tokens_of(word)
                for (row, column), value in values.items():
                    found[READ[0]][picture, 1, 4 * row + column, token] = value
    return found


def changed(blended: torch.Tensor) -> set[tuple[int, int]]:
    """Cells at which the target kept its own latent."""
    return {(int(y), int(x)) for y, x in blended[1, 0].nonzero()}


LATENTS = torch.stack([torch.zeros(4, 8, 8), torch.ones(4, 8, 8)])


def block(rows: range, columns: range) -> set[tuple[int, int]]:
    return {(row, column) for row in rows for column in columns}


def test_only_around_the_words_of_either_prompt_may_the_picture_change(blend, editor: Editor):
    maps = stored(editor, dog={(0, 0): 1.0})
    # One cell, pooled to its neighbours, is four by four cells of the latent.
    assert changed(blend()(LATENTS, maps, 5)) == block(range(4), range(4))
    both = stored(editor, dog={(0, 0): 1.0}, cat={(3, 3): 1.0})
    wanted = block(range(4), range(4)) | block(range(4, 8), range(4, 8))
    assert changed(blend()(LATENTS, both, 5)) == wanted


def test_nothing_is_blended_before_the_start(blend, editor: Editor):
    maps = stored(editor, dog={(0, 0): 1.0})
    assert blend()(LATENTS, maps, 1) is LATENTS
    assert changed(blend()(LATENTS, maps, 2)) != block(range(8), range(8))


def test_a_cell_must_exceed_a_share_of_the_maximum(blend, editor: Editor):
    maps = stored(editor, dog={(0, 0): 1.0, (3, 3): 0.4})
    low, high = (changed(blend(blend_threshold=t)(LATENTS, maps, 5)) for t in (0.3, 0.5))
    assert low == block(range(4), range(4)) | block(range(4, 8), range(4, 8))
    assert high == block(range(4), range(4))


def test_subtracted_words_are_not_pooled(blend, editor: Editor):
    maps = stored(editor, dog={(0, 0): 1.0}, sofa={(0, 0): 1.0})
    kept = changed(blend(subtract_words=("sofa",))(LATENTS, maps, 5))
    assert kept == block(range(4), range(4)) - block(range(2), range(2))


def test_other_strides_and_the_middle_are_not_read(blend, editor: Editor):
    maps = stored(editor, dog={(0, 0): 1.0})
    for place in set(SITES) - set(READ):
        maps[place][:] = torch.rand_like(maps[place])
    assert changed(blend()(LATENTS, maps, 5)) == block(range(4), range(4))


def test_a_word_that_looks_nowhere_changes_nothing(blend, editor: Editor):
    blended = blend()(LATENTS, stored(editor), 5)
    assert not blended.isnan().any()
    assert not changed(blended)
