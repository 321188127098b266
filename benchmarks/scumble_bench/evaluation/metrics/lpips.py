"""LPIPS, the distance of two pictures in the layers of a SqueezeNet, from files that a user has.

Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", 2018; the
arithmetic is torchmetrics', version 0.1 of the published weights, with the network `squeeze`.
"""

# torchmetrics leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import pickle
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor, nn
from torchmetrics.functional.image.lpips import (
    _LPIPS,  # pyright: ignore[reportPrivateUsage]
    NetLinLayer,
    ScalingLayer,
    _lpips_update,  # pyright: ignore[reportPrivateUsage]
)

from scumble.errors import ModelError
from scumble_bench.evaluation.metrics.fidelity import rows_of
from scumble_bench.evaluation.metrics.pictures import Floats
from scumble_bench.evaluation.metrics.squeezenet import CHANNELS, SqueezeNet

__all__ = ["Lpips", "SqueezeLpips"]


class SqueezeLpips(_LPIPS):
    """torchmetrics' LPIPS around a SqueezeNet that is handed in.

    torchmetrics has no public way to hand one in: its class refuses to be made without torchvision,
    and so does `_LPIPS`, whose constructor asks torchvision for the layers. Its `forward` does not.
    So this class is made without that constructor, and sets what `forward` reads.
    """

    def __init__(self, network: SqueezeNet) -> None:
        nn.Module.__init__(self)
        self.spatial = False
        self.resize = None
        self.L = len(CHANNELS)
        self.scaling_layer = ScalingLayer()
        self.net = network
        # With dropout, as published, although it does nothing here: it is in the weights' names.
        self.lins = nn.ModuleList(NetLinLayer(count, use_dropout=True) for count in CHANNELS)
        self.eval().requires_grad_(False)


class Lpips:
    """The LPIPS of two pictures, from the files of its weights.

    Args:
        weights: torchvision's file of SqueezeNet 1.1, classifier or not.
        linear: the linear weights, named `lin0.model.1.weight` and so on; None takes the published
            ones, which come with torchmetrics.
        device: torch's name of a device.

    Raises:
        ModelError: a file is not there, or does not hold these weights.
    """

    def __init__(
        self, weights: str | Path, *, linear: str | Path | None = None, device: str = "cpu"
    ) -> None:
        network = SqueezeNet()
        found = _read(Path(weights))
        features = {name: value for name, value in found.items() if name.startswith("features.")}
        _fill(network, features, Path(weights), "SqueezeNet 1.1 as torchvision saves it")
        self._net = SqueezeLpips(network)
        published = files("torchmetrics.functional.image") / "lpips_models" / "squeeze.pth"
        with as_file(published) as own:
            path = Path(linear) if linear is not None else own
            # Published: `lin0.model.1.weight`; in the list of layers: `0.model.1.weight`.
            lines = {name.removeprefix("lin"): value for name, value in _read(path).items()}
            _fill(self._net.lins, lines, path, "the linear weights of LPIPS for SqueezeNet")
        self._device = device
        self._net.to(device)

    def __call__(self, source: Floats, edited: Floats) -> float:
        """The LPIPS of two pictures (h, w, 3) of 0 to 1; 0 if they are equal."""
        pair = [rows_of(picture).to(self._device) for picture in (edited, source)]
        with torch.inference_mode():
            # Normalising is what the published script does by hand: 2x - 1.
            return float(_lpips_update(*pair, net=self._net, normalize=True))


def _read(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file of torch's, without running code that it may hold."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = "there is no such file" if not path.is_file() else "torch cannot read it"
        raise ModelError(f"LPIPS needs {path}, but {reason}; give a file of weights.") from error
    if not isinstance(found, Mapping):
        raise ModelError(f"{path} holds no weights by name; give a state dict saved by torch.")
    return found


def _fill(module: nn.Module, found: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load weights by name, or say in one sentence which do not fit."""
    wanted = module.state_dict()
    wrong = sorted(
        name
        for name in wanted.keys() | found.keys()
        if name not in wanted or name not in found or wanted[name].shape != found[name].shape
    )
    if wrong:
        raise ModelError(
            f"{path} is not {what}: {len(wrong)} weights are missing, unknown or of another shape, "
            f"the first is {wrong[0]!r}."
        )
    module.load_state_dict(found)
