# diffusers does not say what it exports.
# pyright: reportPrivateImportUsage=false

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scumble_bench.rooms import dataset, models, warm_start
from scumble_bench.rooms.stages import Run
from scumble_bench.rooms.workspace import Options

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.thorough]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    dataset.ensure_tokenizer(folder / "tokens", scenes=300)
    size = dataset.load_backend(folder / "tokens").get_vocab_size()
    torch.manual_seed(1)
    networks = models.Networks(
        models.build_vae(), models.build_text_encoder(size), models.build_unet()
    )
    models.save_folder(folder / "checkpoint", networks, folder / "tokens")
    return folder / "checkpoint"


def test_a_run_goes_on_from_a_checkpoint(checkpoint: Path, tmp_path: Path):
    torch.set_num_threads(1)
    chosen = Options(
        out=tmp_path / "out", work=tmp_path / "work", minutes=5, scenes=8, steps=1, batch=2,
        workers=1, device="cpu", start=checkpoint, stage="diffusion",
    )  # fmt: skip
    run = Run(chosen)
    assert run.state.done == ["vae"]
    assert run.state.deviation == pytest.approx(1 / 0.18215)
    assert run()
    part = "vae/diffusion_pytorch_model.safetensors"
    before, after = load_file(checkpoint / part), load_file(tmp_path / "out" / part)
    assert all(torch.equal(before[name], after[name]) for name in before)
    part = "unet/diffusion_pytorch_model.safetensors"
    before, after = load_file(checkpoint / part), load_file(tmp_path / "out" / part)
    name = "up_blocks.1.resnets.0.conv1.weight"
    fresh = models.build_unet().state_dict()[name].half()
    # One step moves a weight by the learning rate at most; another start would differ by far more.
    assert 0 < (before[name] - after[name]).abs().max() < 0.01
    assert (before[name] - fresh).abs().max() > 0.02
    assert (tmp_path / "out/tokenizer/vocab.json").read_text() == (
        checkpoint / "tokenizer/vocab.json"
    ).read_text()


def test_without_a_start_nothing_is_loaded(tmp_path: Path):
    unet = models.build_unet()
    assert not warm_start.load_networks(tmp_path, models.build_text_encoder(600), unet)
