"""Null-text inversion: its loss in closed form, and all of it against the loop written out."""

from pathlib import Path
from runpy import run_path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from scumble.editor import Editor
from scumble.engine import EngineSettings
from scumble.errors import OptionError, UnsupportedError
from scumble.hookspecs import RunView
from scumble.host import Host
from scumble.models import find_checkpoint
from scumble.pipeline import Pipeline
from scumble.requests import SamplingRequest
from scumble.schedulers import DDIM, SchedulerConfig
from scumble.session import Session
from scumble.testing import fake_session
from scumble_engines.torch import TorchEngine
from scumble_plugins.null_text import Adam, NullText, NullTextOptions, wanted_noise

TINY = run_path(str(Path(__file__).parents[1] / "tiny_checkpoint.py"))
PICTURE = np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
SOURCE, TARGET = "a red cat on a sofa", "a blue dog on a sofa"


def test_adam_is_torchs():
    rng = np.random.default_rng(2)
    value, slopes = rng.standard_normal((4, 3)), rng.standard_normal((5, 4, 3))
    theirs = torch.from_numpy(value.copy()).requires_grad_()
    optimizer, mine = torch.optim.Adam([theirs], lr=0.03), Adam(0.03)
    for slope in slopes:
        theirs.grad = torch.from_numpy(slope)
        optimizer.step()
        value = mine.moved(value, slope)
        np.testing.assert_allclose(value, theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("index", [0, 3, 6])
def test_the_match_is_the_papers_loss(index: int, kind: Any):
    """MSE of the latent after the step, of guided noise, for any unconditional noise."""
    config = SchedulerConfig(
        1000, 0.00085, 0.012, "scaled_linear", prediction_type=kind, steps_offset=1
    )
    run: Any = SimpleNamespace(scheduler=DDIM(config, 7), guidance=7.5)
    rng = np.random.default_rng(index)
    latent, told, reached, plain = rng.standard_normal((4, 4, 5, 6))
    wanted, weight = wanted_noise(run, latent, told, reached, index)
    step = run.scheduler.forward(latent, plain + 7.5 * (told - plain), index)
    loss = float(((step - reached) ** 2).mean())
    assert weight * float(((plain - wanted) ** 2).mean()) == pytest.approx(loss, rel=1e-9)
    perfect = run.scheduler.forward(latent, wanted + 7.5 * (told - wanted), index)
    np.testing.assert_allclose(perfect, reached, atol=1e-9)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    """The tiny checkpoint on torch, in float64."""
    folder = TINY["write_checkpoint"](tmp_path_factory.mktemp("tiny"), unet=TINY["SMALL"])
    return Session(find_checkpoint(folder), TorchEngine(EngineSettings("fp64", "cpu", threads=1)))


def pipeline(session: Session, steps: int, host: Host | None = None, **options: Any) -> Pipeline:
    asked = {name: options.pop(name) for name in ("guidance", "negative") if name in options}
    request = SamplingRequest(steps=steps, size=(32, 32), **asked)
    inversion = Host.of(inversion=NullText(NullTextOptions(**options)))
    made = Pipeline(session, request, (SOURCE, TARGET), frozenset({1}), host or Host(()), inversion)
    made.read(PICTURE)
    return made


def written_out(session: Session, steps: int, iterations: int, stop: float, growth: float) -> Any:
    """The published loop on the bare UNet: autograd through guidance and step, torch's Adam.

    Returns the texts, the latents that they lead through, and the gradients taken.
    """
    unet: Any = session.engine.parts.unet  # pyright: ignore[reportAttributeAccessIssue]
    view: RunView = pipeline(session, steps).view()
    scheduler = view.scheduler
    assert view.image is not None
    states = {text: session.embed(text).states for text in ("", SOURCE)}
    unconditional, told = (torch.from_numpy(states[text].copy())[None] for text in ("", SOURCE))

    def noise(latent: torch.Tensor, timestep: int, text: torch.Tensor) -> torch.Tensor:
        return unet(latent, torch.tensor([timestep]), encoder_hidden_states=text).sample

    def along(latent: torch.Tensor, noise: torch.Tensor, start: float, end: float) -> torch.Tensor:
        clean = (latent - (1 - start) ** 0.5 * noise) / start**0.5
        return end**0.5 * clean + (1 - end) ** 0.5 * noise

    latent = torch.from_numpy(view.image.copy())[None]
    stars = [latent]
    ends = list(zip(scheduler.alphas[:-1], scheduler.reached, strict=True))
    with torch.no_grad():
        for index in reversed(range(steps)):
            timestep, (start, end) = int(scheduler.timesteps[index]), ends[index]
            latent = along(latent, noise(latent, timestep, told), end, start)
            stars.insert(0, latent)
    texts: list[Any] = []
    levels = [stars[0]]
    count = 0
    for i in range(steps):
        timestep, (start, end) = int(scheduler.timesteps[i]), ends[i]
        place = i * 50 / steps
        unconditional = unconditional.clone().detach().requires_grad_()
        optimizer = torch.optim.Adam([unconditional], lr=1e-2 * (1 - place / 100))
        with torch.no_grad():
            conditional = noise(levels[-1], timestep, told)
        for _ in range(iterations):
            plain = noise(levels[-1], timestep, unconditional)
            guided = plain + 7.5 * (conditional - plain)
            loss = torch.nn.functional.mse_loss(along(levels[-1], guided, start, end), stars[i + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            count += 1
            if loss.item() < stop + place * growth:
                break
        texts.append(unconditional.detach()[0].numpy())
        with torch.no_grad():
            plain = noise(levels[-1], timestep, unconditional)
            guided = plain + 7.5 * (conditional - plain)
            levels.append(along(levels[-1], guided, start, end))
    return np.stack(texts), np.concatenate([level.numpy() for level in levels]), count


@pytest.mark.thorough
@pytest.mark.parametrize(("stop", "growth"), [(1e-5, 2e-5), (1e-5, 1.0)])
def test_the_whole_is_the_published_loop(session: Session, stop: float, growth: float):
    steps, iterations = 4, 4
    done = pipeline(session, steps, iterations=iterations, stop=stop, stop_growth=growth).finish()
    texts, levels, count = written_out(session, steps, iterations, stop, growth)
    found = done.trajectory
    assert found is not None
    assert found.pinned
    assert done.rows["gradient"] == count
    # The second one's first step goes on to the end, and each of the others stops at once.
    assert count == (steps * iterations if growth < 1 else iterations + steps - 1)
    np.testing.assert_allclose(np.asarray(found.embeddings), texts, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.latents, levels, rtol=1e-8, atol=1e-9)
    # One row a step up, one of the text, one of what was fitted.
    assert done.rows["inversion"] == 3 * steps


@pytest.mark.thorough
def test_targets_are_told_the_fitted_texts(session: Session):
    """Each step's unconditional row by itself; and what was fitted is nearer to the picture."""
    done = pipeline(session, 3, iterations=3).finish()
    found, view = done.trajectory, pipeline(session, 3).view()
    assert found is not None
    texts = np.asarray(found.embeddings)
    latent = found.latents[0]
    for index, timestep in enumerate(view.scheduler.timesteps):
        at = np.array([timestep])
        plain = view.predict_rows(latent[None], at, [texts[index]])[0]
        told = view.predict_rows(latent[None], at, [TARGET])[0]
        latent = view.scheduler.forward(latent, plain + 7.5 * (told - plain), index)
    np.testing.assert_allclose(done.latents[1], latent, atol=1e-10)


@pytest.mark.thorough
def test_the_source_comes_back_better_than_without(session: Session):
    fitted = pipeline(session, 4).finish().trajectory
    hardly = pipeline(session, 4, iterations=1, rate=1e-12).finish().trajectory
    image = pipeline(session, 4).view().image
    assert image is not None
    assert fitted is not None
    assert hardly is not None
    before, after = (np.abs(way.latents[-1] - image).mean() for way in (hardly, fitted))
    assert after < 0.85 * before


def test_what_it_refuses(tmp_path: Path):
    made = fake_session(tmp_path)
    request = SamplingRequest(steps=2, guidance=1)
    host = Host.of(inversion=NullText())
    run = Pipeline(made, request, ("a cat", "a dog"), frozenset({1}), Host(()), host)
    run.read(PICTURE)
    with pytest.raises(OptionError, match="needs guidance, and 1 is none"):
        run.finish()
    assert not made.rows
    run.request = SamplingRequest(steps=2)
    with pytest.raises(UnsupportedError, match=r"'fake' has no gradient by the text .* torch"):
        run.finish()


@pytest.mark.thorough
def test_rows_on_one_engine_and_gradients_on_another():
    """On rooms: what the pack runs and torch fits is what torch does alone, up to rounding."""
    asked: dict[str, Any] = {
        "source": "a room with a green sofa",
        "target": "a room with a blue sofa",
        "inversion": "null_text",
        "inversion_options": {"iterations": 2},
        "steps": 3,
    }
    results: list[Any] = []
    for engine in ("onnxruntime", "torch"):
        with Editor.load("rooms", engine, gradient_engine="torch", threads=1) as editor:
            results.append(editor.edit(PICTURE, **asked))
    one, other = results
    assert one.gradient_count == other.gradient_count > 0
    away = np.abs(one.latents[1] - other.latents[1]).max()
    assert away < 1e-2 * np.abs(other.latents[1]).max()
