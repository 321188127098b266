"""A step as a function: its names, what its sites say they applied, and what carries the ports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from scumble.errors import ControlError
from scumble.ports import CONTROL_GROUPS, INPUTS, Group
from scumble_engines.torch import TorchEngine
from scumble_engines.torch.controls import Controls
from scumble_engines.torch.ported import (
    PortedUNet,
    Signature,
    attachments,
    bound_groups,
    signature_of,
)

Engines = Callable[..., TorchEngine]
LATENT = (8, 8)


def named(engine: TorchEngine, *groups: Group, read: tuple[int, ...] = ()) -> Signature:
    return signature_of(frozenset(groups), engine.info.sites, LATENT, frozenset(read))


def given(engine: TorchEngine, signature: Signature, rows: int = 3) -> tuple[Tensor, ...]:
    """Random inputs of a signature, in its order."""
    sizes = engine.info.sizes(LATENT)
    random = torch.Generator().manual_seed(0)
    replayed = "replay" in signature.groups
    grids = {f"source.{s.path}": (s.grid(LATENT), s.channels) for s in engine.info.sites}
    made: list[Tensor] = []
    for name in signature.inputs:
        if name in grids:
            (height, width), channels = grids[name]
            made.append(torch.randn((1, height * width, channels), generator=random))
            continue
        (port,) = (port for port in INPUTS if port.name == name)
        shape = [sizes.axis(axis, rows, replayed) or 2 for axis in port.axes]
        one = torch.rand(shape, generator=random)
        made.append((one * rows).long() if port.dtype == "index" else one)
    return tuple(made)


def test_names_follow_the_groups(engines: Engines):
    engine = engines("fp32")
    strides = [site.stride for site in engine.info.sites.of("cross")]
    assert strides == [1, 2, 2, 2, 2, 1, 1]
    assert named(engine).inputs == ("sample", "timestep", "text")
    assert named(engine).outputs == ("noise",)
    reading = named(engine, "read", "mix", read=(2, 0))
    assert reading.outputs == ("noise", "read.1", "read.2")
    assert reading.groups == {"read", "mix"}
    every = named(engine, *CONTROL_GROUPS, read=(0,))
    fixed = tuple(port.name for port in INPUTS if port.group not in ("loss", "match"))
    assert every.inputs[: len(fixed)] == fixed
    states = every.inputs[len(fixed) :]
    assert every.outputs == ("noise", "read.1", *states)
    # In execution order, so that a record is replayed as it was made.
    assert [name.rpartition(".")[2] for name in states] == ["attn1", "attn2"] * 7
    assert [name.split(".")[1][:2] for name in states] == ["do"] * 4 + ["mi"] * 2 + ["up"] * 8


def test_it_gives_what_it_is_named_for(engines: Engines):
    engine = engines("fp32")
    signature = named(engine, *CONTROL_GROUPS, read=(0, 3))
    module = PortedUNet(engine.parts.unet, engine.parts.bus, signature)
    with torch.inference_mode():
        outputs = dict(zip(signature.outputs, module(*given(engine, signature)), strict=True))
    assert outputs["noise"].shape == (3, 4, 8, 8)
    assert outputs["read.1"].shape == (4, 2, 8, 8)
    assert outputs["read.2"].shape == (4, 2, 4, 4)
    for site in engine.info.sites:
        if site.kind != "resnet":
            height, width = site.grid(LATENT)
            assert outputs[f"source.{site.path}"].shape == (1, height * width, site.channels)
    assert engine.parts.bus.controls == Controls()
    assert bound_groups(signature, module.visits, engine.info.sites) == set(CONTROL_GROUPS)


@pytest.mark.parametrize("group", CONTROL_GROUPS)
def test_every_site_has_to_apply_a_group(engines: Engines, group: Group):
    engine = engines("fp32")
    signature = named(engine, group, read=(0, 3) if group == "read" else ())
    module = PortedUNet(engine.parts.unet, engine.parts.bus, signature)
    with torch.inference_mode():
        module(*given(engine, signature))
    visits = list(module.visits)
    assert bound_groups(signature, visits, engine.info.sites) == {group}
    visits.remove(next(visit for visit in visits if visit[0] == group))
    assert bound_groups(signature, visits, engine.info.sites) == frozenset()
    assert bound_groups(named(engine), module.visits, engine.info.sites) == frozenset()


def test_a_unet_without_ports_is_noticed(engines: Engines, plain: Callable[..., Any]):
    engine = engines("fp32")
    signature = named(engine)
    module = PortedUNet(plain(), engine.parts.bus, signature)
    with torch.inference_mode(), pytest.raises(ControlError, match="0 of 14 attention sites ran"):
        module(*given(engine, signature))
    assert engine.parts.bus.controls == Controls()


def test_a_failed_run_leaves_no_controls(engine: TorchEngine):
    def broken(*_given: object, **_named: object) -> None:
        raise ValueError("no")

    signature = named(engine, "route")
    engine.parts.unet.forward = broken  # type: ignore[method-assign]
    module = PortedUNet(engine.parts.unet, engine.parts.bus, signature)
    with pytest.raises(ValueError, match="no"):
        module(*given(engine, signature))
    assert engine.parts.bus.controls == Controls()


def attention_at(unet: UNet2DConditionModel, path: str) -> Any:
    return cast("Any", unet.get_submodule(path))


def test_attachments_change_with_what_carries_the_ports(engine: TorchEngine, checkpoint: Path):
    unet, sites = engine.parts.unet, engine.info.sites
    before = attachments(unet, sites)
    assert attachments(unet, sites) == before
    first, last = sites.of("self")[0].path, sites.of("cross")[-1].path
    resnet = attention_at(unet, sites.of("resnet")[3].path)
    changes: list[Callable[[], object]] = [
        lambda: attention_at(unet, last).set_processor(AttnProcessor()),
        lambda: setattr(attention_at(unet, first), "to_q", nn.Identity()),
        lambda: attention_at(unet, last).to_out.__setitem__(0, nn.Identity()),
        lambda: resnet.conv2.register_forward_hook(lambda *_: None),
        lambda: setattr(resnet, "conv2", nn.Identity()),
        lambda: setattr(unet.down_blocks, "0", UNet2DConditionModel.from_pretrained(
            checkpoint / "unet").down_blocks[0]),
    ]  # fmt: skip
    for change in changes:
        change()
        after = attachments(unet, sites)
        assert after != before
        before = after


def test_rows_may_be_of_any_number(engines: Engines):
    engine = engines("fp32")
    signature = named(engine, "mix")
    module = PortedUNet(engine.parts.unet, engine.parts.bus, signature)
    for rows in (1, 5):
        with torch.inference_mode():
            (noise,) = module(*given(engine, signature, rows))
        assert noise.shape == (rows, 4, 8, 8)
        assert np.isfinite(noise.numpy()).all()
