"""A run goes on from another's result: nothing inverted, nothing encoded on the way."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scumble import Editor, rerun
from scumble.errors import OptionError
from scumble.testing import fake_checkpoint

FIRST = {"source": "a red cat", "target": "a blue cat", "steps": 4}
THEN = {"source": "a blue cat", "target": "a blue dog", "steps": 4}


@pytest.fixture
def editor(tmp_path: Path, fake_engine: None) -> Iterator[Editor]:
    fake_checkpoint(tmp_path / "model")
    with Editor.load(tmp_path / "model", engine="fake", precision="fp64", device="cpu") as loaded:
        yield loaded


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (64, 64, 3)).astype(np.uint8)


def test_the_source_is_the_path_that_the_result_took(editor: Editor, picture: np.ndarray):
    first = editor.edit(picture, **FIRST)
    then = editor.edit(first, **THEN)
    assert then.trajectory is not None
    np.testing.assert_array_equal(then.trajectory.latents, first.path.latents)
    np.testing.assert_array_equal(first.path.latents[-1], first.latents[1])
    assert "inversion" not in then.rows
    # What a second edit leaves alone is the first result, bit for bit.
    mask = np.zeros((64, 64), dtype=bool)
    mask[:, :32] = True
    half = editor.edit(first, mask=mask, options={"blend_start": 0.0}, **THEN).latents[1]
    np.testing.assert_array_equal(half[:, :, 4:], first.latents[1][:, :, 4:])
    assert np.abs(half - first.latents[1])[:, :, :4].max() > 0.01


def test_a_generated_run_can_be_gone_on_from(editor: Editor):
    first = editor.generate("a red cat", steps=4)
    then = editor.edit(first, **FIRST)
    assert then.trajectory is not None
    np.testing.assert_array_equal(then.trajectory.latents[-1], first.latents[0])


@pytest.mark.parametrize(("name", "value"), [("steps", 5), ("size", (64, 128))])
def test_another_schedule_or_size_is_refused(
    editor: Editor, picture: np.ndarray, name: str, value: object
):
    first = editor.edit(picture, **FIRST)
    with pytest.raises(OptionError, match=f"has {name}"):
        editor.edit(first, **{**THEN, name: value})


def test_another_model_is_refused(editor: Editor, picture: np.ndarray, tmp_path: Path):
    first = editor.edit(picture, **FIRST)
    fake_checkpoint(tmp_path / "other", scheduler={"steps_offset": 0})
    with (
        Editor.load(tmp_path / "other", engine="fake", precision="fp64") as other,
        pytest.raises(OptionError, match="another model"),
    ):
        other.edit(first, **THEN)


def test_it_is_done_again_from_the_first_picture(
    editor: Editor, picture: np.ndarray, tmp_path: Path
):
    Image.fromarray(picture).save(tmp_path / "in.png")
    first = editor.edit(tmp_path / "in.png", **FIRST)
    (saved,) = editor.edit(first, **THEN).save(tmp_path / "out.png")
    again = rerun(saved)
    np.testing.assert_array_equal(np.asarray(again.image), np.asarray(Image.open(saved)))
    assert again.recipe["before"]["request"] == first.recipe["request"]
