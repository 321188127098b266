import pytest

from scumble_bench.latency.limits.operators import COUNTED


@pytest.mark.parametrize(
    ("operator", "given", "out", "attributes", "flops"),
    [
        # 2 products of 3x4 by 4x5: 2 * 3 * 5 sums of 4 products and 4 additions.
        ("MatMul", [(2, 3, 4), (4, 5)], (2, 3, 5), {}, 2 * 30 * 4),
        ("Gemm", [(3, 4), (4, 5), (5,)], (3, 5), {}, 2 * 15 * 4),
        ("Gemm", [(4, 3), (4, 5)], (3, 5), {"transA": 1}, 2 * 15 * 4),
        # Each of 8 x 6 x 6 numbers sums over 4 channels of a 3x3 window.
        ("Conv", [(1, 4, 6, 6), (8, 4, 3, 3)], (1, 8, 6, 6), {}, 2 * 8 * 36 * 4 * 9),
        # In two groups each sums over half of the channels.
        ("Conv", [(1, 4, 6, 6), (8, 2, 3, 3)], (1, 8, 6, 6), {}, 2 * 8 * 36 * 2 * 9),
        # Each of 4 x 6 x 6 numbers goes to 8 channels of a 2x2 window.
        ("ConvTranspose", [(1, 4, 6, 6), (4, 8, 2, 2)], (1, 8, 12, 12), {}, 2 * 4 * 36 * 8 * 4),
        # 2 rows, 3 heads: 5 queries by 7 keys of width 4, then 5 x 7 by values of width 6.
        (
            "Attention",
            [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)],
            (2, 3, 5, 6),
            {},
            2 * 2 * 3 * 5 * 7 * (4 + 6),
        ),
        # The same with heads side by side.
        (
            "Attention",
            [(2, 5, 12), (2, 7, 12), (2, 7, 18)],
            (2, 5, 18),
            {"q_num_heads": 3, "kv_num_heads": 3},
            2 * 2 * 3 * 5 * 7 * (4 + 6),
        ),
        # Two heads share one key and value, and each is multiplied.
        (
            "Attention",
            [(1, 5, 8), (1, 7, 4), (1, 7, 4)],
            (1, 5, 8),
            {"q_num_heads": 2, "kv_num_heads": 1},
            2 * 2 * 5 * 7 * (4 + 4),
        ),
        # Three keys of an earlier call stand before the seven given.
        (
            "Attention",
            [(1, 1, 5, 4), (1, 1, 7, 4), (1, 1, 7, 4), (), (1, 1, 3, 4)],
            (1, 1, 5, 4),
            {},
            2 * 5 * 10 * 8,
        ),
    ],
)
def test_flops_are_those_counted_by_hand(
    operator: str,
    given: list[tuple[int, ...]],
    out: tuple[int, ...],
    attributes: dict[str, int],
    flops: int,
):
    assert COUNTED[operator](given, out, attributes) == flops
