"""Plugins that go together, and those that do not: found out before a row is spent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats
from scumble.editor import Editor
from scumble.errors import OptionError
from scumble.hookspecs import hookimpl
from scumble.host import Host
from scumble.pipeline import Finished
from scumble.plugins import NoOptions, Plugin
from scumble.testing import FakeEngine, fake_session, run_plugin

BOX = [(0, 0, 32, 32)]
LEFT = np.arange(64) < np.full((64, 1), 32)
Plugins = list[tuple[str, dict[str, Any]]]


def picture(side: int = 64) -> Any:
    return np.random.default_rng(3).integers(0, 256, (side, side, 3), dtype=np.uint8)


def run(plugins: Plugins | Host, **more: Any) -> Finished:
    host = plugins if isinstance(plugins, Host) else Host(plugins)
    return run_plugin(host, image=picture(), **more)


class Starts(Plugin):
    """Starts the target from noise that was found elsewhere."""

    def __init__(self, noise: Floats) -> None:
        super().__init__(NoOptions())
        self.noise = noise

    @hookimpl
    def scumble_initial_noise(self) -> Mapping[int, Floats]:
        return {1: self.noise}


class TestTogether:
    def test_masactrl_of_repainted_noise(self):
        """The one decides what is seen, the other where it starts; neither order matters."""
        masactrl = "masactrl", {"start_step": 1}
        repaint = "initial_noise", {"repaint": BOX, "draw": 3}
        both = run([masactrl, repaint])
        alone = run([repaint])
        held = Host([masactrl])
        held = Host.of(starts=Starts(alone.levels[0][1])).followed_by(held)
        np.testing.assert_array_equal(both.latents[1], run(held).latents[1])
        np.testing.assert_array_equal(both.latents[1], run([repaint, masactrl]).latents[1])
        assert np.abs(both.latents[1] - alone.latents[1]).max() > 1e-3
        assert np.abs(both.latents[1] - run([masactrl]).latents[1]).max() > 1e-3

    def test_prompt_to_prompt_in_the_mask_of_diffedit(self):
        """As if the user had painted it."""
        found = run([("prompt_to_prompt", {})], masking=Host([("diffedit", {})]))
        mask = found.masks[""]
        assert 0 < mask.mean() < 1
        painted = mask.repeat(8, axis=0).repeat(8, axis=1) > 0
        given = run([("prompt_to_prompt", {})], mask=painted)
        np.testing.assert_array_equal(found.latents[1], given.latents[1])
        outside = mask == 0
        np.testing.assert_array_equal(found.latents[1][:, outside], found.latents[0][:, outside])

    @pytest.mark.thorough
    def test_mag_edit_guides_what_prompt_to_prompt_injects(self, small: Path):
        """MAG-Edit's own injection is Prompt-to-Prompt's refinement, so both ways are one edit."""
        windows: dict[str, Any] = {"cross_window": 0.75, "self_window": 0.5, "self_stride": 1}
        guided = {"words": ["blue"], "iterations": 1}
        refined = {**windows, "mode": "refine", "blend_start": 1.0}
        nothing = {"cross_window": 0.0, "self_window": 0.0}
        words = {"source": "a red cat on a sofa", "target": "a blue cat on a sofa"}
        with Editor.load(small, "torch", precision="fp64", threads=1, device="cpu") as editor:
            side = editor.session.info.sites.native[0] * editor.session.info.factor
            mask = np.arange(side) < np.full((side, 1), side // 2)
            given: dict[str, Any] = {"mask": mask, "steps": 4, **words}

            def latent(method: str, **settings: Any) -> Floats:
                return editor.edit(picture(side), method=method, **settings, **given).latents[1]

            whole = latent("mag_edit", options={**guided, **windows})
            parts = latent(
                "prompt_to_prompt", options=refined, further={"mag_edit": {**guided, **nothing}}
            )
            unguided = latent("prompt_to_prompt", options=refined)
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-12)
        assert np.abs(parts - unguided).max() > 1e-3


class Counted(FakeEngine):
    """Counts its steps."""

    steps = 0

    def _step(self, ports: Mapping[str, object]) -> Any:
        type(self).steps += 1
        return super()._step(ports)


class TestApart:
    def test_a_contradiction_names_plugins_port_row_site_and_step(self, tmp_path: Path):
        """Prompt-to-Prompt takes the source's queries and keys, MasaCtrl its keys and values."""
        session = fake_session(tmp_path, Counted, words=("cat",))
        plugins = [("prompt_to_prompt", {}), ("masactrl", {"start_step": 0})]
        path = r"up_blocks\.1\.attentions\.0\.transformer_blocks\.0\.attn1"
        with pytest.raises(
            OptionError,
            match=r"^port 'route\.k' of target 1 with its text is written at step 0 and site "
            rf"{path} by plugins 'prompt_to_prompt' and 'masactrl'; use one of them, or other "
            r"steps or sites\.$",
        ):
            run(plugins, session=session)
        assert Counted.steps == 0
        run([("prompt_to_prompt", {})], session=session)
        assert Counted.steps > 0

    def test_other_steps_are_no_contradiction(self):
        first: dict[str, Any] = {"self_window": 0.5}
        run([("prompt_to_prompt", first), ("masactrl", {"start_step": 2})])
        with pytest.raises(OptionError, match="is written at step 1 and site"):
            run([("prompt_to_prompt", first), ("masactrl", {"start_step": 1})])

    def test_one_that_is_named_twice(self):
        with pytest.raises(OptionError, match="'masactrl' is named twice"):
            Host([("masactrl", {}), ("masactrl", {})])

    def test_a_mask_that_nobody_takes(self, tmp_path: Path):
        session = fake_session(tmp_path, Counted)
        Counted.steps = 0
        with pytest.raises(OptionError, match="initial_noise take no mask without a name, so it w"):
            run([("initial_noise", {"repaint": BOX})], mask=LEFT, session=session)
        with pytest.raises(OptionError, match="prompt_to_prompt take no mask named 'sky'"):
            run([("prompt_to_prompt", {})], mask={"": LEFT, "sky": LEFT}, session=session)
        assert Counted.steps == 0
        # One of two is enough.
        two: Plugins = [("initial_noise", {"repaint": BOX}), ("prompt_to_prompt", {})]
        run(two, mask=LEFT, session=session)
