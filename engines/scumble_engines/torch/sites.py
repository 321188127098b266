"""The site table of a diffusers UNet, from its modules, checked against its configuration."""

from collections.abc import Mapping
from typing import Any

from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from scumble.errors import ModelError
from scumble.sites import Kind, Place, Site, SiteTable

__all__ = ["sites_of"]


def sites_of(unet: UNet2DConditionModel) -> SiteTable:
    """Return the sites of a UNet in execution order.

    Raises:
        ModelError: the modules are not those its configuration promises.
    """
    config: Mapping[str, Any] = unet.config
    if config.get("only_cross_attention") or config.get("reverse_transformer_layers_per_block"):
        raise ModelError(
            "this UNet has blocks without self-attention or of uneven depth, which the ports do "
            "not describe; use a model of the SD 1.x or 2.x shape."
        )
    levels = len(config["block_out_channels"])
    found: list[Site] = []
    count: dict[Kind, int] = {"self": 0, "cross": 0, "resnet": 0}
    # Module order is down, up, mid in diffusers; execution is down, mid, up.
    named = sorted(unet.named_modules(), key=lambda pair: _order(pair[0]))
    for path, module in named:
        where = _place(path, levels)
        kind = _kind(path, module)
        if where is None or kind is None:
            continue
        place, stride = where
        heads = module.heads if isinstance(module, Attention) else 0
        width = module.query_dim if isinstance(module, Attention) else module.out_channels
        found.append(Site(count[kind], path, kind, place, stride, width, heads))
        count[kind] += 1
    wanted = _blocks(config)
    if not count["self"] == count["cross"] == wanted:
        raise ModelError(
            f"this UNet has {count['self']} self- and {count['cross']} cross-attention sites; its "
            f"configuration promises {wanted} of each."
        )
    size = config["sample_size"]
    native = (size, size) if isinstance(size, int) else (size[0], size[1])
    return SiteTable(tuple(found), native)


def _order(path: str) -> int:
    first = path.split(".", 1)[0]
    return {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}.get(first, 3)


def _place(path: str, levels: int) -> tuple[Place, int] | None:
    parts = path.split(".")
    match parts[0]:
        case "down_blocks" if len(parts) > 1:
            return "down", 2 ** int(parts[1])
        case "mid_block":
            return "mid", 2 ** (levels - 1)
        case "up_blocks" if len(parts) > 1:
            return "up", 2 ** (levels - 1 - int(parts[1]))
        case _:
            return None


def _kind(path: str, module: object) -> Kind | None:
    if isinstance(module, ResnetBlock2D):
        return "resnet"
    if not isinstance(module, Attention):
        return None
    if path.endswith("attn1"):
        return "self"
    return "cross" if path.endswith("attn2") else None


def _blocks(config: Mapping[str, Any]) -> int:
    """Return how many transformer blocks a configuration describes."""
    levels = len(config["down_block_types"])

    def spread(value: Any) -> list[Any]:
        return list(value) if isinstance(value, list | tuple) else [value] * levels

    depth = spread(config["transformer_layers_per_block"])
    layers = spread(config["layers_per_block"])
    total = 0
    for level, kind in enumerate(config["down_block_types"]):
        total += layers[level] * depth[level] if kind == "CrossAttnDownBlock2D" else 0
    for level, kind in enumerate(config["up_block_types"]):
        mirrored = levels - 1 - level
        each = depth[mirrored]
        total += (layers[mirrored] + 1) * each if kind == "CrossAttnUpBlock2D" else 0
    if config.get("mid_block_type", "UNetMidBlock2DCrossAttn") == "UNetMidBlock2DCrossAttn":
        total += depth[-1]
    return total
