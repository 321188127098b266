# diffusers does not say what it exports.
# pyright: reportPrivateImportUsage=false

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scumble_bench.rooms import dataset, models, quality, train, world
from scumble_bench.rooms.autoencoder import encode_scenes
from scumble_bench.rooms.batches import Shelf
from scumble_bench.rooms.judge import Judge
from scumble_bench.rooms.progress import RunState
from scumble_bench.rooms.stages import Run
from scumble_bench.rooms.workspace import Options

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.thorough]


def options(folder: Path, **changes: Any) -> Options:
    settings: dict[str, Any] = {
        "out": folder / "checkpoint",
        "work": folder / "work",
        "minutes": 5,
        "scenes": 24,
        "steps": 1,
        "batch": 2,
        "workers": 1,
        "device": "cpu",
    }
    return Options(**(settings | changes))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    torch.set_num_threads(1)
    (folder / "checkpoint" / "pack").mkdir(parents=True)
    (folder / "checkpoint" / "pack" / "of-other-weights").touch()
    assert Run(options(folder))()
    return folder


@pytest.fixture(scope="module")
def pipeline(trained: Path) -> Any:
    # As a user loads it: no options.
    loaded = diffusers.StableDiffusionPipeline.from_pretrained(trained / "checkpoint")
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_an_unmodified_pipeline_loads_the_folder_and_draws(pipeline: Any):
    assert pipeline.safety_checker is None
    assert pipeline.unet.dtype == pipeline.vae.dtype == pipeline.text_encoder.dtype == torch.float32
    assert pipeline.tokenizer.model_max_length == 40
    assert pipeline.text_encoder.config.max_position_embeddings == 40
    assert pipeline.text_encoder.config.vocab_size == len(pipeline.tokenizer)
    assert pipeline.text_encoder.config.eos_token_id == pipeline.tokenizer.eos_token_id
    assert pipeline.scheduler.config.steps_offset == 1
    assert pipeline.scheduler.config.beta_schedule == "scaled_linear"
    made = pipeline("a red ball", num_inference_steps=1, output_type="np").images
    assert made.shape == (1, 128, 128, 3)
    assert np.isfinite(made).all()


def test_attention_sits_at_16_8_and_4_with_heads_of_16(pipeline: Any):
    sites = {
        name: module
        for name, module in pipeline.unet.named_modules()
        if name.endswith(("attn1", "attn2"))
    }
    assert len(sites) == 14
    for module in sites.values():
        assert module.to_q.out_features // module.heads == 16


def test_the_folder_is_small_half_precision_and_without_paths(trained: Path):
    folder = trained / "checkpoint"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 26e6
    for path in files:
        if path.suffix == ".safetensors":
            assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
        else:
            assert str(trained).encode() not in path.read_bytes()
    # What transformers 4 looks for; transformers 5 reads both.
    names = load_file(folder / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in names)


def test_the_card_tells_seed_steps_and_curves(trained: Path):
    card = json.loads((trained / "checkpoint" / "training.json").read_text())
    assert card["complete"] is True
    assert card["figures"]["diffusion"]["steps"] == 1
    assert set(card["curves"]) == {"vae", "diffusion", "judge"}
    text = (trained / "checkpoint" / "README.md").read_text()
    assert "Auxiliary attention loss" in text
    assert "not complete" not in text


def test_a_pack_of_other_weights_does_not_stay(trained: Path):
    assert not (trained / "checkpoint" / "pack").exists()
    assert (trained / "checkpoint" / "unet").is_dir()


def test_the_saved_judge_can_judge(trained: Path):
    judge = Judge.load(trained / "checkpoint" / "judge")
    assert len(judge(world.scene(0).image[None])) == 1


def test_latents_are_means_at_unit_scale(trained: Path, pipeline: Any):
    latents = np.load(trained / "work" / "latents.npy").astype(np.float32)
    assert latents.shape == (24, 4, 16, 16)
    scale = pipeline.vae.config.scaling_factor
    assert (latents * scale).std() == pytest.approx(1, abs=0.01)
    row = int(np.load(trained / "work" / "rows.npy")[3])
    image = torch.from_numpy(world.scene(row).image)[None].permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        posterior = pipeline.vae.encode(image).latent_dist
    assert float(posterior.std.max()) < 0.01
    assert np.abs(posterior.mean[0].numpy() - latents[3]).max() < 0.05


def test_encoding_stops_when_asked(trained: Path, tmp_path: Path):
    cache = dataset.SceneCache(trained / "work" / "scenes", 24)
    shelf = Shelf(cache, torch.device("cpu"), ("images", "labels"))
    shelf.refresh()
    assert encode_scenes(models.build_vae(), shelf, tmp_path, 8, stop=lambda: True) is None
    assert not list(tmp_path.iterdir())


def test_a_resumed_stage_goes_on_with_its_steps(tmp_path: Path):
    Run(options(tmp_path, stage="vae"))()
    first = torch.load(tmp_path / "work" / "vae.pt", weights_only=True)
    assert first["steps"] == 1
    Run(options(tmp_path, stage="vae", steps=3, resume=True))()
    second = torch.load(tmp_path / "work" / "vae.pt", weights_only=True)
    assert second["steps"] == 3
    assert {int(state["step"]) for state in second["optimisers"][0]["state"].values()} == {3}
    state = RunState.load(tmp_path / "work" / "state.json")
    assert state.calls == 1
    assert [point[0] for point in state.curves["vae"]] == [1, 3]


def test_the_unet_goes_on_with_replicas_and_more_scenes(trained: Path, tmp_path: Path):
    work, more = tmp_path / "work", tmp_path / "more"
    shutil.copytree(trained / "work", work)
    shutil.copytree(trained / "work", more)
    settings = options(
        tmp_path, stage="diffusion", steps=3, resume=True, replicas=1, further=[more]
    )
    threads = torch.get_num_threads()
    try:
        run = Run(settings)
        assert run()
    finally:
        torch.set_num_threads(threads)
    assert run.replicas is not None
    assert len(run.diffusion.losses.shelf) == 48  # pyright: ignore[reportFunctionMemberAccess]
    figures = RunState.load(work / "state.json").figures["diffusion"]
    assert (figures["steps"], figures["batch"]) == (3, 4)


def test_replicas_are_refused_on_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert train.main([*arguments, "--minutes", "1", "--replicas", "1", "--device", "cuda"]) == 2
    assert "for CPUs" in capsys.readouterr().err


def test_a_work_folder_in_use_needs_resume(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    arguments = ["--out", str(tmp_path), "--work", str(trained / "work"), "--minutes", "1"]
    assert train.main(arguments) == 2
    assert "--resume" in capsys.readouterr().err


def test_time_that_runs_out_is_told_by_the_exit_code(tmp_path: Path):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    arguments = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    try:
        assert train.main([*arguments, "--minutes", "0.0001", "--scenes", "4"]) == 3
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_a_cache_holds_what_the_world_draws(trained: Path):
    cache = dataset.SceneCache(trained / "work" / "scenes", 24)
    shelf = Shelf(cache, torch.device("cpu"), ("images", "labels"))
    assert shelf.refresh() == 1
    scene = world.scene(5)
    assert np.array_equal(shelf["images"][5].numpy(), scene.image)
    for index, item in enumerate(scene.items):
        assert np.array_equal(shelf["labels"][5].numpy() == index + 1, item.mask)
    assert set(shelf.draw(300).tolist()) == set(range(24))


def test_a_cache_of_other_scenes_is_refused(trained: Path):
    with pytest.raises(ValueError, match="other scenes"):
        dataset.SceneCache(trained / "work" / "scenes", 25)


def test_quality_misses_its_gates_on_an_untrained_checkpoint(trained: Path, tmp_path: Path):
    out = tmp_path / "quality.json"
    arguments = ["--checkpoint", str(trained / "checkpoint"), "--out", str(out)]
    assert quality.main([*arguments, "--prompts", "1", "--scenes", "2", "--device", "cpu"]) == 1
    report = json.loads(out.read_text())
    assert set(report["gates"]) == set(report["passed"]) <= set(report["figures"])
    assert report["passed"]["vae_psnr"] is False
    assert len(report["checkpoint_sha256"]) == 64
    assert str(trained) not in out.read_text()
