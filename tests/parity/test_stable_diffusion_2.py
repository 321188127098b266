"""A model of SD2.1's shape, tiny: v-prediction, projections as matrices, heads by level."""

from collections.abc import Iterator
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler

from scumble.editor import Editor
from scumble.engine import EngineSettings
from scumble.models import find_checkpoint
from scumble.session import Session
from scumble_engines.torch import TorchEngine
from scumble_export.pack import export_pack

pytestmark = pytest.mark.thorough
TINY = run_path(str(Path(__file__).parents[1] / "tiny_checkpoint.py"))
PROMPT = "a red cat on a sofa"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sd21")
    return TINY["write_checkpoint"](made, unet=TINY["SD21"], prediction_type="v_prediction")


@pytest.fixture(scope="module")
def session(folder: Path) -> Iterator[Session]:
    with TorchEngine(EngineSettings(device="cpu", threads=1)) as engine:
        yield Session(find_checkpoint(folder), engine)


@pytest.fixture(scope="module")
def unet(folder: Path) -> Any:
    return UNet2DConditionModel.from_pretrained(folder / "unet").eval()


def gap(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


@torch.inference_mode()
@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_a_picture_is_that_of_diffusers(folder: Path, session: Session, unet: Any, guidance: float):
    assert unet.config["use_linear_projection"]
    texts = [torch.from_numpy(session.embed(text).states) for text in ("", PROMPT)]
    scheduler: Any = DDIMScheduler.from_pretrained(folder / "scheduler")
    assert scheduler.config["prediction_type"] == "v_prediction"
    scheduler.set_timesteps(6)
    start = np.random.default_rng(3).standard_normal((1, 4, 16, 16)).astype(np.float32)
    latent = torch.from_numpy(start)
    for t in scheduler.timesteps:
        empty, told = unet(
            latent.expand(2, -1, -1, -1), t, encoder_hidden_states=torch.stack(texts)
        ).sample.chunk(2)
        latent = scheduler.step(empty + guidance * (told - empty), t, latent).prev_sample
    with Editor.load(folder, engine="torch", device="cpu", threads=1) as editor:
        found = editor.generate(PROMPT, seed=3, steps=6, guidance=guidance).latents[0]
    assert gap(found, latent[0]) < 1e-5 * max(1, float(latent.abs().max()))


def sharpened(unet: Any) -> None:
    """Scale queries and keys until their products exceed fp16, as some of SD2.1's do."""
    for path, module in unet.named_modules():
        if path.endswith(("to_q", "to_k")):
            module.weight.data *= 300


def test_scores_beyond_halves_are_read(folder: Path):
    with TorchEngine(EngineSettings("bf16", device="cpu", threads=1)) as engine:
        info = engine.load(find_checkpoint(folder))
        half: Any = engine.parts.unet
        sharpened(half)
        half.to(torch.float16)  # which the engine keeps for CUDA; its kernels are as exact
        rng = np.random.default_rng(4)
        weights = np.zeros((2, 1, info.tokens), np.float32)
        weights[:, 0, 2:5] = 1
        output = engine.step(
            {
                "sample": rng.standard_normal((2, 4, 16, 16)).astype(np.float32),
                "timestep": np.array([481, 481]),
                "text": rng.standard_normal((2, info.tokens, info.features)).astype(np.float32),
                "read.weights": weights,
                "read.sites": np.ones(info.sites.count("cross"), np.float32)
                * [site.stride == 1 for site in info.sites.of("cross")],
            }
        )
    assert np.isfinite(output.noise).all()
    assert np.isfinite(output.reads[1]).all()


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


@pytest.mark.slow
def test_a_pack_of_it_edits_as_torch_does(folder: Path, tmp_path: Path):
    pack = tmp_path / "pack"
    variants = ("plain", "routed", "reading", "recording", "replaying")
    made = export_pack(find_checkpoint(folder), pack, variants=variants)
    assert all(variant.parity <= 1e-5 for variant in made.variants.values())
    wanted, found = edits(folder, "torch"), edits(pack, "onnxruntime")
    scale = max(float(np.abs(latent).max()) for latent in wanted[0].latents.values())
    assert gap(wanted[0].latents[1], wanted[1].latents[1]) > 0.01 * scale
    for mine, theirs in zip(found, wanted, strict=True):
        assert mine.rows == theirs.rows
        for picture, latent in theirs.latents.items():
            assert gap(mine.latents[picture], latent) < 1e-3 * scale


@pytest.mark.slow
def test_a_graph_in_halves_keeps_its_scores_in_singles(folder: Path, tmp_path: Path):
    made = export_pack(
        find_checkpoint(folder), tmp_path / "pack", variants=("plain",), precision="fp16"
    )
    graph = onnx.shape_inference.infer_shapes(
        onnx.load(tmp_path / "pack" / made.variants["plain"].file)
    ).graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    attended = [node for node in graph.node if node.op_type == "Attention"]
    assert len(attended) == 8
    for node in attended:
        assert {kinds[name] for name in node.input[:3]} == {onnx.TensorProto.FLOAT}
