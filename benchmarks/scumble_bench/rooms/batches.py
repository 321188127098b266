"""Cached scenes as tensors: on the GPU where there is one, else the files themselves."""

# pyright: reportUnknownMemberType=false

import torch
from torch import Tensor

from scumble_bench.rooms.dataset import CHUNK, NOUNS, SceneCache


class Shelf:
    """The rendered chunks of a cache, as tensors that training steps index.

    Attributes:
        chunks: Numbers of the chunks that are there, (all chunks,) on the device.
        count: How many of them are there, on the device.
    """

    def __init__(self, cache: SceneCache, device: torch.device, fields: tuple[str, ...]) -> None:
        self.cache = cache
        self.device = device
        self._arrays = {name: torch.from_numpy(cache.array(name)) for name in fields}
        self._copies = device.type != "cpu"
        self._tensors = self._arrays
        if self._copies:
            self._tensors = {
                name: torch.empty(array.shape, dtype=array.dtype, device=device)
                for name, array in self._arrays.items()
            }
        self._known: set[int] = set()
        self.chunks = torch.zeros(cache.chunks, dtype=torch.long, device=device)
        self.count = torch.zeros((), dtype=torch.long, device=device)

    def refresh(self) -> int:
        """Takes in the chunks rendered since the last time; returns how many there are."""
        # The last chunk can be a part of one: steps draw from whole ones only.
        whole = self.cache.count // CHUNK
        new = [n for n in self.cache.ready() if n not in self._known and n < max(whole, 1)]
        for chunk in new:
            rows = self.cache.scenes_of(chunk)
            if self._copies:
                for name, tensor in self._tensors.items():
                    part = slice(rows.start, rows.stop)
                    tensor[part] = self._arrays[name][part].to(self.device)
            self.chunks[len(self._known)] = chunk
            self._known.add(chunk)
        self.count.fill_(len(self._known))
        return len(self._known)

    def draw(self, batch: int) -> Tensor:
        """Draws rows at random; all on the device, so that a CUDA graph can hold it."""
        places = (torch.rand(batch, device=self.device) * self.count).long()
        size = min(CHUNK, self.cache.count)
        return self.chunks[places] * CHUNK + torch.randint(size, (batch,), device=self.device)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]


def as_pictures(images: Tensor) -> Tensor:
    """Turns (rows, h, w, 3) bytes into (rows, 3, h, w) floats from -1 to 1."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def memory_layout(device: torch.device) -> torch.memory_format:
    """Returns the UNet's faster layout: channels last on a GPU, plain on a CPU (54 to 44/s)."""
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def as_bytes(pictures: Tensor) -> Tensor:
    """Turns (rows, 3, h, w) floats from -1 to 1 into (rows, h, w, 3) bytes."""
    levels = ((pictures.float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1)


def thing_masks(labels: Tensor, things: int, size: int) -> Tensor:
    """Averages the area of each thing: (rows, h, w) labels to (rows, things, size, size)."""
    numbers = torch.arange(1, things + 1, device=labels.device, dtype=labels.dtype)
    solid = (labels[:, None] == numbers[:, None, None]).float()
    return torch.nn.functional.adaptive_avg_pool2d(solid, size)


def noun_masks(labels: Tensor, things: Tensor, size: int) -> Tensor:
    """Averages the area of each noun: (rows, nouns, size, size); a scene has a noun once."""
    masks = thing_masks(labels, things.shape[1], size)
    nouns = torch.arange(len(NOUNS), device=things.device)
    belongs = (things[:, None, :, 0] == nouns[:, None]).float()
    return torch.einsum("rnj,rjhw->rnhw", belongs, masks)
