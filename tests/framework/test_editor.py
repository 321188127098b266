"""The front door, on the fake engine and with the built-in methods."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from scumble import opening
from scumble.editor import Editor
from scumble.errors import EngineError, ImageError, ModelError, OptionError, PromptError
from scumble.hookspecs import RunView, StepView, hookimpl
from scumble.models import find_checkpoint
from scumble.plans import Plan
from scumble.plugins import Plugin
from scumble.sampler import Progress
from scumble.testing import FakeEngine, fake_checkpoint

WORDS: dict[str, Any] = {"source": "a red cat", "target": "a blue cat", "steps": 3}


class Plain(Plugin):
    """Samples the target, and that is all."""

    @hookimpl
    def scumble_plan(self) -> Plan:
        """Plan nothing."""
        return Plan()


class Masked(Plain):
    """Says that it takes any mask."""

    def takes_mask(self, name: str) -> bool:
        """Whatever its name."""
        return True


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return fake_checkpoint(tmp_path / "model").folder


@pytest.fixture
def editor(folder: Path, fake_engine: None) -> Iterator[Editor]:
    with Editor.load(folder, engine="fake") as editor:
        yield editor


class TestLoad:
    def test_what_is_not_there(self, folder: Path, tmp_path: Path, fake_engine: None):
        with pytest.raises(ModelError, match="no model"):
            Editor.load(tmp_path / "gone", engine="fake")
        with pytest.raises(OptionError, match=r"no engine 'warp'; installed: .*fake.*torch"):
            Editor.load(folder, engine="warp")
        with pytest.raises(OptionError, match=r"Editor.load has no option 'speed'"):
            Editor.load(folder, engine="fake", speed=3)
        with pytest.raises(OptionError, match=r"Editor.load: device"):
            Editor.load(folder, engine="fake", device="abacus")

    def test_what_is_no_engine(self, folder: Path, install: Any):
        install("odd", {"scumble.engines": {"odd": "collections:OrderedDict"}})
        with pytest.raises(EngineError, match=r"'odd' of odd 1.0 is no scumble.Engine"):
            Editor.load(folder, engine="odd")

    def test_settings_reach_the_engine(self, folder: Path, fake_engine: None):
        with Editor.load(folder, engine="fake", precision="fp64", threads=1) as editor:
            assert editor.session.engine.settings.precision == "fp64"
            assert editor.session.engine.settings.threads == 1
        with pytest.raises(OptionError, match="'fake' has no mode 'graph'"):
            Editor.load(folder, engine="fake", mode="graph")

    def test_an_engine_gets_the_form_that_it_runs(
        self, folder: Path, fake_pack: Any, fake_engine: None, monkeypatch: pytest.MonkeyPatch
    ):
        fake_pack(folder / "pack", find_checkpoint(folder))
        for form, wanted in (("checkpoint", folder), ("pack", folder / "pack")):
            monkeypatch.setattr(FakeEngine, "runs", form)
            with Editor.load(folder, engine="fake") as editor:
                assert editor.session.checkpoint.folder == wanted

    def test_a_recipe_names_the_engine_that_was_chosen(
        self, folder: Path, fake_engine: None, monkeypatch: pytest.MonkeyPatch
    ):
        asked: list[Any] = []
        monkeypatch.setattr(opening, "choose_engine", lambda *given: asked.append(given) or "fake")
        with Editor.load(folder, precision="fp64", device="cpu") as editor:
            run = editor.generate("a red cat", steps=1)
        assert run.recipe["model"]["engine"] == "fake"
        ((found, request),) = asked
        assert found == editor.session.checkpoint
        assert (request.precision, request.device, request.engine) == ("fp64", "cpu", None)
        with Editor.load(**run.recipe["model"]) as editor:
            again = editor.generate("a red cat", steps=1)
        assert len(asked) == 1, "the recipe left the choice open"
        np.testing.assert_array_equal(np.asarray(again.image), np.asarray(run.image))

    def test_it_closes(self, editor: Editor):
        run = editor.generate("a red cat", steps=2)
        editor.close()
        with pytest.raises(EngineError, match="no model"):
            run.maps["cat"]


class TestGenerate:
    def test_a_picture(self, editor: Editor):
        told: list[Progress] = []
        run = editor.generate("a red cat", steps=3, seed=4, callback_on_step_end=told.append)
        assert run.image.size == (64, 64)
        assert run.rows == {"plain": 6}
        assert run.row_count == 6
        assert [progress.step for progress in told] == [0, 1, 2]
        assert run.recipe["operation"] == "generate"
        assert run.recipe["request"]["seed"] == 4
        assert run.provenance["engine"] == "fake"
        assert run.maps["cat"].side == "source"

    @pytest.mark.parametrize("prompt", ["", "  \n"])
    def test_an_empty_prompt(self, editor: Editor, prompt: str):
        with pytest.raises(PromptError, match="the prompt is empty"):
            editor.generate(prompt)

    def test_a_very_long_prompt(self, editor: Editor):
        run = editor.generate("a red cat " * 20, steps=1)
        assert len(run.notes) == 1
        with pytest.raises(PromptError, match="1000000 characters"):
            editor.generate("a" * 10**6)

    def test_an_unknown_setting(self, editor: Editor):
        with pytest.raises(OptionError, match="generate has no option 'step'; it has: steps"):
            editor.generate("a cat", step=3)


class TestEdit:
    def test_a_picture(self, editor: Editor, picture: Any):
        run = editor.edit(picture, **WORDS)
        assert len(run.images) == 1
        np.testing.assert_array_equal(np.asarray(run.source), picture)
        assert not np.array_equal(np.asarray(run.image), picture)
        assert run.rows["inversion"] == 3
        assert run.trajectory is not None
        assert run.recipe["sources"]["image"]["path"] is None
        assert run.provenance["plugins"]["prompt_to_prompt"].startswith("scumble ")

    def test_a_generated_picture(self, editor: Editor):
        run = editor.edit(**WORDS)
        assert run.trajectory is None
        assert np.asarray(run.source).shape == (64, 64, 3)
        same = editor.generate("a red cat", steps=3)
        np.testing.assert_array_equal(np.asarray(run.source), np.asarray(same.image))

    def test_several_targets(self, editor: Editor, picture: Any):
        run = editor.edit(picture, source="a red cat", target=["a blue cat", "a red dog"], steps=3)
        assert len(run.images) == 2
        alone = editor.edit(picture, source="a red cat", target="a red dog", steps=3)
        np.testing.assert_array_equal(np.asarray(run.images[1]), np.asarray(alone.image))

    def test_a_mask_keeps_what_is_black(self, editor: Editor, picture: Any):
        mask = np.zeros((64, 64), dtype=bool)
        mask[:, :32] = True
        run = editor.edit(picture, mask=mask, options={"cross_window": 0.2}, **WORDS)
        kept = np.asarray(run.image)[:, 32:].astype(int) - picture[:, 32:]
        changed = np.asarray(run.image)[:, :32].astype(int) - picture[:, :32]
        assert np.abs(kept).max() <= 1
        assert np.abs(changed).max() > 1
        assert set(run.recipe["sources"]) == {"image", "mask"}

    def test_another_shape_is_fitted_with_a_note(self, editor: Editor, picture: Any):
        run = editor.edit(picture[:, :48], **WORDS)
        assert run.image.size == (64, 64)
        assert any("Fitted from 48x64 to 64x64" in note for note in run.notes)

    def test_several_masks_by_their_names(self, editor: Editor, picture: Any, tmp_path: Path):
        seen: list[RunView] = []

        class Looks(Plugin):
            def takes_mask(self, name: str) -> bool:
                return True

            @hookimpl
            def scumble_plan(self, run: RunView) -> None:
                seen.append(run)

        left = np.zeros((64, 64), dtype=bool)
        left[:, :32] = True
        Image.fromarray(~left).save(tmp_path / "right.png")
        masks = {"": left, "right": tmp_path / "right.png", "all of it": left | ~left}
        run = editor.edit(picture, mask=masks, method=Looks(), **WORDS)
        (shown,) = seen
        assert shown.mask is not None
        assert set(shown.masks) == {"right", "all of it"}
        np.testing.assert_array_equal(shown.masks["right"], 1 - shown.mask)
        assert shown.masks["all of it"].all()
        assert set(run.recipe["sources"]) == {"image", "mask", "mask.right", "mask.all of it"}
        recorded = run.recipe["sources"]["mask.right"]
        assert recorded["path"] == str(tmp_path / "right.png")
        assert recorded["sha256"] != run.recipe["sources"]["mask"]["sha256"]

    def test_further_plugins(self, editor: Editor, picture: Any):
        given: dict[str, Any] = {"initial_noise": {"repaint": [(0, 0, 32, 32)]}}
        both = editor.edit(picture, further=given, **WORDS)
        assert set(both.provenance["plugins"]) == {"prompt_to_prompt", "initial_noise", "direct"}
        alone = editor.edit(picture, **WORDS)
        assert np.abs(both.latents[1] - alone.latents[1]).max() > 1e-3
        named = editor.edit(picture, method=Plain(), further={"prompt_to_prompt": {}}, **WORDS)
        np.testing.assert_array_equal(named.latents[1], alone.latents[1])
        with pytest.raises(OptionError, match="'prompt_to_prompt' is named twice"):
            editor.edit(picture, further={"prompt_to_prompt": {}}, **WORDS)

    def test_named_masks_alone(self, editor: Editor, picture: Any):
        mask = {"sky": np.ones((64, 64), dtype=bool)}
        with pytest.raises(OptionError, match="prompt_to_prompt take no mask named 'sky'"):
            editor.edit(picture, mask=mask, **WORDS)
        run = editor.edit(picture, mask=mask, method=Masked(), **WORDS)
        assert set(run.recipe["sources"]) == {"image", "mask.sky"}
        assert set(editor.edit(picture, mask={}, **WORDS).recipe["sources"]) == {"image"}

    def test_a_name_that_a_recipe_cannot_hold(self, editor: Editor, picture: Any):
        mask = {"sky": np.ones((64, 64), dtype=bool), "a.b": np.ones((64, 64), dtype=bool)}
        with pytest.raises(OptionError, match=r"a mask is named 'a\.b'; a name has no dot"):
            editor.edit(picture, mask=mask, **WORDS)

    def test_named_masks_without_a_picture(self, editor: Editor):
        with pytest.raises(OptionError, match="a mask needs a picture"):
            editor.edit(mask={"sky": np.ones((64, 64), dtype=bool)}, **WORDS)

    def test_a_mask_of_another_size(self, editor: Editor, picture: Any):
        with pytest.raises(ImageError, match="mask"):
            editor.edit(picture, mask=np.ones((8, 8), dtype=bool), **WORDS)

    def test_a_mask_without_a_picture(self, editor: Editor):
        with pytest.raises(OptionError, match="a mask needs a picture"):
            editor.edit(mask=np.ones((64, 64), dtype=bool), **WORDS)

    @pytest.mark.parametrize(
        ("changed", "error", "message"),
        [
            ({"method": "nope"}, OptionError, "no plugin 'nope'"),
            ({"inversion": "nope"}, OptionError, "no plugin 'nope'"),
            ({"options": {"windw": 1}}, OptionError, "no option 'windw'"),
            ({"inversion_options": {"convention": "x"}}, OptionError, "convention"),
            ({"source": " "}, PromptError, "empty"),
            ({"target": ["a cat", ""]}, PromptError, "empty"),
            ({"target": []}, OptionError, "targets"),
            ({"options": {"reweight": {"tree": 2}}}, PromptError, "tree"),
            ({"options": {"mode": "replace"}, "target": "a cat"}, PromptError, "as many words"),
            ({"size": (60, 64)}, OptionError, "multiples of 8"),
        ],
    )
    def test_what_cannot_be_used(
        self, editor: Editor, picture: Any, changed: dict[str, Any], error: Any, message: str
    ):
        with pytest.raises(error, match=message):
            editor.edit(picture, **(WORDS | changed))

    def test_a_plugin_that_is_not_installed(self, editor: Editor, picture: Any):
        class Whiten(Plugin):
            @hookimpl
            def scumble_after_step(self, step: StepView) -> dict[int, Any]:
                return {1: np.ones_like(step.latents[1])}

        run = editor.edit(picture, method=Whiten(), **WORDS)
        assert (np.asarray(run.image) == 255).all()
        assert run.provenance["plugins"]["Whiten"] == "this program"
        with pytest.raises(OptionError, match="options are given to a plugin object when it is"):
            editor.edit(picture, method=Whiten(), options={"a": 1}, **WORDS)

    def test_nothing_need_be_said_of_a_given_picture(self, editor: Editor, picture: Any):
        silent: dict[str, Any] = {**WORDS, "source": ""}
        run = editor.edit(picture, method=Plain(), **silent)
        assert sum(run.rows.values()) == 3 * WORDS["steps"]  # inversion, and the target's two rows
        with pytest.raises(PromptError, match="empty"):
            editor.edit(method=Plain(), **silent)
        with pytest.raises(PromptError, match="prompt_to_prompt needs a source prompt"):
            editor.edit(picture, **silent)

    def test_a_missing_file(self, editor: Editor, tmp_path: Path):
        with pytest.raises(ImageError, match=r"gone\.png"):
            editor.edit(tmp_path / "gone.png", **WORDS)


class TestOwnNoise:
    """A method that brings its own way to noise."""

    def test_nothing_is_inverted(self, editor: Editor, picture: Any):
        run = editor.edit(picture, **WORDS, method="sdedit", options={"strength": 0.7})
        assert run.rows == {"plain": 4}
        assert set(run.provenance["plugins"]) == {"sdedit"}
        with pytest.raises(OptionError, match="sdedit leads the picture to noise by itself"):
            editor.edit(picture, **WORDS, method="sdedit", inversion="ddim")

    def test_what_began_part_way_is_gone_on_from_as_a_picture(self, editor: Editor, picture: Any):
        first = editor.edit(picture, **WORDS, method="sdedit", options={"strength": 0.7})
        again = editor.edit(first, **WORDS, method="sdedit", options={"strength": 0.7})
        assert again.rows == {"plain": 4}
        assert again.recipe["before"] == first.recipe
        with pytest.raises(OptionError, match="began at step 1, and no latent leads there"):
            editor.edit(first, **WORDS)


class TestInvert:
    def test_the_way_there_and_back(self, editor: Editor, picture: Any):
        run = editor.invert(picture, "a red cat", steps=4)
        assert run.trajectory is not None
        assert run.trajectory.latents.shape == (5, 4, 8, 8)
        assert run.rows == {"inversion": 4, "plain": 4}
        assert run.recipe["operation"] == "invert"

    def test_direct_inversion_returns_the_picture(self, editor: Editor, picture: Any):
        run = editor.invert(Image.fromarray(picture), "a red cat", steps=4, inversion="direct")
        assert np.abs(np.asarray(run.image).astype(int) - picture).max() <= 1
        assert run.rows == {"inversion": 4}

    def test_a_plugin_that_does_not_invert(self, editor: Editor, picture: Any):
        with pytest.raises(Exception, match="none of prompt_to_prompt can invert"):
            editor.invert(picture, "a red cat", inversion="prompt_to_prompt")

    def test_an_empty_prompt(self, editor: Editor, picture: Any):
        with pytest.raises(PromptError, match="empty"):
            editor.invert(picture, "")
