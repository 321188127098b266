"""What the torch engine refuses, what it notices, and that it leaves nothing behind."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from scumble.engine import EngineSettings, Mode
from scumble.errors import ControlError, EngineError, ModelError, OptionError, PortError
from scumble.models import find_checkpoint
from scumble.ports import CONTROL_GROUPS, Group, neutral
from scumble.recovery import Recovery
from scumble.sensitivity import require_effect
from scumble.session import Session
from scumble_engines.torch import TorchEngine, attention
from scumble_engines.torch.attention import PortProcessor
from scumble_engines.torch.controls import Controls
from scumble_engines.torch.fast import FastSteps
from scumble_engines.torch.kernels import heads, joined

Engines = Callable[..., TorchEngine]


def one_sentence(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert text.endswith(".")
    assert ". " not in text
    assert "\n" not in text
    return text


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    """The checkpoint, to be damaged."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    (path,) = folder.glob("*.safetensors")
    weights = dict(load_file(path))
    change(weights)
    save_file(weights, path, metadata={"format": "pt"})


# Loading


def test_the_model_is_described(engines: Engines):
    info = engines("fp32").info
    assert (info.channels, info.factor, info.tokens, info.features) == (4, 2, 40, 32)
    assert info.sites.native == (32, 32)


@pytest.mark.parametrize(
    ("part", "weight"),
    [
        ("unet", "mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"),
        ("unet", "conv_in.weight"),
        ("vae", "decoder.conv_in.bias"),
    ],
)
def test_missing_weights_are_refused_by_name(copy: Path, part: str, weight: str):
    edit_weights(copy / part, lambda weights: weights.pop(weight))
    with TorchEngine() as engine, pytest.raises(ModelError) as error:
        engine.load(find_checkpoint(copy))
    text = str(error.value)
    assert weight in text
    assert f"{part} lacks weights" in text


def test_missing_text_weights_are_refused(copy: Path):
    def forget(weights: dict[str, Tensor]) -> None:
        del weights[next(name for name in weights if name.endswith("k_proj.weight"))]

    edit_weights(copy / "text_encoder", forget)
    with TorchEngine() as engine, pytest.raises(ModelError, match="text_encoder lacks weights"):
        engine.load(find_checkpoint(copy))


def test_weights_of_another_shape_are_refused(copy: Path):
    def halve(weights: dict[str, Tensor]) -> None:
        weights["conv_in.weight"] = weights["conv_in.weight"][:16].clone()

    edit_weights(copy / "unet", halve)
    with TorchEngine() as engine, pytest.raises(ModelError, match="its unet cannot be loaded"):
        engine.load(find_checkpoint(copy))


def test_a_truncated_file_is_refused(copy: Path):
    (path,) = (copy / "unet").glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:1000])
    with TorchEngine() as engine, pytest.raises(ModelError, match="its unet cannot be loaded"):
        engine.load(find_checkpoint(copy))


def test_another_architecture_in_the_folder_is_refused(copy: Path):
    path = copy / "unet" / "config.json"
    config = json.loads(path.read_text())
    config["down_block_types"] = ["CrossAttnDownBlock2D", "NoSuchBlock2D"]
    path.write_text(json.dumps(config))
    with TorchEngine() as engine, pytest.raises(ModelError, match="its unet cannot be loaded"):
        engine.load(find_checkpoint(copy))


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path):
    with pytest.raises(ModelError) as error:
        find_checkpoint(tmp_path)
    assert "model_index.json" in one_sentence(error)


def test_pickled_weights_are_refused(copy: Path):
    (path,) = (copy / "unet").glob("*.safetensors")
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(ModelError, match="pickle"):
        find_checkpoint(copy)


def test_fp16_on_a_cpu_is_refused(checkpoint: Path):
    with (
        TorchEngine(EngineSettings("fp16", "cpu")) as engine,
        pytest.raises(EngineError) as error,
    ):
        engine.load(find_checkpoint(checkpoint))
    assert "bf16 or fp32" in one_sentence(error)


def test_cuda_without_a_gpu_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with (
        TorchEngine(EngineSettings(device="cuda")) as engine,
        pytest.raises(EngineError) as error,
    ):
        engine.load(find_checkpoint(checkpoint))
    assert "use device 'cpu'" in one_sentence(error)


def test_auto_takes_the_cpu_where_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert TorchEngine().device == torch.device("cpu")
    assert TorchEngine().provenance["device"] == "cpu"


def test_threads_are_set_when_a_model_is_loaded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    with TorchEngine(EngineSettings(device="cpu", threads=3)) as engine:
        assert not asked
        engine.load(find_checkpoint(checkpoint))
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        engine.load(find_checkpoint(checkpoint))
    assert asked == [3]
    with pytest.raises(OptionError):
        EngineSettings(threads=0)


# Life


def test_steps_need_a_model(base: Any):
    engine = TorchEngine(EngineSettings(device="cpu"))
    for call in (lambda: engine.step(base(1)), lambda: engine.encode_text(np.zeros((1, 40), int))):
        with pytest.raises(EngineError, match="call load first"):
            call()
    engine.close()


def test_closed_engines_do_nothing(engine: TorchEngine, base: Any):
    engine.step(base(1))
    engine.close()
    engine.close()
    pixels = np.zeros((1, 3, 16, 16), np.float32)
    for call in (
        lambda: engine.step(base(1)),
        lambda: engine.encode_text(np.zeros((1, 40), int)),
        lambda: engine.encode_image(pixels),
        lambda: engine.decode(np.zeros((1, 4, 8, 8), np.float32)),
    ):
        with pytest.raises(EngineError, match="call load first"):
            call()


def test_leaving_the_block_closes(checkpoint: Path, base: Any):
    with TorchEngine(EngineSettings(device="cpu")) as engine:
        engine.load(find_checkpoint(checkpoint))
        engine.step(base(1))
    with pytest.raises(EngineError):
        engine.step(base(1))


def test_a_step_leaves_nothing_behind(engines: Engines, base: Any):
    """Plain, edited, failed: the plain step after each is the one before, bit for bit."""
    engine, ports = engines("fp32"), base(2)
    first = engine.step(ports)
    route = neutral("route", engine.info.sizes((8, 8)), 2)["route"].copy()
    route[:, :, 1] = 0
    moved = engine.step({**ports, "route": route})
    assert not np.array_equal(moved.noise, first.noise)
    with pytest.raises(PortError):
        engine.step({**ports, "route": route[:3]})
    recorded = engine.step({**ports, "record.row": np.zeros(1, np.int64)}).recorded
    some = dict(list(recorded.items())[1:])
    with pytest.raises(ControlError):
        engine.step({**ports, **some, "source.text": ports["text"][:1]})
    assert engine._bus.controls == attention.Controls()
    again = engine.step(ports)
    assert np.array_equal(again.noise, first.noise)
    assert again.bound == frozenset()
    assert not again.recorded


def test_inputs_are_not_written_to(engines: Engines, base: Any):
    ports = base(2)
    for array in ports.values():
        array.setflags(write=False)
    before = {name: array.copy() for name, array in ports.items()}
    engines("fp32").step(ports)
    assert all(np.array_equal(ports[name], before[name]) for name in ports)


# Ports


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rout", np.zeros((7, 3, 2), np.int64)),
        ("source.mid_block", np.zeros((1, 4, 64))),
        ("route", np.zeros((7, 3, 2))),
        ("route", np.zeros((7, 3, 3), np.int64)),
        ("route", np.full((7, 3, 2), 2, np.int64)),
        ("route", np.full((7, 3, 2), -1, np.int64)),
        ("feature_route", np.full((8, 2), 2, np.int64)),
        ("record.row", np.full(1, 2, np.int64)),
        ("mix.own", np.zeros((2, 40))),
        ("text", np.zeros((2, 41, 32))),
        ("sample", np.zeros((4, 8, 8))),
        ("timestep", [1, 2]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_undeclared_ports_are_refused_by_name(engines: Engines, base: Any, name: str, value: Any):
    with pytest.raises(PortError) as error:
        engines("fp32").step({**base(2), name: value})
    text = str(error.value)
    assert name in text or "'mix." in text


# Silent no-ops


def test_replaced_processors_are_noticed(engine: TorchEngine, base: Any):
    engine.step(base(2))
    unet = cast("UNet2DConditionModel", engine._unet)
    unet.set_attn_processor(AttnProcessor2_0())
    with pytest.raises(ControlError) as error:
        engine.step(base(2))
    assert "load the model anew" in one_sentence(error)


def test_one_replaced_processor_is_noticed(engine: TorchEngine, base: Any):
    unet = cast("UNet2DConditionModel", engine._unet)
    last = [module for module in unet.modules() if isinstance(module, Attention)][-1]
    cast("Any", last).set_processor(AttnProcessor2_0())
    with pytest.raises(ControlError, match="13 of 14"):
        engine.step(base(2))


def test_a_site_that_skips_its_control_is_noticed(
    engines: Engines, base: Any, monkeypatch: pytest.MonkeyPatch
):
    original = PortProcessor._self

    def skip(self: PortProcessor, *given: Any) -> Tensor:
        controls = given[-1]
        if self.site.index != 3:
            return original(self, *given)
        route, controls.route = controls.route, None
        try:
            return original(self, *given)
        finally:
            controls.route = route

    monkeypatch.setattr(PortProcessor, "_self", skip)
    engine = engines("fp32")
    engine.step(base(2))
    with pytest.raises(ControlError, match="route"):
        engine.step({**base(2), **neutral("route", engine.info.sizes((8, 8)), 2)})


def test_source_state_of_some_sites_only_is_noticed(engines: Engines, base: Any):
    engine, ports = engines("fp32"), base(2)
    recorded = engine.step({**ports, "record.row": np.zeros(1, np.int64)}).recorded
    some = dict(list(recorded.items())[:-1])
    with pytest.raises(ControlError, match="replay"):
        engine.step({**ports, **some, "source.text": ports["text"][:1]})


def own_rows(self: PortProcessor, *given: Any) -> Tensor:
    """Self-attention that says it routed, and did not."""
    attn, hidden, controls = given
    for name in ("route", "region"):
        controls.visited.append((name, self.site.path))
    pool = self._with_source(hidden, controls)
    q, k, v = (
        heads(attn, module(pool))[: hidden.shape[0]] for module in (attn.to_q, attn.to_k, attn.to_v)
    )
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def no_mix(self: PortProcessor, controls: Controls) -> Any:
    rows = controls.mix_source.shape[0] if controls.mix_source is not None else 0
    if not rows:
        return None
    assert controls.mix_source is not None
    assert controls.mix_own is not None
    own = torch.ones_like(controls.mix_own)
    return torch.zeros_like(controls.mix_source), own, controls.mix_row


def flat(q: Tensor, k: Tensor, weights: Tensor) -> Tensor:
    """A read that is the same everywhere."""
    return weights.mean(1, keepdim=True).expand(-1, q.shape[2], -1)


def never_joined(own: Any, also: Any, gate: Tensor, penalties: Any) -> Any:
    return joined(own, also, 0 * gate, penalties)


BROKEN: dict[Group, Any] = {
    "route": (PortProcessor, "_self", own_rows),
    "region": (PortProcessor, "_self", own_rows),
    "replay": (PortProcessor, "_self", own_rows),
    "record": (PortProcessor, "_self", own_rows),
    "mix": (PortProcessor, "_mix", no_mix),
    "join": (attention, "joined", never_joined),
    "read": (attention, "look", flat),
    "feature": (Tensor, "index_select", lambda tensor, _axis, _index: tensor),
}


@pytest.mark.parametrize("group", CONTROL_GROUPS)
def test_the_probe_passes_what_works_and_catches_what_does_not(
    checkpoint: Path, group: Group, monkeypatch: pytest.MonkeyPatch
):
    session = Session(find_checkpoint(checkpoint), TorchEngine(EngineSettings(device="cpu")))
    require_effect(session, group)
    monkeypatch.setattr(*BROKEN[group])
    with pytest.raises(ControlError, match=f"the {group} ports .* have no effect"):
        require_effect(session, group)


# Text and pictures


def test_text_and_pictures_are_encoded_as_the_model_does(
    engines: Engines, checkpoint: Path, base: Any
):
    engine = engines("fp32")
    ids = np.array([[5, 6, 7] + [1] * 37, [9] * 40])
    encoder = CLIPTextModel.from_pretrained(checkpoint / "text_encoder").eval()
    vae = cast("Any", AutoencoderKL.from_pretrained(checkpoint / "vae")).eval()
    pixels = np.random.default_rng(1).uniform(-1, 1, (1, 3, 16, 24)).astype(np.float32)
    with torch.no_grad():
        text = encoder(torch.from_numpy(ids))[0].numpy()
        mean = vae.encode(torch.from_numpy(pixels)).latent_dist.mean.numpy()
    assert np.allclose(engine.encode_text(ids).states, text, atol=1e-6)
    latent = engine.encode_image(pixels)
    assert latent.shape == (1, 4, 8, 12)
    assert np.allclose(latent, mean * 0.18215, atol=1e-6)
    with torch.no_grad():
        back = vae.decode(torch.from_numpy(latent / 0.18215)).sample.numpy()
    assert np.allclose(engine.decode(latent), back, atol=1e-5)


def test_pictures_and_text_keep_fp32_where_the_unet_is_half(engines: Engines):
    rough, fine = engines("bf16"), engines("fp32")
    ids = np.full((1, 40), 5)
    assert np.array_equal(rough.encode_text(ids).states, fine.encode_text(ids).states)
    assert cast("nn.Module", rough._vae).dtype == torch.float32
    assert cast("nn.Module", rough._unet).dtype == torch.bfloat16
    assert engines("fp64").encode_text(ids).states.dtype == np.float64


def test_what_ran_is_told(engines: Engines):
    told = engines("fp64").provenance
    assert told["precision"] == "fp64"
    assert told["device"] == "cpu"
    assert told["torch"] == torch.__version__
    assert set(told) == {"engine", "torch", "diffusers", "device", "precision", "mode", "threads"}


# A higher precision


def test_only_half_precision_has_a_higher_one(engines: Engines):
    for precision, has in (("fp32", False), ("fp64", False), ("bf16", True)):
        assert (engines(cast("Any", precision)).widened() is not None) == has


def wide_step(engine: TorchEngine, ports: Any) -> Any:
    wider = engine.widened()
    assert wider is not None
    with wider as precision:
        assert precision == "fp32"
        return engine.step(ports)


@pytest.mark.parametrize("mode", ["eager", "compile"])
def test_a_wide_step_is_the_fp32_step_of_the_same_weights(
    checkpoint: Path, base: Any, mode: Mode, engine: TorchEngine
):
    """And leaves the weights, and the steps after it, as they were."""
    sizes = engine.info.sizes((8, 8))
    ports = {**base(2), **neutral("route", sizes, 2), "record.row": np.zeros(1, np.int64)}
    ports["route"][:, :, 1] = 0
    fine = cast("nn.Module", engine._unet)
    fine.load_state_dict({n: w.bfloat16().float() for n, w in fine.state_dict().items()})
    wanted = engine.step(ports)
    with TorchEngine(EngineSettings("bf16", "cpu", mode=mode)) as rough:
        rough.load(find_checkpoint(checkpoint))
        if mode == "compile":
            rough._fast = FastSteps(mode, lambda module, _inputs: module)
        before = rough.step(ports)
        addresses = [w.data_ptr() for w in rough.parts.unet.parameters()]
        found = wide_step(rough, ports)
        assert np.abs(found.noise - wanted.noise).max() < 1e-5
        assert np.abs(before.noise - wanted.noise).max() > 1e-3
        assert found.bound == {"route", "record"}
        # Recorded state is kept in the UNet's own precision, whatever it was computed in.
        for name, handle in wanted.recorded.items():
            mine = cast("Tensor", found.recorded[name])
            assert mine.dtype == torch.bfloat16
            assert torch.allclose(mine.float(), cast("Tensor", handle), rtol=2**-8, atol=1e-4)
        assert [w.data_ptr() for w in rough.parts.unet.parameters()] == addresses
        assert np.array_equal(rough.step(ports).noise, before.noise)


def test_a_wide_step_replays_what_was_recorded_in_half(engines: Engines, base: Any):
    rough, fine = engines("bf16"), engines("fp32")
    ports = base(2)
    recorded = rough.step({**ports, "record.row": np.ones(1, np.int64)}).recorded
    one = {name: value[:1] for name, value in ports.items()}
    route = np.ones((7, 3, 1), np.int64)
    replay = {**one, **recorded, "source.text": ports["text"][1:], "route": route}
    exact = {n: v.float() if isinstance(v, Tensor) else v for n, v in replay.items()}
    found, wanted = wide_step(rough, replay).noise, fine.step(exact).noise
    assert np.abs(found - wanted).max() < 0.02 * np.abs(wanted).max()
    assert np.abs(rough.step(one).noise - wanted).max() > 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("where", ["noise", "reads", "recorded"])
def test_a_step_that_overflows_is_repeated_in_fp32(checkpoint: Path, base: Any, where: str):
    """A layer gives Inf where the UNet is half, as some do in fp16; the host has the step anew."""
    with TorchEngine(EngineSettings("bf16", "cpu")) as engine:
        engine.load(find_checkpoint(checkpoint))
        sites = engine.info.sites
        read, weights = np.zeros(7, np.float32), np.ones((2, 1, 40), np.float32)
        read[-1] = 1
        ports = {
            **base(2), "record.row": np.zeros(1, np.int64), "read.sites": read,
            "read.weights": weights,
        }  # fmt: skip
        wanted = wide_step(engine, ports)
        paths = {"noise": "conv_out", "reads": f"{sites.of('cross')[-1].path}.to_k",
                 "recorded": sites.of("self")[0].path.removesuffix("attn1") + "norm1"}  # fmt: skip

        def overflow(_module: object, _given: object, output: Tensor) -> Tensor:
            return output * np.inf if output.dtype == torch.bfloat16 else output

        engine.parts.unet.get_submodule(paths[where]).register_forward_hook(overflow)
        assert not np.isfinite(engine.step(ports).noise).all()
        recovery = Recovery(engine)
        found = recovery.step(ports, "step 4")
        assert np.array_equal(found.noise, wanted.noise)
        assert np.array_equal(found.reads[1], wanted.reads[1])
        assert engine.all_finite(found.recorded.values())
        assert recovery.notes[0].startswith("bf16 gave NaN or Inf at step 4;")


def test_recorded_state_is_looked_at_on_the_device(engines: Engines):
    engine = engines("fp32")
    good, bad = torch.ones(1, 4, 8), torch.full((1, 2, 4), torch.inf)
    assert engine.all_finite([good, good[:, :2]])
    assert not engine.all_finite([good, bad])
    assert not engine.all_finite([good * torch.nan])
    assert engine.all_finite([])
