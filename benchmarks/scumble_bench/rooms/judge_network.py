"""The judge's network: as it is trained, saved, and written as the graph that the judge runs.

The graph keeps no weights of its own: it points into `judge.safetensors` beside it.
"""

# torch, onnx and safetensors leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from scumble.errors import ModelError
from scumble_bench.rooms.dataset import COLOURS, NOUNS, POSES
from scumble_bench.rooms.judge import GRAPH, MAP, Judge
from scumble_export.tracing import distance, forget_origin, traced

__all__ = ["WEIGHTS", "JudgeNetwork", "load_network", "pooled", "save_network", "write_graph"]

WEIGHTS = "judge.safetensors"
WIDTHS = (24, 40, 64, 96)
OPSET = 21
TOLERANCE = 1e-5
"""Largest difference to torch that the graph may have, relative to the largest logit."""
OUTPUTS = ("presence", "nouns", "colours", "poses")


def _block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1),
        nn.GroupNorm(8, outside),
        nn.SiLU(),
        nn.Conv2d(outside, outside, 3, 1, 1),
        nn.GroupNorm(8, outside),
        nn.SiLU(),
    )


class JudgeNetwork(nn.Module):
    """A small U-Net from (rows, 3, 128, 128) to maps at 64x64, and presence from its bottom."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, last = WIDTHS
        self.stem = _block(3, first, 2)
        self.down1 = _block(first, second, 2)
        self.down2 = _block(second, third, 2)
        self.down3 = _block(third, last, 2)
        self.middle = _block(last, last)
        self.up2 = _block(last + third, third)
        self.up1 = _block(third + second, second)
        self.up0 = _block(second + first, 32)
        self.maps = nn.Conv2d(32, 1 + len(NOUNS) + len(COLOURS) + len(POSES), 1)
        self.presence = nn.Linear(2 * last, len(NOUNS))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits.

        Presence (rows, nouns), and at 64x64: background and nouns, colours, poses.
        """
        first = self.stem(pictures)
        second = self.down1(first)
        third = self.down2(second)
        last = self.down3(third)
        last = last + self.middle(last)
        pooled = torch.cat([last.mean((2, 3)), last.amax((2, 3))], 1)
        up = self.up2(torch.cat([_twice(last), third], 1))
        up = self.up1(torch.cat([_twice(up), second], 1))
        up = self.up0(torch.cat([_twice(up), first], 1))
        nouns, colours, poses = self.maps(up).split([1 + len(NOUNS), len(COLOURS), len(POSES)], 1)
        return self.presence(pooled), nouns, colours, poses


def _twice(states: Tensor) -> Tensor:
    return functional.interpolate(states, scale_factor=2.0, mode="nearest")


def pooled(logits: Tensor, masks: Tensor) -> Tensor:
    """Averages maps (rows, k, h, w) over masks (rows, n, h, w) to (rows, n, k)."""
    weights = masks / masks.sum((2, 3), keepdim=True).clamp(min=1e-4)
    return torch.einsum("rnhw,rkhw->rnk", weights, logits)


def save_network(network: JudgeNetwork, folder: Path) -> None:
    """Writes a network's weights in float16, its vocabulary, and the graph that `Judge` runs."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: t.half().cpu().contiguous() for name, t in network.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    names = {"nouns": NOUNS, "colours": COLOURS, "poses": POSES, "map": MAP}
    (folder / "config.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")
    write_graph(folder)


def load_network(folder: Path) -> JudgeNetwork:
    """Reads a network that `save_network` wrote, in float32 and not to be trained."""
    network = JudgeNetwork()
    network.load_state_dict(load_file(folder / WEIGHTS))
    return network.float().eval().requires_grad_(False)


def write_graph(folder: Path) -> float:
    """Writes the graph of a folder's weights, whole or not at all.

    Returns:
        Its largest difference to torch, relative to the largest logit.

    Raises:
        ModelError: The graph differs from torch.
    """
    network = load_network(folder)
    images = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)
    pictures = np.moveaxis(images, 3, 1).astype(np.float32) / 127.5 - 1
    shown = {"pictures": pictures}
    model = ir.to_proto(traced(network, shown, ({0: "rows"},), ["pictures"], list(OUTPUTS), OPSET))
    forget_origin(model)
    _point_into_weights(model, folder / WEIGHTS)
    draft = folder / f".{GRAPH}"
    try:
        onnx.save_model(model, draft)
        wanted = [logits.numpy() for logits in network(torch.from_numpy(pictures))]
        worst = distance(Judge(draft).logits(images), wanted)
        if not worst <= TOLERANCE:
            raise ModelError(
                f"the judge's graph differs from torch by {worst:.1e} of the largest logit, more "
                f"than {TOLERANCE:.0e}; it was not written."
            )
        os.replace(draft, folder / GRAPH)
    finally:
        draft.unlink(missing_ok=True)
    return worst


def _point_into_weights(model: onnx.ModelProto, weights: Path) -> None:
    """Replaces every initializer that is a weight by its place in the file, cast from float16.

    They are known by their content: tracing lays the scales of norms out anew, without their names.
    """
    places = _places(weights)
    contents: dict[bytes, list[str]] = {}
    for name, weight in load_file(weights).items():
        contents.setdefault(weight.numpy().tobytes(), []).append(name)
    casts: list[Any] = []
    found: set[str] = set()
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        names = contents.get(numpy_helper.to_array(tensor).astype(np.float16).tobytes())
        if not names:
            continue
        found.update(names)
        offset, length, _ = places[names[0]]
        half = f"{tensor.name}.half"
        casts.append(helper.make_node("Cast", [half], [tensor.name], to=TensorProto.FLOAT))
        tensor.name, tensor.data_type = half, TensorProto.FLOAT16
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    missing = sorted(places.keys() - found)
    assert not missing, f"{missing[0]} is not stored as the graph has it"
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _places(weights: Path) -> dict[str, tuple[int, int, list[int]]]:
    """Returns name -> offset, length and shape of each tensor in a safetensors file.

    The file is the length of a JSON header in eight bytes, the header, and the tensors' bytes.
    """
    with weights.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    header.pop("__metadata__", None)
    found: dict[str, tuple[int, int, list[int]]] = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        found[name] = (8 + size + begin, end - begin, entry["shape"])
    return found
