from typing import Any

import pytest
import torch
from torch import nn

from scumble_bench.rooms.muon import COEFFICIENTS, ROUNDS, SCALE, Muon, matrices_of, orthogonal


def written_out(matrix: torch.Tensor) -> torch.Tensor:
    """The rounds as the paper has them, on the whole matrix."""
    first, third, fifth = COEFFICIENTS
    made = matrix / matrix.norm()
    for _ in range(ROUNDS):
        gram = made @ made.T
        made = first * made + (third * gram + fifth * gram @ gram) @ made
    return made


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (30, 30)])
def test_a_matrix_becomes_orthogonal_and_keeps_its_spaces(shape: tuple[int, int]):
    torch.manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(shape, dtype=torch.float64), False)
    values = torch.logspace(0, -1.5, len(values), dtype=torch.float64)
    made = orthogonal(left @ values.diag() @ right)
    inner = left.T @ made @ right.T
    assert float(inner.diag().min()) > 0.6
    assert float(inner.diag().max()) < 1.25
    assert float((inner - inner.diag().diag()).abs().max()) < 1e-12


def test_rounds_of_the_gram_matrix_are_those_of_the_matrix():
    torch.manual_seed(0)
    for scale in (1.0, 1e-6, 1e4):
        matrix = scale * torch.randn(20, 90)
        assert torch.allclose(orthogonal(matrix), written_out(matrix), atol=1e-4)
    assert not orthogonal(torch.zeros(20, 90)).any()


def test_matrices_together_are_what_each_is_alone():
    torch.manual_seed(0)
    for shape in ((3, 20, 50), (3, 50, 20)):
        stack = torch.randn(shape) * torch.tensor([1.0, 100.0, 0.01])[:, None, None]
        alone = torch.stack([orthogonal(one) for one in stack])
        assert torch.allclose(orthogonal(stack), alone, atol=1e-5)


def test_every_weight_takes_its_own_step():
    torch.manual_seed(0)
    start = [
        torch.randn(24, 6, 3, 3),
        torch.randn(24, 54),
        torch.randn(54, 24),
        torch.randn(24, 54),
    ]
    gradients = [torch.randn_like(one) for one in start]
    together = [nn.Parameter(one.clone()) for one in start]
    alone = [nn.Parameter(one.clone()) for one in start]
    for weight, other, gradient in zip(together, alone, gradients, strict=True):
        weight.grad, other.grad = gradient.clone(), gradient.clone()
    together[2].grad = None
    Muon(together, lr=0.1).step()
    for number in (0, 1, 3):
        Muon([alone[number]], lr=0.1).step()
        assert torch.allclose(together[number], alone[number], atol=1e-6)
    assert torch.equal(together[2], start[2])


def test_a_step_follows_nesterov_momentum_at_adams_size():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(24, 6, 3, 3))
    before, gradients = weight.detach().clone(), torch.randn(2, 24, 6, 3, 3)
    optimiser = Muon([weight], lr=0.01, momentum=0.9, weight_decay=0.1)
    wanted, mean = before, torch.zeros_like(before)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimiser.step()
        mean = 0.9 * mean + 0.1 * gradient
        ahead = (0.1 * gradient + 0.9 * mean).flatten(1)
        step = orthogonal(ahead).view_as(weight) * SCALE * 54**0.5
        wanted = wanted * (1 - 0.01 * 0.1) - 0.01 * step
    assert torch.allclose(weight, wanted, atol=1e-6)
    size = float(((weight.detach() - before) / 0.01).square().mean().sqrt())
    assert 0.2 < size < 0.5


def test_it_finds_what_gradients_of_very_different_sizes_lead_to():
    torch.manual_seed(0)
    wanted = torch.randn(16, 16)
    stretch = torch.logspace(0, -2, 16).diag()
    losses: list[float] = []
    kinds: tuple[Any, ...] = (Muon, lambda one, lr: torch.optim.SGD(one, lr, 0.95, dampening=0.95))
    for kind in kinds:
        weight = nn.Parameter(torch.zeros(16, 16))
        optimiser = kind([weight], lr=0.1)
        for _ in range(200):
            optimiser.zero_grad()
            loss = (stretch @ (weight - wanted)).square().sum()
            loss.backward()
            optimiser.step()
        losses.append(float((weight.detach() - wanted).square().mean()))
    assert losses[0] < 0.1 * losses[1]


def test_matrices_are_trained_weights_of_some_size_that_are_no_tables():
    module = nn.Sequential(
        nn.Embedding(40, 32), nn.Linear(32, 48), nn.Conv2d(8, 20, 3), nn.Conv2d(48, 4, 3)
    )
    frozen = nn.Linear(32, 32).requires_grad_(False)
    module.append(frozen)
    found = matrices_of(module)
    assert [tuple(weight.shape) for weight in found] == [(48, 32), (20, 8, 3, 3)]
