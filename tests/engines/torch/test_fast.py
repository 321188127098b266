"""Compiled and captured steps are the plain step, or an error."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn

from scumble.engine import EngineSettings, Mode, Precision
from scumble.errors import ControlError, EngineError, OutOfMemoryError
from scumble.models import find_checkpoint
from scumble.ports import CONTROL_GROUPS, INPUTS, Group, neutral
from scumble_engines.torch import TorchEngine, fast
from scumble_engines.torch.fast import FastSteps

Ports = dict[str, Any]
LATENT = (8, 8)
SOME: list[tuple[Group, ...]] = [(), ("route", "mix", "read")]
GROUPS = [CONTROL_GROUPS, *(pytest.param(groups, marks=pytest.mark.slow) for groups in SOME)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile by running the traced graph: all of ours, and nothing of the compiler."""
    monkeypatch.setattr(fast, "BACKEND", "eager")


def loaded(folder: Path, mode: Mode, precision: Precision = "fp32") -> TorchEngine:
    engine = TorchEngine(EngineSettings(precision, "cpu", mode=mode))
    engine.load(find_checkpoint(folder))
    return engine


@pytest.fixture(scope="module")
def plain(small: Path) -> Iterator[TorchEngine]:
    """The reference; not to be changed."""
    with loaded(small, "eager") as engine:
        yield engine


@pytest.fixture
def engine(small: Path, quick: None) -> Iterator[TorchEngine]:
    with loaded(small, "compile") as engine:
        yield engine


@pytest.fixture
def uncompiled(engine: TorchEngine) -> TorchEngine:
    """An engine whose forms are the plain step: for what forms are made, and when."""
    engine._fast = FastSteps("compile", lambda module, _inputs: module)
    return engine


def forms(engine: TorchEngine) -> int:
    assert engine._fast is not None
    return len(engine._fast)


def step_ports(
    engine: TorchEngine, groups: tuple[Group, ...], seed: int = 0, rows: int = 3
) -> Ports:
    """Every port of the groups away from its neutral value."""
    rng = np.random.default_rng(seed)
    sizes = engine.info.sizes(LATENT)
    replayed = "replay" in groups

    def randoms(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    ports: Ports = {
        "sample": randoms(rows, 4, *LATENT),
        "timestep": rng.integers(0, 1000, rows),
        "text": randoms(rows, sizes.tokens, sizes.features),
    }
    for group in groups:
        if group != "replay":
            ports |= neutral(group, sizes, rows, replayed)
    for name in ports.keys() & {"route", "mix.row"}:
        ports[name] = rng.integers(0, rows + replayed, ports[name].shape)
    for name in ports.keys() & {"feature_route", "record.row"}:
        ports[name] = rng.integers(0, rows, ports[name].shape)
    for name in ports.keys() & {"mix.source", "mix.own", "mix.sites"}:
        ports[name] = rng.random(ports[name].shape)
    for name in ports.keys() & {"region.query", "region.key", "region.sites"}:
        ports[name] = rng.integers(0, 2, ports[name].shape).astype(float)
    if "read" in groups:
        ports["read.weights"] = rng.random((rows + replayed, 2, sizes.tokens))
        ports["read.sites"][[2, seed % 2 * 3]] = 1  # both of one stride
    if replayed:
        ports["source.text"] = randoms(1, sizes.tokens, sizes.features)
        for site in engine.info.sites:
            if site.kind != "resnet":
                grid = site.grid(LATENT)
                state = torch.from_numpy(randoms(1, grid[0] * grid[1], site.channels))
                ports[f"source.{site.path}"] = state
    return {
        n: v.astype(np.float32) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
        for n, v in ports.items()
    }


def require_same(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    def near(mine: Any, theirs: Any) -> None:
        mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
        assert mine.shape == theirs.shape
        assert np.abs(mine - theirs).max() <= tolerance * np.abs(theirs).max()

    near(found.noise, wanted.noise)
    assert found.bound == wanted.bound
    for kind in ("reads", "recorded"):
        mine, theirs = getattr(found, kind), getattr(wanted, kind)
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            near(mine[name], value)


# Compiled


@pytest.mark.thorough
@pytest.mark.parametrize("groups", GROUPS, ids=lambda groups: "+".join(groups) or "plain")
def test_a_traced_step_is_the_step(
    engine: TorchEngine, plain: TorchEngine, groups: tuple[Group, ...]
):
    for seed in range(2):
        ports = step_ports(plain, groups, seed)
        require_same(engine.step(ports), plain.step(ports))
    assert forms(engine) == 1
    # What is compiled takes its ports anew each time, and is never the plain step again.
    engine.parts.unet.register_forward_pre_hook(lambda *_: pytest.fail("ran as it is"))
    for seed in range(2, 5):
        ports = step_ports(plain, groups, seed)
        found = engine.step(ports)
        require_same(found, plain.step(ports))
        assert set(groups) <= found.bound


@pytest.mark.slow
@pytest.mark.skipif(" " in torch.__file__, reason="inductor links from no path with a space")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("precision", "groups", "tolerance"),
    [("fp32", CONTROL_GROUPS, 1e-5), ("bf16", ("route", "mix", "read"), 0.05)],
)
def test_compiling_changes_nothing(
    small: Path, precision: Precision, groups: tuple[Group, ...], tolerance: float
):
    """With inductor; in bf16 it rounds at other places than torch does."""
    with loaded(small, "compile", precision) as engine, loaded(small, "eager", precision) as plain:
        for seed in range(4):
            ports = step_ports(plain, groups, seed)
            found = engine.step(ports)
            require_same(found, plain.step(ports), tolerance)
            assert found.bound == set(groups)
        assert forms(engine) == 1


def test_one_form_for_each_shape(uncompiled: TorchEngine, plain: TorchEngine):
    two, three = (step_ports(plain, ("read",), rows=rows) for rows in (2, 3))
    for ports in (two, three, two, three):
        require_same(uncompiled.step(ports), plain.step(ports))
    assert forms(uncompiled) == 2
    # Other sites of the same stride are the same form, whose gate tells them apart.
    strides = [site.stride for site in plain.info.sites.of("cross")]
    assert strides == [1, 2, 1, 1]
    for sites, made in (([3], 2), ([0, 2, 3], 2), ([0, 1], 2), ([0, 1], 3)):
        gate = np.isin(np.arange(4), sites).astype(np.float32)
        ports = {**two, "read.sites": gate}
        require_same(uncompiled.step(ports), plain.step(ports))
        assert forms(uncompiled) == made


def test_what_runs_once_costs_no_compilation(uncompiled: TorchEngine, plain: TorchEngine):
    once: list[tuple[Group, ...]] = [(), ("route",), ("mix",)]
    for groups in once:
        uncompiled.step(step_ports(plain, groups))
    assert forms(uncompiled) == 0


def test_a_unet_that_gives_nan_makes_no_form(uncompiled: TorchEngine, plain: TorchEngine):
    """The host deals with NaN; comparing with it would blame the form."""
    bias = cast("Tensor", uncompiled.parts.unet.conv_out.bias)
    before = bias.clone()
    bias.data.fill_(np.nan)
    ports = step_ports(plain, ())
    for _ in range(3):
        assert np.isnan(uncompiled.step(ports).noise).all()
    assert forms(uncompiled) == 0
    bias.data.copy_(before)
    require_same(uncompiled.step(ports), plain.step(ports))
    assert forms(uncompiled) == 1


def test_trimming_drops_the_forms(uncompiled: TorchEngine, plain: TorchEngine):
    ports = step_ports(plain, ())
    for _ in range(2):
        for made in (0, 1):
            require_same(uncompiled.step(ports), plain.step(ports))
            assert forms(uncompiled) == made
        uncompiled.trim()
        assert forms(uncompiled) == 0


@pytest.mark.thorough
def test_forms_share_the_weights(engine: TorchEngine, plain: TorchEngine):
    """A change in place, as by an optimiser, is seen; a second copy would not see it."""
    ports = step_ports(plain, ())
    before = [engine.step(ports).noise for _ in range(2)][1]
    for weight in engine.parts.unet.conv_out.parameters():
        weight.data.mul_(2)
    assert forms(engine) == 1
    assert np.allclose(engine.step(ports).noise, 2 * before, atol=1e-5)


@pytest.mark.thorough
def test_half_precision_is_compiled_too(small: Path, quick: None):
    with loaded(small, "compile", "bf16") as engine, loaded(small, "eager", "bf16") as reference:
        for seed in range(3):
            ports = step_ports(reference, ("route", "mix", "read"), seed)
            require_same(engine.step(ports), reference.step(ports), 0.05)
        assert forms(engine) == 1


# What others do to the UNet


def swapped(engine: TorchEngine) -> None:
    engine.parts.unet.set_attn_processor(AttnProcessor())


def one_swapped(engine: TorchEngine) -> None:
    site = engine.info.sites.of("cross")[-1]
    cast("Any", engine.parts.unet.get_submodule(site.path)).set_processor(AttnProcessor())


def fused(engine: TorchEngine) -> None:
    engine.parts.unet.fuse_qkv_projections()


def projection_replaced(engine: TorchEngine) -> None:
    """As loading a LoRA does."""
    site = engine.info.sites.of("self")[0]
    attention = cast("Any", engine.parts.unet.get_submodule(site.path))
    attention.to_q = nn.Sequential(attention.to_q)


def hook_removed(engine: TorchEngine) -> None:
    site = engine.info.sites.of("resnet")[0]
    cast("Any", engine.parts.unet.get_submodule(site.path)).conv2._forward_hooks.clear()


def backend_set(engine: TorchEngine) -> None:
    engine.parts.unet.set_attention_backend("native")


def math_only(_engine: TorchEngine) -> None:
    for name in ("flash", "mem_efficient", "cudnn"):
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(False)


def compiled_aside(engine: TorchEngine) -> None:
    torch.compile(engine.parts.unet, backend="eager")


def compiled_in_place(engine: TorchEngine) -> None:
    engine.parts.unet.compile(backend="eager")


def blocks_compiled(engine: TorchEngine) -> None:
    engine.parts.unet.compile_repeated_blocks(backend="eager")


CHANGES: dict[str, Callable[[TorchEngine], None]] = {
    "all processors": swapped,
    "one processor": one_swapped,
    "fused projections": fused,
    "another projection": projection_replaced,
    "no hook": hook_removed,
    "diffusers' attention backend": backend_set,
    "torch's attention backend": math_only,
    "torch.compile beside": compiled_aside,
    "torch.compile in place": compiled_in_place,
    "torch.compile of the blocks": blocks_compiled,
}
TRACED = ["torch.compile in place", "torch.compile of the blocks"]
REPLACED = ["all processors", "one processor", "fused projections", "no hook"]
EVERY: tuple[Group, ...] = ("route", "mix", "read", "feature", "region", "record")


@pytest.fixture
def backends() -> Iterator[None]:
    """Leave torch's and diffusers' choice of attention kernels as it was."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry as registry

    active = registry._active_backend
    names = ("flash", "mem_efficient", "cudnn")
    enabled = [getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in names]
    yield
    registry._active_backend = active
    for name, on in zip(names, enabled, strict=True):
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(on)
    torch._dynamo.reset()


@pytest.mark.thorough
@pytest.mark.parametrize(
    "change", [pytest.param(c, marks=[pytest.mark.slow] * (c in TRACED)) for c in CHANGES]
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_others_do_to_the_unet_is_exact_or_an_error(
    small: Path, plain: TorchEngine, backends: None, change: str
):
    with loaded(small, "eager") as engine:
        CHANGES[change](engine)
        for seed in range(3):
            ports = step_ports(plain, EVERY, seed)
            if change in REPLACED:
                with pytest.raises(ControlError, match="load the model anew"):
                    engine.step(ports)
            else:
                require_same(engine.step(ports), plain.step(ports))


@pytest.mark.parametrize("made", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("change", [*REPLACED, "another projection"])
def test_what_a_form_would_not_see_is_an_error(
    uncompiled: TorchEngine, plain: TorchEngine, change: str, made: bool
):
    """Before the first step, and after a form of it has been made."""
    for seed in range(2 * made):
        uncompiled.step(step_ports(plain, EVERY, seed))
    assert forms(uncompiled) == made
    CHANGES[change](uncompiled)
    for seed in range(2, 4):
        with pytest.raises(ControlError, match="mode 'compile' would not see: load the model anew"):
            uncompiled.step(step_ports(plain, EVERY, seed))


@pytest.mark.slow
@pytest.mark.parametrize("made", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("change", sorted(CHANGES.keys() - {*REPLACED, "another projection"}))
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_what_a_form_need_not_see_is_exact(
    engine: TorchEngine, plain: TorchEngine, backends: None, change: str, made: bool
):
    for seed in range(2 * made):
        engine.step(step_ports(plain, EVERY, seed))
    CHANGES[change](engine)
    for seed in range(2, 5):
        ports = step_ports(plain, EVERY, seed)
        require_same(engine.step(ports), plain.step(ports))
    assert forms(engine) == 1


@pytest.mark.parametrize("group", ["route", "mix", "feature", "region", "record"])
def test_a_site_that_a_form_leaves_out_is_noticed(
    uncompiled: TorchEngine, plain: TorchEngine, group: Group, monkeypatch: pytest.MonkeyPatch
):
    """A form is made of what the sites say they applied; here one says nothing."""
    ports = step_ports(plain, (group,))
    uncompiled.step(ports)
    visits = fast.PortedUNet.visits.fget
    assert visits is not None
    kept = property(lambda module: [v for v in visits(module) if v[0] != group])
    monkeypatch.setattr(fast.PortedUNet, "visits", kept)
    with pytest.raises(ControlError, match=f"given {group} ports and they had no effect"):
        uncompiled.step(ports)


# Making forms, without a compiler


def never(*_given: object) -> Any:
    raise ValueError("no C++ compiler was found.\nand much more")


def scaled(factor: float) -> Any:
    """A form that gives something else."""
    return lambda module, _inputs: lambda *given: tuple(t * factor for t in module(*given))


def deaf_to(name: str) -> Any:
    """A form that took one port for a constant."""

    def make(module: Any, inputs: tuple[Tensor, ...]) -> Any:
        place = module.signature.inputs.index(name)
        return lambda *given: module(*given[:place], inputs[place], *given[place + 1 :])

    return make


def short_of_memory(*_given: object) -> Any:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def test_a_form_that_cannot_be_made_is_an_error(engine: TorchEngine, plain: TorchEngine):
    engine._fast = FastSteps("compile", never)
    engine.step(step_ports(plain, ()))
    with pytest.raises(EngineError) as error:
        engine.step(step_ports(plain, ()))
    assert str(error.value) == (
        "mode 'compile' could not make a form of this step (no C++ compiler was found); use mode "
        "'eager'."
    )


@pytest.mark.parametrize(
    ("precision", "factor", "apart"),
    [("fp32", 1.005, "5.0e-03"), ("fp32", 0, "1.0e+00"), ("bf16", 1.1, "1.0e-01")],
)
def test_a_form_that_computes_something_else_is_refused(
    small: Path, precision: Precision, factor: float, apart: str
):
    with loaded(small, "compile", precision) as engine:
        engine._fast = FastSteps("compile", scaled(factor))
        ports = step_ports(engine, ("read",))
        engine.step(ports)
        said = f"mode 'compile' computes 'noise' otherwise than mode 'eager', by {apart} of its"
        with pytest.raises(ControlError, match=re.escape(said)):
            engine.step(ports)
        assert forms(engine) == 0


def test_compilers_may_round_as_the_precision_does(small: Path):
    """Two ways to round in bf16 are as far apart as bf16 is from fp32."""
    with loaded(small, "compile", "bf16") as engine:
        engine._fast = FastSteps("compile", scaled(1.015))
        for _ in range(2):
            engine.step(step_ports(engine, ("read",)))
        assert forms(engine) == 1


STEP = [p.name for p in INPUTS if p.group not in ("loss", "match") and p.name != "record.row"]


@pytest.mark.parametrize("name", STEP)
def test_a_form_that_ignores_a_port_is_refused(engine: TorchEngine, plain: TorchEngine, name: str):
    """Also where the control is neutral when the form is made, so that nothing is wrong yet."""
    engine._fast = FastSteps("compile", deaf_to(name))
    sizes, replayed = plain.info.sizes(LATENT), name == "source.text"
    ports = step_ports(plain, ("replay",) if replayed else ())
    for group in CONTROL_GROUPS:
        if group != "replay":
            ports |= neutral(group, sizes, 3, replayed)
    ports["read.sites"][0] = 1
    ports = {
        n: v.astype(np.float32) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v
        for n, v in ports.items()
    }
    engine.step(ports)
    with pytest.raises(ControlError, match="so that a control may have no effect"):
        engine.step(ports)


@pytest.mark.parametrize(("kind", "group"), [("self", "route"), ("text", "mix")])
def test_a_form_that_ignores_the_replayed_source_is_refused(
    engine: TorchEngine, plain: TorchEngine, kind: Literal["self", "text"], group: Group
):
    """Which nothing addresses where the controls are neutral."""
    name = "source.text" if kind == "text" else f"source.{plain.info.sites.of(kind)[1].path}"
    engine._fast = FastSteps("compile", deaf_to(name))
    controls = neutral(group, plain.info.sizes(LATENT), 3, replayed=True)
    halves = {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in controls.items()}
    ports = {**step_ports(plain, ("replay",)), **halves}
    engine.step(ports)
    with pytest.raises(ControlError, match="so that a control may have no effect"):
        engine.step(ports)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mix.own", "attn2", "nothing"])
def test_a_port_that_was_traced_as_a_constant_is_named(plain: TorchEngine, name: str):
    """However small its effect would be: here one site's state, at half the rounding of bf16."""
    groups: tuple[Group, ...] = ("mix", "read", "record", "replay")
    ports = step_ports(plain, groups)
    signature = plain._signature(ports)
    inputs = plain._tensors(ports, signature.inputs)
    (place, *_) = [i for i, n in enumerate(signature.inputs) if n.endswith(name)] or [None]

    class Deaf(fast.PortedUNet):
        def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
            if place is None:
                return super().forward(*given)
            return super().forward(*given[:place], inputs[place], *given[place + 1 :])

    module = Deaf(plain.parts.unet, plain.parts.bus, signature)
    with torch.inference_mode(False), torch.no_grad():
        examples = tuple(tensor.clone() for tensor in inputs)
        program = torch.export.export(module, examples, strict=False)
    if place is None:
        fast._require_used(program, module)
    else:
        with pytest.raises(ControlError, match=re.escape(f"port '{signature.inputs[place]}' has")):
            fast._require_used(program, module)


def test_memory_that_is_short_stays_so(engine: TorchEngine, plain: TorchEngine):
    engine._fast = FastSteps("compile", short_of_memory)
    engine.step(step_ports(plain, ()))
    with pytest.raises(OutOfMemoryError):
        engine.step(step_ports(plain, ()))


def test_the_oldest_form_goes_first(engine: TorchEngine, plain: TorchEngine):
    made: list[int] = []

    def noted(module: Any, inputs: tuple[Tensor, ...]) -> Any:
        made.append(len(inputs[0]))
        return module

    engine._fast = FastSteps("compile", noted, most=2)
    for rows in (1, 1, 2, 2, 1, 3, 3, 1, 2, 2):
        engine.step(step_ports(plain, (), rows=rows))
    assert made == [1, 2, 3, 2], "row 1 was used between, and 2 had to be made again"
    assert forms(engine) == 2


# Captured


def test_graphs_need_cuda(small: Path):
    engine = TorchEngine(EngineSettings(device="cpu", mode="graph"))
    with pytest.raises(EngineError, match="mode 'graph' captures CUDA graphs and this is no"):
        engine.load(find_checkpoint(small))


@pytest.mark.gpu
@pytest.mark.parametrize("groups", GROUPS, ids=lambda groups: "+".join(groups) or "plain")
def test_a_captured_step_is_the_step(small: Path, groups: tuple[Group, ...]):
    made: dict[Mode, TorchEngine] = {}
    for mode in ("eager", "graph"):
        made[mode] = TorchEngine(EngineSettings("fp32", "cuda", mode=mode))
        made[mode].load(find_checkpoint(small))
    with made["eager"] as reference, made["graph"] as engine:
        for seed in range(5):
            ports = step_ports(reference, groups, seed)
            found = engine.step(ports)
            wanted = reference.step(ports)
            assert np.abs(found.noise - wanted.noise).max() < 1e-3 * np.abs(wanted.noise).max()
            assert found.bound == wanted.bound
        assert forms(engine) == 1


@pytest.mark.gpu
def test_outputs_of_a_graph_outlive_the_next(small: Path):
    with TorchEngine(EngineSettings("fp16", "cuda", mode="graph")) as engine:
        engine.load(find_checkpoint(small))
        kept = [engine.step(step_ports(engine, ("record",), seed)) for seed in range(4)]
        again = [engine.step(step_ports(engine, ("record",), seed)) for seed in range(4)]
        assert forms(engine) == 1
        for one, two in zip(kept[2:], again[2:], strict=True):
            assert np.array_equal(one.noise, two.noise)
            for name, handle in one.recorded.items():
                assert torch.equal(cast("Tensor", handle), cast("Tensor", two.recorded[name]))
