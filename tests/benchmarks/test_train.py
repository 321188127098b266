import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("default")

from rich.console import Console  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from scumble_bench.rooms import dataset, models, quality, train, world  # noqa: E402
from scumble_bench.rooms.attention import Denoiser, token_weights, word_loss  # noqa: E402
from scumble_bench.rooms.autoencoder import encode_scenes, psnr  # noqa: E402
from scumble_bench.rooms.batches import Shelf, thing_masks  # noqa: E402
from scumble_bench.rooms.diffusion import (  # noqa: E402
    DiffusionLosses,
    LatentShelf,
    TextToNoise,
)
from scumble_bench.rooms.progress import Clock, RunState, thin  # noqa: E402
from scumble_bench.rooms.stages import Run  # noqa: E402
from scumble_bench.rooms.stepper import Stepper, cosine_rate  # noqa: E402
from scumble_bench.rooms.workspace import Options  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    assert len(sites) == 22
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
            assert str(trained) not in path.read_text(encoding="utf-8")
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
    assert {int(state["step"]) for state in second["optimiser"]["state"].values()} == {3}
    state = RunState.load(tmp_path / "work" / "state.json")
    assert state.calls == 1
    assert [point[0] for point in state.curves["vae"]] == [1, 3]


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


def test_sigterm_leaves_no_time(tmp_path: Path):
    clock = Clock(RunState(600, 0, 1), minutes=10)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        clock.catch_signals()
        assert clock.call_left() > 500
        os.kill(os.getpid(), signal.SIGTERM)
        assert clock.call_left() == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_the_denoiser_gives_the_unets_noise_and_maps_that_sum_to_one():
    torch.manual_seed(0)
    unet = models.build_unet().eval()
    sample, text = torch.randn(2, 4, 16, 16), torch.randn(2, 40, 128)
    times = torch.tensor([10, 700])
    with torch.no_grad():
        plain = unet(sample, times, text).sample
        noise, maps = Denoiser(unet)(sample, times, text)
    assert float((noise - plain).abs().max()) < 1e-5
    assert maps.shape == (2, 256, 40)
    assert float((maps.sum(-1) - 1).abs().max()) < 1e-5


def test_text_is_encoded_as_the_model_itself_does():
    torch.manual_seed(0)
    encoder = models.build_text_encoder(600).eval()
    tokens = torch.randint(0, 600, (2, 40))
    with torch.no_grad():
        gap = models.encode_text(encoder, tokens) - encoder(tokens)[0]
    assert float(gap.abs().max()) < 1e-5


def test_word_loss_is_low_inside_and_high_outside():
    masks = torch.zeros(1, 2, 16)
    masks[0, 0, :4] = 1
    spans = torch.full((1, 2, 2, 2), -1)
    spans[0, 0, 0] = torch.tensor([3, 5])
    weights = torch.ones(1)
    inside = torch.zeros(1, 16, 8)
    inside[0, :4, 3:5] = 0.5
    outside = torch.zeros(1, 16, 8)
    outside[0, 4:, 3:5] = 0.5
    even = torch.full((1, 16, 8), 1 / 8)
    assert float(word_loss(inside, spans, masks, weights)) == pytest.approx(0, abs=1e-4)
    assert float(word_loss(even, spans, masks, weights)) == pytest.approx(np.log(4), abs=1e-3)
    assert float(word_loss(outside, spans, masks, weights)) > 5
    silent = torch.full_like(spans, -1)
    assert float(word_loss(outside, silent, masks, weights)) == 0


def test_token_weights_average_over_a_span():
    weights = token_weights(torch.tensor([[2, 4], [-1, -1]]), 5)
    assert weights.tolist() == [[0, 0, 0.5, 0.5, 0], [0, 0, 0, 0, 0]]


def test_thing_masks_average_the_area_of_each_thing():
    labels = torch.zeros(1, 128, 128, dtype=torch.uint8)
    labels[:, :8, :4] = 2
    masks = thing_masks(labels, 3, 16)
    assert masks.shape == (1, 3, 16, 16)
    assert float(masks[0, 1, 0, 0]) == 0.5
    assert float(masks.sum()) == 0.5


def test_a_twelfth_or_so_of_captions_is_empty_and_names_nothing():
    torch.manual_seed(0)
    shelf = LatentShelf.random(4, torch.device("cpu"))
    shelf.words[...] = 1
    shelf.tokens[...] = 7
    module = TextToNoise(models.build_text_encoder(10), models.build_unet())
    _, tokens, spans, _ = DiffusionLosses(module, shelf, 4000, [8, 9]).draw()
    empty = tokens[:, 0] == 8
    assert 0.08 < float(empty.float().mean()) < 0.12
    assert (tokens[empty][:, 1:] == 9).all()
    assert (spans[empty] == -1).all()
    assert (spans[~empty] == 1).all()


def test_the_stepper_minimises_and_averages():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 1.0)
    stepper = Stepper(
        module, lambda: module.weight.square().sum()[None], ("loss",), 1, Console(), decay=0.5
    )
    averages = [1.0]
    for _ in range(5):
        stepper.step(0.1)
        rate = 1 - min(0.5, stepper.steps / (9 + stepper.steps))
        averages.append(averages[-1] + rate * (module.weight.item() - averages[-1]))
    assert module.weight.item() < 0.6
    assert stepper.averaged().weight.item() == pytest.approx(averages[-1], abs=1e-6)
    assert stepper.means()["loss"] < 1
    assert stepper.means()["loss"] == 0


def test_a_loaded_stepper_goes_on_as_if_it_had_never_stopped(tmp_path: Path):
    def stepper() -> tuple[Any, Stepper]:
        module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(module.weight, 1.0)

        def losses() -> Any:
            return 0.1 * module.weight.square().sum()[None]  # too small to be clipped

        return module, Stepper(module, losses, ("loss",), 1, Console())

    straight, one = stepper()
    for rate in (0.1, 0.3, 0.2):
        one.step(rate)
    _, first = stepper()
    first.step(0.1)
    first.step(0.3)
    first.save(tmp_path / "state.pt", seconds=7.0)
    resumed, second = stepper()
    assert second.load(tmp_path / "state.pt")["seconds"] == 7
    assert second.steps == 2
    second.step(0.2)
    assert resumed.weight.item() == straight.weight.item()
    assert second.averaged().weight.item() == one.averaged().weight.item()


@pytest.mark.gpu
def test_a_graph_takes_the_same_steps_as_plain_calls():
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    found: list[float] = []
    for graph in (False, True):
        module = torch.nn.Linear(1, 1, bias=False).cuda()
        torch.nn.init.constant_(module.weight, 1.0)
        stepper = Stepper(
            module,
            lambda own=module: own.weight.square().sum()[None],
            ("loss",),
            1,
            Console(),
            graph=graph,
        )
        while stepper.steps < 8:
            stepper.step(0.1)
        found.append(module.weight.item())
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_rates_rise_then_fall_with_the_time():
    assert cosine_rate(0, 0, 1.0, 10) == pytest.approx(0.1)
    assert cosine_rate(0, 10, 1.0, 10) == 1
    assert cosine_rate(0.5, 99, 1.0, 10) == pytest.approx(0.51)
    assert cosine_rate(1, 99, 1.0, 10) == pytest.approx(0.02)


def test_a_curve_is_thinned_but_keeps_its_ends():
    curve = [[float(n)] for n in range(101)]
    thin(curve)
    assert len(curve) == 51
    assert curve[0] == [0]
    assert curve[-1] == [100]


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


def test_a_failing_renderer_is_an_error(tmp_path: Path):
    cache = dataset.SceneCache(tmp_path / "scenes", 4)
    renderer = dataset.Renderer(cache, tmp_path / "no tokenizer", 1)
    for process in renderer.processes:
        process.join()
    with pytest.raises(RuntimeError, match="rendering process"):
        renderer.running()


def test_psnr_of_a_known_error():
    class Shifts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def encode(self, pictures: Any) -> Any:
            return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: pictures))

        def decode(self, latents: Any) -> Any:
            return SimpleNamespace(sample=latents + 0.2)

    images = torch.full((2, 8, 8, 3), 100, dtype=torch.uint8)
    assert psnr(Shifts(), images) == pytest.approx(20, abs=1e-3)


def test_quality_misses_its_gates_on_an_untrained_checkpoint(trained: Path, tmp_path: Path):
    out = tmp_path / "quality.json"
    arguments = ["--checkpoint", str(trained / "checkpoint"), "--out", str(out)]
    assert quality.main([*arguments, "--prompts", "1", "--scenes", "2", "--device", "cpu"]) == 1
    report = json.loads(out.read_text())
    assert set(report["gates"]) == set(report["passed"]) <= set(report["figures"])
    assert report["passed"]["vae_psnr"] is False
    assert len(report["checkpoint_sha256"]) == 64
    assert str(trained) not in out.read_text()
