"""One model on one engine."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scumble.arrays import Indices
from scumble.embeddings import Embedding
from scumble.engine import Precision
from scumble.session import TEXTS, Session
from scumble.testing import FakeEngine, fake_session


class Counting(FakeEngine):
    encoded = 0

    def encode_text(self, *ids: Indices) -> Embedding:
        type(self).encoded += 1
        return super().encode_text(*ids)


def test_a_prompt_is_embedded_once(tmp_path: Path):
    session = fake_session(tmp_path, Counting)
    first = session.embed("a cat")
    assert session.embed("a cat") is first
    assert Counting.encoded == 1
    assert first.states.shape == (16, 8)
    assert first.pooled is None
    assert not np.array_equal(first.states, session.embed("a dog").states)


def test_a_long_session_keeps_the_latest_embeddings(tmp_path: Path):
    session = fake_session(tmp_path, Counting)
    for number in range(TEXTS + 1):
        session.embed(f"cat {number}")
        session.embed("a dog")  # asked for again and again
    before = Counting.encoded
    session.embed("a dog")
    session.embed(f"cat {TEXTS}")
    assert Counting.encoded == before
    session.embed("cat 0")
    assert Counting.encoded == before + 1


def test_rows_are_told_their_texts(session: Session):
    ports = session.text_ports(["a cat", "", "a cat"], (8, 8))
    assert set(ports) == {"text"}
    wanted = [session.embed(text).states for text in ("a cat", "", "a cat")]
    assert np.array_equal(ports["text"], np.stack(wanted))


def test_an_empty_prompt_is_zeros_where_the_model_says_so(tmp_path: Path):
    session = fake_session(tmp_path)
    assert session.embed("").states.any()
    zeroing = fake_session(tmp_path / "other")
    zeroing.checkpoint = replace(zeroing.checkpoint, zeroes_empty=True)
    assert not zeroing.embed("").states.any()
    assert np.array_equal(zeroing.embed("a cat").states, session.embed("a cat").states)


def test_rows_are_counted_by_variant(session: Session):
    ports = {
        "sample": np.zeros((3, 4, 8, 8)),
        "timestep": np.zeros(3, np.int64),
        "text": np.zeros((3, 16, 8)),
    }
    session.step(ports, "plain")
    session.step(ports, "plain")
    session.step(ports, "mix")
    assert session.rows == {"plain": 6, "mix": 3}


@pytest.mark.parametrize(("precision", "dtype"), [("fp64", np.float64), ("fp32", np.float32)])
def test_the_host_computes_in_the_engines_dtype(tmp_path: Path, precision: Precision, dtype: type):
    session = fake_session(tmp_path, precision=precision)
    assert session.embed("a cat").states.dtype == dtype
    other = np.float32 if dtype is np.float64 else np.float64
    noise = session.predict(np.zeros((4, 8, 8), other), 500, "a cat")
    assert noise.dtype == dtype


def test_handles_are_passed_on_as_they_are(tmp_path: Path):
    given: dict[str, object] = {}

    class Looking(FakeEngine):
        def _step(self, ports):
            given.update(ports)
            return super()._step({k: v for k, v in ports.items() if not k.startswith("source.")})

    session = fake_session(tmp_path, Looking)
    handle = object()
    states = {f"source.{s.path}": handle for s in session.info.sites if s.kind != "resnet"}
    ports = {
        "sample": np.zeros((1, 4, 8, 8)),
        "timestep": np.zeros(1, np.int64),
        "text": np.zeros((1, 16, 8)),
        "source.text": np.zeros((1, 16, 8)),
        **states,
    }
    with pytest.raises(Exception, match="replay"):
        session.step(ports, "replay")
    assert all(given[name] is handle for name in states)
