"""Muon: momentum, made orthogonal matrix by matrix before it is stepped along.

After K. Jordan and others, "Muon: An optimizer for hidden layers in neural networks" (2024), with
the step sizes of J. Liu and others, "Muon is scalable for LLM training" (2025, eq. 4), so that one
learning rate serves Muon and AdamW. PyTorch's own takes no convolutions.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Muon", "matrices_of", "orthogonal"]

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of x, x^3 and x^5: five rounds bring singular values from 0.01 to 1 close to 1."""
ROUNDS = 5
SCALE = 0.2
"""Root mean square of an update over the learning rate, near AdamW's."""
SMALLEST = 16
"""Rows and columns from which on a weight counts as a matrix."""


def orthogonal(matrices: Tensor) -> Tensor:
    """Brings the singular values of matrices (..., rows, columns) close to 1, their spaces kept.

    The rounds of Newton and Schulz are polynomials of the smaller Gram matrix, so they are taken
    there: 5 ms in place of 18 ms for 144 by 2592 on one core, equal to 3e-5.
    """
    wide = matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT
    gram = wide @ wide.mT
    size = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None].clamp(min=1e-30)
    gram = gram / size
    unit = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
    whole = unit * size.rsqrt()
    first, third, fifth = COEFFICIENTS
    for later in reversed(range(ROUNDS)):
        factor = first * unit + third * gram + fifth * (gram @ gram)
        whole = factor @ whole
        if later:
            gram = factor @ gram @ factor
    made = whole @ wide
    return made if wide is matrices else made.mT


class Muon(Optimizer):
    """Steps along momentum that was made orthogonal; weights of more than two axes are flattened.

    Args:
        matrices: Parameters of two axes or more.
        lr: Learning rate, a number or a scalar tensor.
        momentum: Share of the old momentum that a step keeps; Nesterov's form.
        weight_decay: Share of a weight, times the learning rate, that a step takes away.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float | Tensor,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Takes one step along the gradients that are there."""
        assert closure is None
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            alike: dict[tuple[int, ...], list[tuple[nn.Parameter, Tensor]]] = {}
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state: dict[str, Any] = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                mean: Tensor = state["momentum"]
                mean.lerp_(weight.grad, 1 - momentum)
                ahead = weight.grad.lerp(mean, momentum).flatten(1)
                alike.setdefault(tuple(ahead.shape), []).append((weight, ahead))
            for shape, members in alike.items():
                length = SCALE * max(shape) ** 0.5
                # Together: 180 small matrices one by one take 204 ms on a core, so 146.
                stepped = orthogonal(torch.stack([ahead for _, ahead in members]))
                for (weight, _), step in zip(members, stepped, strict=True):
                    weight.mul_(1 - rate * group["weight_decay"])
                    weight.sub_(step.reshape(weight.shape) * (rate * length))


def matrices_of(module: nn.Module) -> list[nn.Parameter]:
    """Lists what Muon is for: trained weights of some size that are no embeddings."""
    tables = {
        parameter
        for part in module.modules()
        if isinstance(part, nn.Embedding)
        for parameter in part.parameters()
    }
    return [
        weight
        for weight in module.parameters()
        if weight.requires_grad
        and weight not in tables
        and weight.ndim >= 2
        and min(weight.flatten(1).shape) >= SMALLEST
    ]
