"""A result carried out again from nothing but its PNG."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble.editor import Editor
from scumble.errors import ImageError, ModelError, OptionError
from scumble.recipes import read_recipe, write_picture
from scumble.rerun import rerun
from scumble.runs import Run
from scumble.sampler import Progress
from scumble.testing import fake_checkpoint

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_checkpoint(tmp_path / "model").folder


@pytest.fixture
def photo(tmp_path: Path, picture: Any) -> Path:
    path = tmp_path / "room.png"
    Image.fromarray(picture).save(path)
    return path


@pytest.fixture
def edited(folder: Path, photo: Path, tmp_path: Path) -> tuple[Run, Path]:
    """An edit with most settings away from their defaults, saved."""
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(64, dtype=np.uint8) * 255).save(mask)
    with Editor.load(folder, engine="fake", precision="fp32", threads=1) as editor:
        run = editor.edit(
            photo,
            source="a red cat",
            target=["a blue cat", "a red dog"],
            mask=mask,
            options={"cross_window": {"default": 0.5, "cat": [0.1, 0.9]}, "self_window": 0.3},
            inversion_options={"convention": "current"},
            steps=4,
            guidance=3.25,
            negative="a dog",
            seed=2**40 + 1,
        )
    return run, run.save(tmp_path / "out.png")[0]


def same(one: Run, other: Run) -> None:
    assert one.images[0].tobytes() == other.images[0].tobytes()
    assert len(one.images) == len(other.images)
    for picture, latent in one.latents.items():
        np.testing.assert_array_equal(latent, other.latents[picture])
    kept = ("operation", "request", "model", "sources", "rows", "provenance")
    assert {name: one.recipe[name] for name in kept} == {name: other.recipe[name] for name in kept}


def test_an_edit_bit_for_bit(edited: tuple[Run, Path]):
    told: list[Progress] = []
    again = rerun(edited[1], callback_on_step_end=told.append)
    same(edited[0], again)
    assert len(told) == 4


def test_the_files_are_equal_too(edited: tuple[Run, Path], tmp_path: Path):
    again = rerun(edited[1])
    (tmp_path / "again").mkdir()
    for path, other in zip(
        (tmp_path / "out.png", tmp_path / "out-2.png"),
        again.save(tmp_path / "again" / "out.png"),
        strict=True,
    ):
        assert path.read_bytes() == other.read_bytes()


def test_any_result_of_several_will_do(edited: tuple[Run, Path], tmp_path: Path):
    same(edited[0], rerun(tmp_path / "out-2.png"))


def test_a_generated_edit_and_a_picture(folder: Path, tmp_path: Path):
    with Editor.load(folder, engine="fake") as editor:
        for number, run in enumerate(
            (
                editor.generate("a red cat", steps=3, seed=7, size=(40, 24)),
                editor.edit(source="a red cat", target="a blue cat", steps=3),
            )
        ):
            same(run, rerun(run.save(tmp_path / f"{number}.png")[0]))


def test_an_inversion(folder: Path, photo: Path, tmp_path: Path):
    with Editor.load(folder, engine="fake") as editor:
        run = editor.invert(photo, "a red cat", steps=3)
    again = rerun(run.save(tmp_path / "out.png")[0])
    same(run, again)
    assert again.trajectory is not None


@pytest.fixture
def masked(folder: Path, photo: Path, tmp_path: Path) -> tuple[Run, Path]:
    """An edit with two masks, one of them from memory."""
    for name in ("left", "right"):
        bits = np.zeros((64, 64), np.uint8)
        bits[:, :32] = 255
        Image.fromarray(bits if name == "left" else 255 - bits).save(tmp_path / f"{name}.png")
    masks = {"source": tmp_path / "right.png", "target": np.eye(64) > 0}
    with Editor.load(folder, engine="fake") as editor:
        run = editor.edit(
            photo, source="a red cat", target="a blue cat", mask=masks, method="masactrl", steps=3
        )
    return run, run.save(tmp_path / "masked.png")[0]


class TestNamedMasks:
    SEA = np.eye(64) > 0

    def test_they_are_found_again(self, masked: tuple[Run, Path]):
        assert set(masked[0].recipe["sources"]) == {"image", "mask.source", "mask.target"}
        same(masked[0], rerun(masked[1], mask={"target": self.SEA}))

    def test_one_from_memory_has_to_be_given(self, masked: tuple[Run, Path]):
        with pytest.raises(
            ImageError, match=r"the mask.target of .* give it with mask={'target': \.\.\.}"
        ):
            rerun(masked[1])

    def test_one_that_is_gone(self, masked: tuple[Run, Path], tmp_path: Path):
        (tmp_path / "right.png").rename(tmp_path / "moved.png")
        with pytest.raises(ImageError, match=r"which is gone; give mask={'source': \.\.\.}"):
            rerun(masked[1], mask={"target": self.SEA})
        same_bits = {"target": self.SEA, "source": tmp_path / "moved.png"}
        assert rerun(masked[1], mask=same_bits).image.tobytes() == masked[0].image.tobytes()

    def test_another_one(self, masked: tuple[Run, Path], tmp_path: Path):
        with pytest.raises(ImageError, match=r"the mask\.source of .* was another one"):
            rerun(masked[1], mask={"target": self.SEA, "source": tmp_path / "left.png"})

    def test_one_that_the_run_had_not(self, masked: tuple[Run, Path], edited: tuple[Run, Path]):
        with pytest.raises(OptionError, match="had no mask 'lake'; it had: 'source', 'target'"):
            rerun(masked[1], mask={"lake": self.SEA, "target": self.SEA})
        with pytest.raises(OptionError, match="had no mask 'target'; it had: none with a name"):
            rerun(edited[1], mask={"target": self.SEA})

    def test_an_unnamed_one_that_the_run_had_not(self, folder: Path, photo: Path, tmp_path: Path):
        with Editor.load(folder, engine="fake") as editor:
            run = editor.edit(photo, source="a red cat", target="a blue cat", steps=1)
        path = run.save(tmp_path / "bare.png")[0]
        with pytest.raises(OptionError, match="had no mask without a name; it had: none with a"):
            rerun(path, mask=self.SEA)


class TestSources:
    def test_beside_the_result_will_do(self, edited: tuple[Run, Path], tmp_path: Path):
        moved = tmp_path / "elsewhere"
        moved.mkdir()
        for name in ("out.png", "room.png", "mask.png"):
            (tmp_path / name).rename(moved / name)
        again = rerun(moved / "out.png")
        assert again.image.tobytes() == edited[0].image.tobytes()
        assert again.recipe["sources"]["image"]["path"] == str(moved / "room.png")

    def test_gone(self, edited: tuple[Run, Path], photo: Path):
        photo.unlink()
        with pytest.raises(ImageError, match=r"the image of .*room\.png', which is gone; give ima"):
            rerun(edited[1])

    def test_given_anew(self, edited: tuple[Run, Path], photo: Path, picture: Any):
        photo.unlink()
        again = rerun(edited[1], image=picture)
        assert again.image.tobytes() == edited[0].image.tobytes()

    def test_another_one(self, edited: tuple[Run, Path], photo: Path, picture: Any):
        Image.fromarray(255 - picture).save(photo)
        with pytest.raises(ImageError, match=r"the image of .* was another one"):
            rerun(edited[1])

    def test_another_mask(self, edited: tuple[Run, Path], tmp_path: Path):
        Image.new("L", (64, 64), 255).save(tmp_path / "mask.png")
        with pytest.raises(ImageError, match=r"the mask of .* was another one"):
            rerun(edited[1])

    def test_from_memory(self, folder: Path, tmp_path: Path, picture: Any):
        with Editor.load(folder, engine="fake") as editor:
            run = editor.invert(picture, "a red cat", steps=2)
        path = run.save(tmp_path / "out.png")[0]
        with pytest.raises(ImageError, match="came from memory; give it with image="):
            rerun(path)
        same(run, rerun(path, image=picture))


class TestRefused:
    def test_other_weights(self, edited: tuple[Run, Path], folder: Path):
        weights = folder / "unet" / "model.safetensors"
        weights.write_bytes(weights.read_bytes() + b"more")
        with pytest.raises(ModelError, match="has other weights than when this was made"):
            rerun(edited[1])

    def test_a_model_that_is_gone(self, edited: tuple[Run, Path], folder: Path):
        folder.rename(folder.with_name("moved"))
        with pytest.raises(ModelError, match="no model"):
            rerun(edited[1])

    def test_no_recipe(self, photo: Path):
        with pytest.raises(ImageError, match="holds no recipe"):
            rerun(photo)

    @pytest.mark.parametrize(
        ("part", "value", "error"),
        [
            ("operation", "delete", ImageError),
            ("operation", None, ImageError),
            ("request", {"source": "a cat"}, OptionError),
            ("request", [], ImageError),
            ("model", {"engine": "fake", "speed": 3}, OptionError),
            ("sources", {"picture": {}}, ImageError),
            ("sources", {"mask.a.b": {"path": "m.png", "sha256": ""}}, ImageError),
            ("sources", {"image": {"path": 3, "sha256": ""}}, ImageError),
            ("provenance", {}, ModelError),
        ],
    )
    def test_a_recipe_that_is_not_whole(
        self, edited: tuple[Run, Path], tmp_path: Path, part: str, value: Any, error: Any
    ):
        recipe = json.loads(json.dumps(read_recipe(edited[1])))
        recipe[part] = value
        path = tmp_path / "changed.png"
        write_picture(path, np.zeros((8, 8, 3), np.uint8), recipe)
        with pytest.raises(error):
            rerun(path)

    def test_an_inversion_of_nothing(self, edited: tuple[Run, Path], tmp_path: Path):
        recipe = read_recipe(edited[1])
        recipe |= {"operation": "invert", "sources": {}, "request": {"source": "a cat"}}
        path = tmp_path / "changed.png"
        write_picture(path, np.zeros((8, 8, 3), np.uint8), recipe)
        with pytest.raises(ImageError, match="no picture to invert"):
            rerun(path)
