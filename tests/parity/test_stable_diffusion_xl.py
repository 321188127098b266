"""A model of SDXL's shape, tiny: told what diffusers tells it, and edited alike on each engine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from scumble.editor import Editor
from scumble.engine import EngineSettings
from scumble.errors import ModelError, PortError
from scumble.models import find_checkpoint
from scumble.packs import read_manifest
from scumble.ports import ADDED, Group, neutral
from scumble.sensitivity import require_effect
from scumble.session import Session
from scumble_engines.torch import TorchEngine
from scumble_export.pack import export_pack

pytestmark = pytest.mark.thorough
TINY = run_path(str(Path(__file__).parents[1] / "tiny_checkpoint.py"))
PROMPT = "a red cat on a sofa"
FIXED: tuple[Group, ...] = ("route", "mix", "read", "feature", "region", "record")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TINY["write_paired_checkpoint"](tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Session]:
    engine = TorchEngine(EngineSettings(device="cpu", threads=1))
    with engine:
        yield Session(find_checkpoint(folder), engine)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    """The pipeline of diffusers on the same files."""
    made: Any = StableDiffusionXLPipeline(
        vae=AutoencoderKL.from_pretrained(folder / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(folder / "text_encoder"),
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2"),
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer_2"),
        unet=UNet2DConditionModel.from_pretrained(folder / "unet"),
        scheduler=cast("Any", DDIMScheduler.from_pretrained(folder / "scheduler")),
        add_watermarker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def plain(session: Session, rows: int = 3) -> dict[str, Any]:
    """A step whose rows differ in all that they are told."""
    rng, info = np.random.default_rng(2), session.info
    return {
        "sample": rng.standard_normal((rows, 4, 16, 16)).astype(np.float32),
        "timestep": np.array([981, 481, 21][:rows]),
        "text": rng.standard_normal((rows, info.tokens, info.features)).astype(np.float32),
        "added.text": rng.standard_normal((rows, TINY["POOLED"])).astype(np.float32),
        "added.size": rng.integers(0, 64, (rows, 6)).astype(np.float32),
    }


def gap(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


def test_the_prompts_are_told_as_by_diffusers(session: Session, pipeline: Any):
    wanted = pipeline.encode_prompt(PROMPT, device="cpu", do_classifier_free_guidance=True)
    states, empty, pooled, nothing = (tensor[0].detach().numpy() for tensor in wanted)
    found, none = session.embed(PROMPT), session.embed("")
    assert gap(found.states, states) < 1e-5
    assert gap(found.pooled, pooled) < 1e-5
    assert not empty.any()
    assert not nothing.any()
    assert none.pooled is not None
    assert np.array_equal(none.states, empty)
    assert np.array_equal(none.pooled, nothing)
    # The second tokenizer pads with another token, which the states behind the prompt show.
    first, second = (tokenizer.encode(PROMPT).ids for tokenizer in session.tokenizers)
    assert first[-1] == session.tokenizer.eos
    assert second[-1] == 0
    assert np.array_equal(first[:6], second[:6])


def test_an_empty_prompt_is_encoded_where_the_model_says_so(
    folder: Path, pipeline: Any, tmp_path: Path
):
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    index = {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": False}
    (other / "model_index.json").write_text(json.dumps(index))
    wanted = pipeline.encode_prompt("", device="cpu", do_classifier_free_guidance=False)
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        found = Session(find_checkpoint(other), engine).embed("")
    assert gap(found.states, wanted[0][0].detach()) < 1e-5
    assert gap(found.pooled, wanted[2][0].detach()) < 1e-5


@torch.inference_mode()
def test_a_step_is_that_of_diffusers_with_every_port_neutral(session: Session, pipeline: Any):
    ports = plain(session)
    given = {name: torch.from_numpy(array) for name, array in ports.items()}
    wanted = pipeline.unet(
        given["sample"],
        given["timestep"],
        encoder_hidden_states=given["text"],
        added_cond_kwargs={"text_embeds": given["added.text"], "time_ids": given["added.size"]},
    ).sample.numpy()
    assert gap(session.engine.step(ports).noise, wanted) < 1e-6
    sizes = session.info.sizes((16, 16))
    for group in FIXED:
        ports |= neutral(group, sizes, 3)
    ports = {n: a if a.dtype.kind == "i" else a.astype(np.float32) for n, a in ports.items()}
    assert gap(session.engine.step(ports).noise, wanted) < 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("name", [port.name for port in ADDED])
def test_the_added_ports_are_demanded_and_matter(session: Session, name: str):
    ports = plain(session)
    before = session.engine.step(ports).noise
    changed = {**ports, name: ports[name] + 1}
    assert gap(session.engine.step(changed).noise, before) > 1e-3 * np.abs(before).max()
    with pytest.raises(PortError, match=f"port '{name}' is missing"):
        session.engine.step({n: array for n, array in ports.items() if n != name})
    with pytest.raises(PortError, match=rf"port '{name}' has shape \(3, 1\), want \(rows=3, "):
        session.engine.step({**ports, name: ports[name][:, :1]})


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("negative", ["", "a dog"])
def test_a_picture_is_that_of_diffusers(
    folder: Path, pipeline: Any, guidance: float, negative: str
):
    # Wider than high, so that the sizes which the UNet is told cannot be swapped.
    settings: dict[str, Any] = {"steps": 6, "guidance": guidance, "size": (32, 48)}
    with Editor.load(folder, engine="torch", device="cpu", threads=1) as editor:
        found = editor.generate(PROMPT, seed=3, negative=negative, **settings).latents[0]
    start = np.random.default_rng(3).standard_normal((1, 4, 16, 24)).astype(np.float32)
    wanted = (
        pipeline(
            PROMPT,
            negative_prompt=negative or None,
            num_inference_steps=6,
            guidance_scale=guidance,
            latents=torch.from_numpy(start),
            height=32,
            width=48,
            output_type="latent",
        )
        .images[0]
        .numpy()
    )
    assert gap(found, wanted) < 1e-4 * max(1, np.abs(wanted).max())


def test_every_group_moves_the_output(session: Session):
    for group in (*FIXED, cast("Group", "replay")):
        require_effect(session, group)


def edits(model: Path, engine: str) -> list[Any]:
    """Two edits of one picture; the second one replays the source of the first."""
    picture = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
    picture = picture.repeat(4, axis=0).repeat(4, axis=1)
    with Editor.load(model, engine=engine, device="cpu", threads=1) as editor:
        return [
            editor.edit(
                picture,
                source=PROMPT,
                target=f"a {colour} cat on a sofa",
                steps=4,
                options={"blend_words": "cat"},
            )
            for colour in ("blue", "purple")
        ]


def test_a_replayed_source_is_as_good_as_one_that_runs(folder: Path):
    replayed = edits(folder, "torch")[1]
    assert replayed.row_count == 2 * 4
    with Editor.load(folder, engine="torch", device="cpu", threads=1, source_memory=0) as editor:
        picture = np.random.default_rng(5).integers(0, 256, (8, 8, 3), np.uint8)
        fresh = editor.edit(
            picture.repeat(4, axis=0).repeat(4, axis=1),
            source=PROMPT,
            target="a purple cat on a sofa",
            steps=4,
            options={"blend_words": "cat"},
        )
    assert gap(replayed.latents[1], fresh.latents[1]) < 1e-4 * np.abs(fresh.latents[1]).max()


def test_other_conditions_are_refused(folder: Path, tmp_path: Path):
    """As the refiner's are: an aesthetic score instead of the target size."""
    other = Path(shutil.copytree(folder, tmp_path / "refiner"))
    path = other / "unet" / "config.json"
    config = json.loads(path.read_text()) | {
        "projection_class_embeddings_input_dim": TINY["POOLED"] + 5 * 8
    }
    path.write_text(json.dumps(config))
    unet = UNet2DConditionModel.from_config(config)
    cast("Any", unet).save_pretrained(other / "unet")
    with (
        TorchEngine(EngineSettings(device="cpu")) as engine,
        pytest.raises(ModelError, match=r"text_time of 60 numbers.* call for text_time of 68"),
    ):
        engine.load(find_checkpoint(other))
    shutil.rmtree(other / "text_encoder_2")
    with (
        TorchEngine(EngineSettings(device="cpu")) as engine,
        pytest.raises(ModelError, match=r"text_time of 60 numbers.* call for nothing"),
    ):
        engine.load(find_checkpoint(other))


@pytest.mark.slow
def test_a_pack_of_it_edits_as_torch_does(folder: Path, tmp_path: Path):
    pack = tmp_path / "pack"
    variants = ("plain", "routed", "reading", "recording", "replaying")
    made = export_pack(find_checkpoint(folder), pack, variants=variants)
    assert made == read_manifest(pack)
    assert made.pooled == TINY["POOLED"]
    assert made.zeroes_empty
    assert all(variant.parity <= 1e-5 for variant in made.variants.values())
    assert set(made.variants["plain"].sensitivity) >= {port.name for port in ADDED}
    wanted, found = edits(folder, "torch"), edits(pack, "onnxruntime")
    scale = max(float(np.abs(latent).max()) for latent in wanted[0].latents.values())
    assert gap(wanted[0].latents[1], wanted[1].latents[1]) > 0.01 * scale
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.rows == theirs.rows
        for picture, latent in theirs.latents.items():
            assert gap(mine.latents[picture], latent) < 1e-3 * scale
