"""One model on one engine."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats, Indices
from scumble.embeddings import Embedding
from scumble.engine import Precision
from scumble.errors import EngineError, NumericalError
from scumble.session import TEXTS, Session
from scumble.source_memory import SourceMemory
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


def test_forgotten_texts_are_encoded_anew(session: Session):
    first = session.embed("a cat")
    session.forget_texts()
    again = session.embed("a cat")
    assert again is not first
    np.testing.assert_array_equal(again.states, first.states)


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


class TestLook:
    LATENT = np.random.default_rng(2).standard_normal((4, 8, 8))
    WEIGHTS = np.random.default_rng(3).random((2, 16))

    @pytest.mark.parametrize(("sites", "side"), [((0, 2), 8), ((1,), 4)])
    def test_it_is_the_read_of_a_step(self, session: Session, sites: tuple[int, ...], side: int):
        found = session.look(self.LATENT, 321, "a red cat", self.WEIGHTS, sites)
        assert found.shape == (2, side, side)
        ports = {
            "sample": self.LATENT[None],
            "timestep": np.array([321]),
            "text": session.embed("a red cat").states[None],
            "read.weights": self.WEIGHTS[None],
            "read.sites": np.isin(np.arange(3), sites).astype(float),
        }
        (wanted,) = session.engine.step(ports).reads.values()
        np.testing.assert_array_equal(found, wanted[0])
        assert session.rows == {"look": 1}

    def test_it_asks_the_engine_for_maps_alone(self, tmp_path: Path):
        """An engine that can ends at the last of them."""

        class Short(FakeEngine):
            def look(self, ports: Mapping[str, object]) -> dict[int, Floats]:
                given.update(ports)
                return {1: np.full((1, 2, 8, 8), 0.25)}

        given: dict[str, Any] = {}
        session = fake_session(tmp_path, Short, precision="fp32")
        found = session.look(self.LATENT, 321, "a", self.WEIGHTS, (0,))
        np.testing.assert_array_equal(found, np.full((2, 8, 8), 0.25))
        assert given["sample"].dtype == given["read.weights"].dtype == np.float32

    def test_maps_that_are_no_numbers(self, tmp_path: Path):
        class Broken(FakeEngine):
            def look(self, ports: Mapping[str, object]) -> dict[int, Floats]:
                return {1: super().look(ports)[1] * np.nan}

        with pytest.raises(NumericalError, match="attention maps at timestep 321"):
            fake_session(tmp_path, Broken).look(self.LATENT, 321, "a", self.WEIGHTS, (0,))


class TestGradientsOfAnother:
    def test_a_session_has_its_own(self, session: Session):
        assert session.gradients is session

    def test_rows_of_both_are_counted_together(self, session: Session, guided: Session):
        session.take_gradients_from(guided)
        guided.predict(np.zeros((4, 8, 8)), 500, "a cat")
        session.predict(np.zeros((4, 8, 8)), 500, "a cat")
        assert session.gradients is guided
        assert session.rows == {"plain": 2}
        session.rows.clear()
        assert not guided.rows

    def test_both_are_closed_and_may_be_closed_again(self, session: Session, guided: Session):
        session.take_gradients_from(guided)
        for _ in range(2):
            session.close()
        for each in (session, guided):
            with pytest.raises(EngineError, match="no model"):
                each.predict(np.zeros((4, 8, 8)), 500, "a cat")

    def test_closing_forgets_recorded_sources(self, session: Session):
        session.sources = SourceMemory(session.engine, 1 << 20)
        session.sources.record("a", 0, {"source.x": np.zeros((1, 64, 8))})
        assert session.sources.size
        session.close()
        assert not session.sources.size


class TestSeveralRows:
    LATENTS = np.random.default_rng(4).standard_normal((3, 4, 8, 8))

    def test_each_is_what_it_is_alone(self, session: Session):
        texts = ["a red cat", session.embedding(np.full((16, 8), 0.5), ""), "a red cat"]
        timesteps = np.array([900, 20, 500])
        found = session.predict_rows(self.LATENTS, timesteps, texts)
        assert session.rows == {"plain": 3}
        for row in range(3):
            one = slice(row, row + 1)
            alone = session.predict_rows(self.LATENTS[one], timesteps[one], [texts[row]])
            np.testing.assert_allclose(found[row], alone[0], atol=1e-12)
        np.testing.assert_array_equal(
            session.predict(self.LATENTS[1], 20, "a dog"),
            session.predict_rows(self.LATENTS[1:2], timesteps[1:2], ["a dog"])[0],
        )

    def test_numbers_that_are_none_are_named_by_their_timesteps(self, session: Session):
        spoiled = self.LATENTS * np.nan
        with pytest.raises(NumericalError, match="at timestep 900 to 500"):
            session.predict_rows(spoiled, np.array([900, 20, 500]), ["a"] * 3)
        with pytest.raises(NumericalError, match="at timestep 900 holds"):
            session.predict_rows(spoiled[:1], np.array([900]), ["a"])

    def test_states_of_no_prompt_are_pooled_as_one_is(self, tmp_path: Path):
        session = fake_session(tmp_path, precision="fp32")
        states = np.ones((16, 8))
        made = session.embedding(states, "a dog")
        assert made.states.dtype == np.float32
        assert made.pooled is session.embed("a dog").pooled
