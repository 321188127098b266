"""Every port against attention written out: `Written` hooks a plain UNet with nothing of ours."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from scumble.ports import CONTROL_GROUPS, Group, neutral
from scumble_engines.torch import TorchEngine

Ports = dict[str, Any]
Engines = Callable[..., TorchEngine]
Plain = Callable[..., UNet2DConditionModel]
LATENTS = [(8, 8), (8, 12), (7, 9)]
NEUTRAL: tuple[Group, ...] = tuple(g for g in CONTROL_GROUPS if g != "replay")
SELF, CROSS, RESNETS = 7, 7, 8


def plain_noise(unet: UNet2DConditionModel, ports: Ports) -> np.ndarray:
    """The noise of a UNet that is called as diffusers' own pipeline calls it."""
    dtype = unet.dtype
    with torch.inference_mode():
        out = unet(
            torch.from_numpy(ports["sample"]).to(dtype),
            torch.from_numpy(ports["timestep"]),
            encoder_hidden_states=torch.from_numpy(ports["text"]).to(dtype),
        )
    return out.sample.double().numpy()


def farthest(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found.astype(np.float64) - wanted).max())


def in_half(ports: Ports) -> Ports:
    """The ports as fp32, whatever they are."""
    return {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in ports.items()}


def neutral_ports(engine: TorchEngine, ports: Ports, groups: Iterable[Group]) -> Ports:
    sizes = engine.info.sizes(ports["sample"].shape[-2:])
    rows = ports["sample"].shape[0]
    return in_half({n: v for g in groups for n, v in neutral(g, sizes, rows).items()})


def paths(engine: TorchEngine, kind: Any) -> list[str]:
    return [site.path for site in engine.info.sites.of(kind)]


def mix_ports(rows: int, source: Iterable[int], rng: np.random.Generator, **kind: Any) -> Ports:
    """A dense random mix at every second cross site, row 0 left alone."""
    tokens = 40
    gate = np.zeros((CROSS, rows))
    gate[::2, 1:] = 1
    ports = {
        "mix.source": rng.uniform(-0.1, 0.1, (rows, tokens, tokens)),
        "mix.own": rng.uniform(-1, 2, (rows, tokens)),
        "mix.row": np.array(list(source), dtype=np.int64),
        "mix.sites": gate,
    }
    return {n: v.astype(kind.get("dtype", v.dtype)) if "row" not in n else v
            for n, v in ports.items()}  # fmt: skip


class Edited:
    """Builds a reference that edits the maps of chosen sites before it uses them."""

    def __init__(self, written: type, change: Callable[..., Tensor]) -> None:
        class Changed(written):
            def __init__(self) -> None:
                self.before: dict[str, Tensor] = {}
                self.after: dict[str, Tensor] = {}

            def attend(self, path: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
                maps = self.probabilities(path, q, k)
                self.before[path] = maps
                maps = change(path, maps)
                self.after[path] = maps
                return maps @ v

        self.processor: Any = Changed()


def mixed(engine: TorchEngine, ports: Ports) -> Callable[..., Tensor]:
    """A = A_source S + A_own diag(d), where the gate is open."""
    order = paths(engine, "cross")
    matrix, own = (torch.from_numpy(ports[f"mix.{n}"]) for n in ("source", "own"))

    def change(path: str, maps: Tensor) -> Tensor:
        if path not in order:
            return maps
        out = maps.clone()
        for row in range(maps.shape[0]):
            if ports["mix.sites"][order.index(path), row]:
                theirs = maps[ports["mix.row"][row]]
                out[row] = theirs @ matrix[row].to(maps.dtype) + maps[row] * own[row].to(maps.dtype)
        return out

    return change


# Neutral


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_without_controls_the_unet_is_diffusers_own_bit_for_bit(
    engines: Engines, plain: Plain, base: Any, rows: int, latent: tuple[int, int]
):
    unet, ports = plain(), base(rows, latent)
    assert {type(p) for p in unet.attn_processors.values()} == {AttnProcessor2_0}
    found = engines("fp32").step(ports)
    assert np.array_equal(found.noise, plain_noise(unet, ports).astype(np.float32))
    assert found.bound == frozenset()
    assert not found.reads
    assert not found.recorded


@pytest.mark.parametrize("groups", [*[(g,) for g in NEUTRAL], NEUTRAL], ids="+".join)
@pytest.mark.parametrize("latent", LATENTS)
def test_neutral_ports_change_nothing(
    engines: Engines, plain: Plain, base: Any, groups: tuple[Group, ...], latent: tuple[int, int]
):
    engine, ports = engines("fp64"), base(3, latent, np.float64)
    found = engine.step({**ports, **neutral_ports(engine, ports, groups)})
    assert farthest(found.noise, plain_noise(plain(torch.float64), ports)) < 1e-13
    assert set(groups) <= found.bound


@pytest.mark.parametrize("latent", LATENTS)
def test_neutral_ports_change_no_more_than_rounding_in_fp32(
    engines: Engines, plain: Plain, base: Any, latent: tuple[int, int]
):
    """How much that is depends on the processor: 1e-6 with AVX-512, 2e-6 with AVX2."""
    engine, ports = engines("fp32"), base(3, latent)
    found = engine.step({**ports, **neutral_ports(engine, ports, NEUTRAL)})
    assert farthest(found.noise, plain_noise(plain(), ports)) < 1e-5


# Route


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("fp64", 1e-12)])
def test_route_takes_q_k_and_v_from_other_rows(
    engines: Engines, plain: Plain, base: Any, written: type, precision: Any, bound: float,
    latent: tuple[int, int],
):  # fmt: skip
    engine = engines(precision)
    ports = base(4, latent, engine.dtype)
    route = np.random.default_rng(5).integers(0, 4, (SELF, 3, 4))
    route[3] = np.arange(4)
    order = paths(engine, "self")

    class Routed(written):
        def attend(self, path: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if path in order:
                q, k, v = (
                    part[rows]
                    for part, rows in zip((q, k, v), route[order.index(path)], strict=True)
                )
            return super().attend(path, q, k, v)

    unet = plain(torch.float64 if precision == "fp64" else torch.float32)
    unmoved = plain_noise(unet, ports)
    Routed().on(unet)
    wanted = plain_noise(unet, ports)
    assert farthest(engine.step({**ports, "route": route}).noise, wanted) < bound
    assert farthest(unmoved, wanted) > 0.1


# Mix and read


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("fp64", 1e-12)])
def test_mix_is_an_edit_of_probabilities(
    engines: Engines, plain: Plain, base: Any, written: type, precision: Any, bound: float,
    latent: tuple[int, int],
):  # fmt: skip
    engine = engines(precision)
    ports = base(4, latent, engine.dtype)
    mix = mix_ports(4, (0, 0, 3, 2), np.random.default_rng(6), dtype=engine.dtype)
    unet = plain(torch.float64 if precision == "fp64" else torch.float32)
    unmoved = plain_noise(unet, ports)
    Edited(written, mixed(engine, mix)).processor.on(unet)
    wanted = plain_noise(unet, ports)
    assert farthest(engine.step({**ports, **mix}).noise, wanted) < bound
    assert farthest(unmoved[1:], wanted[1:]) > 0.1


@pytest.mark.parametrize("with_mix", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("latent", LATENTS)
def test_read_is_the_mean_of_maps_over_heads_and_sites(
    engines: Engines, plain: Plain, base: Any, written: type, with_mix: bool,
    latent: tuple[int, int],
):  # fmt: skip
    engine, ports = engines("fp32"), base(3, latent)
    rng = np.random.default_rng(8)
    mix = mix_ports(3, (0, 0, 0), rng, dtype=np.float32) if with_mix else {}
    sites = engine.info.sites.select("cross", places=("down", "up"), strides=(2,))
    weights = rng.standard_normal((3, 2, 40)).astype(np.float32)
    gate = np.zeros(CROSS, np.float32)
    gate[list(sites)] = 1
    found = engine.step({**ports, **mix, "read.weights": weights, "read.sites": gate})
    unet = plain()
    reference = Edited(written, mixed(engine, mix) if with_mix else lambda _, maps: maps)
    reference.processor.on(unet)
    wanted_noise = plain_noise(unet, ports)
    chosen = [paths(engine, "cross")[site] for site in sites]
    assert len(chosen) == 3
    maps = torch.stack([reference.processor.after[path] for path in chosen]).mean((0, 2))
    grid = (-(-latent[0] // 2), -(-latent[1] // 2))
    wanted = torch.einsum("rpt,rwt->rwp", maps, torch.from_numpy(weights)).unflatten(2, grid)
    assert set(found.reads) == {2}
    assert farthest(found.reads[2], wanted.numpy()) < 1e-5
    assert farthest(found.noise, wanted_noise) < 1e-5


def test_what_is_read_is_the_map_after_the_mix(
    engines: Engines, plain: Plain, base: Any, written: type
):
    """The stored-map-is-post-edit quirk of the published code, on which LocalBlend rests."""
    engine, ports = engines("fp32"), base(2)
    mix = mix_ports(2, (0, 0), np.random.default_rng(8), dtype=np.float32)
    gate = np.zeros(CROSS, np.float32)
    gate[0] = 1
    weights = np.zeros((2, 1, 40), np.float32)
    weights[:, 0, 3] = 1
    seen = engine.step({**ports, **mix, "read.weights": weights, "read.sites": gate}).reads[1]
    reference = Edited(written, mixed(engine, mix)).processor
    unet = plain()
    reference.on(unet)
    plain_noise(unet, ports)
    first = paths(engine, "cross")[0]
    before, after = (
        maps[first].mean(1)[..., 3].reshape(2, 8, 8).numpy()
        for maps in (reference.before, reference.after)
    )
    assert farthest(seen[:, 0], after) < 1e-6
    assert farthest(seen[1, 0], before[1]) > 1e-3


# Features


def test_feature_route_takes_rows_of_the_second_convolution(
    engines: Engines, plain: Plain, base: Any
):
    engine, ports = engines("fp32"), base(3)
    rows = np.random.default_rng(9).integers(0, 3, (RESNETS, 3))
    rows[2] = np.arange(3)
    unet = plain()
    unmoved = plain_noise(unet, ports)
    modules = dict(unet.named_modules())
    for path, index in zip(paths(engine, "resnet"), rows, strict=True):

        def take(_module: Any, _given: Any, out: Tensor, index: np.ndarray = index) -> Tensor:
            return out[torch.from_numpy(index)]

        modules[f"{path}.conv2"].register_forward_hook(take)
    wanted = plain_noise(unet, ports)
    assert farthest(engine.step({**ports, "feature_route": rows}).noise, wanted) < 1e-5
    assert farthest(unmoved, wanted) > 0.1


# Regions


def in_two_passes(order: list[str], query: np.ndarray, key: np.ndarray, written: type) -> Any:
    """MasaCtrl's masked attention (its section 3.2): foreground and background, then put together.

    Rows [source, target]: the target's keys and values are the source's.
    """

    class Masked(written):
        def attend(self, path: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = super().attend(path, q, k, v)
            if path not in order:
                return out
            height, width = query.shape
            stride = 1 if q.shape[2] == height * width else 2
            grid = (-(-height // stride), -(-width // stride))

            def at_site(mask: np.ndarray) -> Tensor:
                field = torch.from_numpy(mask).to(q.dtype)[None, None]
                return F.interpolate(field, grid, mode="nearest").flatten() > 0.5

            seen, wanted = at_site(key), at_site(query)
            logits = q[1] @ k[0].transpose(-1, -2) * q.shape[-1] ** -0.5
            least = torch.finfo(q.dtype).min
            inside = logits.masked_fill(~seen, least).softmax(-1) @ v[0]
            outside = logits.masked_fill(seen, least).softmax(-1) @ v[0]
            out[1] = torch.where(wanted[:, None], inside, outside)
            return out

    return Masked()


@pytest.mark.parametrize("latent", [(8, 8), (8, 12)])
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("fp64", 1e-11)])
def test_regions_are_two_masked_passes(
    engines: Engines, plain: Plain, base: Any, written: type, precision: Any, bound: float,
    latent: tuple[int, int],
):  # fmt: skip
    engine = engines(precision)
    ports = base(2, latent, engine.dtype)
    query, key = np.zeros(latent), np.zeros(latent)
    query[2:6, 1:5] = 1
    key[4:, 3:] = 1
    route = neutral("route", engine.info.sizes(latent), 2)["route"].copy()
    route[:, 1:, 1] = 0
    zero = np.zeros(latent)
    gate = np.zeros((SELF, 2))
    gate[:, 1] = 1
    regions = {
        "region.query": np.stack([zero, query]),
        "region.key": np.stack([zero, key]),
        "region.sites": gate,
    }
    given = {n: v.astype(engine.dtype) for n, v in regions.items()}
    found = engine.step({**ports, "route": route, **given})
    unet = plain(torch.float64 if precision == "fp64" else torch.float32)
    in_two_passes(paths(engine, "self"), query, key, written).on(unet)
    wanted = plain_noise(unet, ports)
    assert farthest(found.noise, wanted) < bound
    unmasked = engine.step({**ports, "route": route}).noise
    assert farthest(unmasked[1], wanted[1]) > 0.1
    # Sites that the gate leaves out attend as they would without masks.
    closed = {**given, "region.sites": np.zeros_like(given["region.sites"])}
    assert farthest(engine.step({**ports, "route": route, **closed}).noise, unmasked) < 1e-6


# Joined keys


def beside_the_first(order: list[str], query: np.ndarray | None, written: type) -> Any:
    """ProxMasaCtrl's joint form: row 1 sees the keys and values of row 0 beside its own.

    With a mask, its own keys keep to regions, and the others are seen from everywhere.
    """

    class Joint(written):
        def attend(self, path: str, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = super().attend(path, q, k, v)
            if path not in order:
                return out
            logits = q[1] @ torch.cat([k[1], k[0]], dim=-2).transpose(-1, -2)
            if query is not None:
                stride = 1 if q.shape[2] == query.size else 2
                mask = torch.from_numpy(query[::stride, ::stride].copy()).flatten()
                apart = mask[:, None] != mask[None, :]
                logits[:, :, : len(mask)].masked_fill_(apart, -torch.inf)
            probabilities = (logits * q.shape[-1] ** -0.5).softmax(-1)
            out[1] = probabilities @ torch.cat([v[1], v[0]], dim=-2)
            return out

    return Joint()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("latent", [(8, 8), (8, 12)])
def test_joined_keys_are_seen_beside_the_rows_own(
    engines: Engines, plain: Plain, base: Any, written: type, latent: tuple[int, int], masked: bool
):
    engine, ports = engines("fp64"), base(2, latent, np.float64)
    query = np.zeros(latent)
    query[:, :5] = 1
    gate = np.zeros((SELF, 2))
    gate[2:, 1] = 1
    join = {"join.row": np.array([0, 0]), "join.sites": gate}
    regions = {
        "region.query": np.stack([query, query]),
        "region.key": np.stack([query, query]),
        "region.sites": gate,
    }
    found = engine.step({**ports, **join, **(regions if masked else {})})
    unet = plain(torch.float64)
    beside_the_first(paths(engine, "self")[2:], query if masked else None, written).on(unet)
    assert farthest(found.noise, plain_noise(unet, ports)) < 1e-11
    shut = engine.step({**ports, **join, "join.sites": np.zeros_like(gate)})
    bare = engine.step(ports)
    assert farthest(shut.noise, bare.noise) < 1e-11
    assert farthest(found.noise[1], bare.noise[1]) > 0.01


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_of_one_value_masks_nothing(engines: Engines, base: Any, value: float):
    """The published two passes average all values here; one region of everything is no region."""
    engine, ports = engines("fp32"), base(2)
    everywhere = np.full((2, 8, 8), value, np.float32)
    regions = {
        "region.query": everywhere,
        "region.key": everywhere,
        "region.sites": np.ones((SELF, 2), np.float32),
    }
    found = engine.step({**ports, **regions})
    assert farthest(found.noise, engine.step(ports).noise) < 1e-5


# Record and replay


@pytest.mark.parametrize("latent", LATENTS)
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-5), ("fp64", 1e-10)])
def test_a_replayed_source_is_as_good_as_its_row(
    engines: Engines, base: Any, precision: Any, bound: float, latent: tuple[int, int]
):
    """Routed, mixed and read; row 0 is the source, and index 2 without it."""
    engine = engines(precision)
    dtype = engine.dtype
    ports = base(3, latent, dtype)
    rng = np.random.default_rng(11)
    route = neutral("route", engine.info.sizes(latent), 3)["route"].copy()
    route[2:, :2, 2] = 0
    route[4, 2, 1] = 0
    mix = mix_ports(3, (0, 1, 0), rng, dtype=dtype)
    mix["mix.sites"][:, 1] = 0
    gate = np.zeros(CROSS, dtype)
    gate[[1, 3, 4]] = 1
    weights = rng.standard_normal((3, 2, 40)).astype(dtype)
    read = {"read.weights": weights, "read.sites": gate}
    whole = engine.step({**ports, "route": route, **mix, **read})

    alone = {name: value[:1] for name, value in ports.items()}
    recorded = engine.step({**alone, "record.row": np.zeros(1, np.int64)}).recorded
    assert set(recorded) == {f"source.{p}" for k in ("self", "cross") for p in paths(engine, k)}

    def without(rows: np.ndarray) -> np.ndarray:
        return (np.asarray(rows) - 1) % 3

    replay = {
        **{name: value[1:] for name, value in ports.items()},
        **recorded,
        "source.text": ports["text"][:1],
        "route": without(route[:, :, 1:]),
        "mix.source": mix["mix.source"][1:],
        "mix.own": mix["mix.own"][1:],
        "mix.row": without(mix["mix.row"][1:]),
        "mix.sites": mix["mix.sites"][:, 1:],
        "read.weights": weights[[1, 2, 0]],
        "read.sites": gate,
    }
    found = engine.step(replay)
    assert found.noise.shape[0] == 2
    assert farthest(found.noise, whole.noise[1:]) < bound
    for stride, seen in whole.reads.items():
        assert farthest(found.reads[stride], seen[[1, 2, 0]]) < bound
    assert {"replay", "route", "mix", "read"} <= found.bound


@pytest.mark.parametrize("groups", [(), ("read",), ("route",), ("mix",)], ids=str)
def test_a_replayed_source_that_nothing_refers_to_changes_nothing(
    engines: Engines, base: Any, groups: tuple[Group, ...]
):
    engine, ports = engines("fp32"), base(2)
    recorded = engine.step({**ports, "record.row": np.ones(1, np.int64)}).recorded
    one = {name: value[:1] for name, value in ports.items()}
    sizes = engine.info.sizes((8, 8))
    extra = in_half({n: v for g in groups for n, v in neutral(g, sizes, 1, True).items()})
    found = engine.step({**one, **recorded, "source.text": ports["text"][1:], **extra})
    assert farthest(found.noise, engine.step(one).noise) < 1e-6


def test_recording_changes_nothing_and_names_the_row(engines: Engines, base: Any):
    engine, ports = engines("fp32"), base(3)
    two = engine.step({**ports, "record.row": np.full(1, 2, np.int64)})
    zero = engine.step({**ports, "record.row": np.zeros(1, np.int64)})
    assert np.array_equal(two.noise, engine.step(ports).noise)
    for name, handle in two.recorded.items():
        assert isinstance(handle, Tensor)
        assert handle.shape[0] == 1
        assert not torch.equal(handle, torch.as_tensor(zero.recorded[name]))


# Precision


def test_bf16_is_near_fp32_under_every_control(engines: Engines, base: Any):
    """Each control must move the noise by far more than half precision does."""
    rough, fine = engines("bf16"), engines("fp32")
    ports = base(2)
    mix = mix_ports(2, (0, 0), np.random.default_rng(12), dtype=np.float32)
    route = neutral("route", fine.info.sizes((8, 8)), 2)["route"].copy()
    route[:, 1:, 1] = 0
    half = np.zeros((2, 8, 8), np.float32)
    half[:, :, 4:] = 1
    gate = np.zeros(CROSS, np.float32)
    gate[0] = 1
    weights = np.zeros((2, 1, 40), np.float32)
    weights[:, 0, :4] = 1
    regions = {
        "region.query": half,
        "region.key": half,
        "region.sites": np.ones((SELF, 2), np.float32),
    }
    read = {"read.weights": weights, "read.sites": gate}
    for controls in ({}, {"route": route}, mix, regions, {"route": route, **mix, **regions}):
        given = {**ports, **controls, **read}
        found, wanted = rough.step(given), fine.step(given)
        assert found.noise.dtype == np.float32
        error = farthest(found.noise, wanted.noise)
        assert 0 < error < 0.05 * np.abs(wanted.noise).max(), sorted(controls)
        assert farthest(found.reads[1], wanted.reads[1]) < 0.02
