from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble import Editor
from scumble.ports import groups_of
from scumble_bench.latency.neutral_steps import WORDS, neutral_step
from scumble_bench.latency.variants import VARIANTS


@pytest.fixture(scope="module")
def editor(small: Path) -> Iterator[Editor]:
    with Editor.load(small, engine="torch", device="cpu") as loaded:
        yield loaded


def noise(editor: Editor, variant: str, rows: int = 3, **more: Any) -> np.ndarray:
    return neutral_step(editor, VARIANTS[variant], rows, **more)().noise


@pytest.mark.parametrize("variant", ["routed", "reading"])
def test_no_variant_changes_the_noise(editor: Editor, variant: str):
    plain = noise(editor, "plain")
    assert plain.shape == (3, 4, 16, 16)
    np.testing.assert_allclose(noise(editor, variant), plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_port_of_a_variant_is_fed(
    editor: Editor, variant: str, monkeypatch: pytest.MonkeyPatch
):
    fed: list[Any] = []
    monkeypatch.setattr(editor.session.engine, "step", fed.append)
    neutral_step(editor, VARIANTS[variant], 2)()
    assert groups_of(fed[0]) == set(VARIANTS[variant])


def test_the_reading_variant_reads_what_local_blend_would(editor: Editor):
    reads = neutral_step(editor, VARIANTS["reading"], 3)().reads
    ((stride, field),) = reads.items()
    assert stride == editor.session.info.sites.map_stride
    assert field.shape == (3, WORDS, 16, 16)
    assert (field > 0).all()


def test_the_size_is_of_the_picture(editor: Editor):
    assert noise(editor, "plain", rows=1, size=(16, 24)).shape == (1, 4, 8, 12)
