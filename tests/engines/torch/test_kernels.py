"""What is computed in which precision, whatever the values are held in."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scumble_engines.torch.kernels import look, times_values


def random_heads(cells: int, depth: int, dtype: torch.dtype, gain: float = 1.0) -> Tensor:
    return (torch.randn(2, 3, cells, depth) * gain).to(dtype)


KERNELS = [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_softmax_of_torchs_kernels_is_in_fp32(kernel: SDPBackend):
    """4096 even probabilities add up to 1; in bf16 a sum of ones would stop at 256."""
    even = torch.zeros(1, 1, 4096, 8, dtype=torch.bfloat16)
    q, k, v = (random_heads(cells, 8, torch.bfloat16, 3) for cells in (64, 4096, 4096))
    with sdpa_kernel(kernel):
        assert torch.equal(F.scaled_dot_product_attention(even, even, even + 1), even + 1)
        found = F.scaled_dot_product_attention(q, k, v).double()
    wanted = (q.double() @ k.double().transpose(-1, -2) * 8**-0.5).softmax(-1) @ v.double()
    assert (found - wanted).abs().max() < 2**-7 * wanted.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_mix_is_multiplied_in_fp32(dtype: torch.dtype):
    """Rounded once, when it becomes values: 40 products of a matrix that half cannot hold."""
    matrix, values = torch.rand(2, 1, 40, 40), random_heads(40, 8, dtype)
    found = times_values(matrix, values)
    assert found.dtype == dtype
    wanted = matrix.double() @ values.double()
    rounding = torch.finfo(dtype).eps * wanted.abs() + 1e-5
    assert ((found.double() - wanted).abs() <= rounding).all()
    in_half = (matrix.to(dtype) @ values).double()
    assert not ((in_half - wanted).abs() <= rounding).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_are_read_in_fp32(dtype: torch.dtype):
    """Also where scores are far beyond what fp16 holds, as those of SD 2.1 are."""
    for gain, bound in ((1, 1e-6), (300, 0.05)):
        q, k = random_heads(64, 8, dtype, gain), random_heads(40, 8, dtype, gain)
        weights = torch.rand(2, 40, 3)
        found = look(q, k, weights)
        assert found.dtype == torch.float32
        scores = q.double() @ k.double().transpose(-1, -2) * 8**-0.5
        wanted = scores.softmax(-1).mean(1) @ weights.double()
        assert (found.double() - wanted).abs().max() < bound
        assert (scores.abs().max() > torch.finfo(torch.float16).max) == (gain > 1)
