"""What happens to a run whose engine gives NaN, or has no memory left."""

import gc
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.arrays import Floats, Indices
from scumble.editor import Editor
from scumble.embeddings import Embedding
from scumble.engine import EngineSettings, Precision, StepOutput
from scumble.errors import NumericalError, OutOfMemoryError, ScumbleError, UnsupportedError
from scumble.ports import PortSizes, neutral
from scumble.recovery import Recovery
from scumble.requests import EngineRequest
from scumble.session import Session
from scumble.testing import FakeEngine, fake_checkpoint
from scumble.testing.fake_engine import CHANNELS, FEATURES, SITES, TOKENS

SIZES = PortSizes((CHANNELS, 8, 8), TOKENS, FEATURES, SITES)
Ports = dict[str, Any]


# Split steps round differently: BLAS picks its kernel by the number of rows, and by the machine.
# In float64 that is no more than this, and one row's key in place of another's is far more.
ROUNDING = 1e-12


class Faulty(FakeEngine):
    """An engine whose calls go through what a test puts in the way; it computes in float64."""

    @property
    def dtype(self) -> type[np.floating]:
        """float64, whatever precision the recovery is told of."""
        return np.float64

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self.after: Callable[[StepOutput], StepOutput] = lambda output: output
        self.memory: float = np.inf
        self.cached = 0
        self.sizes: list[int] = []
        self.most: int | None = None
        self.has_wider = False
        self.for_weights = 0
        self.wide = False

    @property
    def most_rows(self) -> int | None:
        return self.most

    def need(self, amount: int) -> None:
        """Take memory for a call: a row takes 1, a picture or a text too."""
        if amount + self.cached + self.wide * self.for_weights > self.memory:
            raise OutOfMemoryError(f"no memory for {amount}.")

    def trim(self) -> None:
        self.cached = 0

    def widened(self) -> Any:
        return self._widened() if self.has_wider else None

    @contextmanager
    def _widened(self) -> Iterator[Precision]:
        self.need(self.for_weights)
        self.wide = True
        try:
            yield "fp32"
        finally:
            self.wide = False

    def encode_text(self, *ids: Indices) -> Embedding:
        self.need(1)
        return super().encode_text(*ids)

    def encode_image(self, pixels: Floats) -> Floats:
        self.need(1)
        return super().encode_image(pixels)

    def decode(self, latents: Floats) -> Floats:
        self.need(1)
        return super().decode(latents)

    def _step(self, ports: Mapping[str, Any]) -> StepOutput:
        rows = len(ports["sample"])
        self.sizes.append(rows)
        self.need(rows)
        output = super()._step(ports)
        return output if self.wide else self.after(output)


@pytest.fixture
def engine(tmp_path: Path) -> Faulty:
    loaded = Faulty(EngineSettings("bf16"))
    loaded.load(fake_checkpoint(tmp_path))
    return loaded


def step_ports(rows: int = 4, *groups: Any) -> Ports:
    rng = np.random.default_rng(1)
    ports: Ports = {
        "sample": rng.standard_normal((rows, CHANNELS, 8, 8)).astype(np.float32),
        "timestep": np.full(rows, 481),
        "text": rng.standard_normal((rows, TOKENS, FEATURES)).astype(np.float32),
    }
    for group in groups:
        ports |= neutral(group, SIZES, rows)
    if "read" in groups:
        ports["read.weights"] = rng.random((rows, 1, TOKENS))
        ports["read.sites"] = np.array([1.0, 0, 1])
    return ports


def states(found: Any) -> Any:
    """The array of what an engine's call gives."""
    return found.states if isinstance(found, Embedding) else found


def with_nan(field: Floats) -> Floats:
    broken = field.copy()
    broken.flat[-1] = np.nan
    return broken


def in_recorded(output: StepOutput) -> StepOutput:
    name = next(iter(output.recorded))
    state = with_nan(np.asarray(output.recorded[name]))
    return replace(output, recorded={**output.recorded, name: state})


def in_reads(output: StepOutput) -> StepOutput:
    return replace(output, reads={s: field / 0 for s, field in output.reads.items()})


BROKEN: dict[str, tuple[Callable[[StepOutput], StepOutput], str]] = {
    "noise": (lambda o: replace(o, noise=with_nan(o.noise)), "the noise holds 1 values that"),
    "read": (in_reads, "the read at stride 1 holds 256 values that"),
    "record": (in_recorded, "the recorded source state holds NaN or Inf"),
}


def one_sentence(error: pytest.ExceptionInfo[ScumbleError]) -> str:
    text = str(error.value)
    assert text.endswith(".")
    assert ". " not in text
    return text


# NaN and Inf


@pytest.mark.parametrize("what", BROKEN)
def test_a_step_that_gives_nan_ends_the_run_with_what_and_where(engine: Faulty, what: str):
    engine.after, said = BROKEN[what]
    with (
        np.errstate(divide="ignore", invalid="ignore"),
        pytest.raises(NumericalError, match=f"^{said}") as error,
    ):
        Recovery(engine).step(step_ports(4, "read", "record"), "step 12")
    text = one_sentence(error)
    assert " at step 12;" in text
    assert "load the model with precision fp32" in text


@pytest.mark.parametrize("what", BROKEN)
def test_it_is_repeated_once_where_there_is_a_higher_precision(engine: Faulty, what: str):
    wanted = engine.step(step_ports(4, "read", "record"))
    engine.after, engine.has_wider = BROKEN[what][0], True
    recovery = Recovery(engine)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = recovery.step(step_ports(4, "read", "record"), "step 12")
    assert np.array_equal(found.noise, wanted.noise)
    assert np.array_equal(found.reads[1], wanted.reads[1])
    assert recovery.rows == 8
    assert not engine.wide
    (note,) = recovery.notes
    assert note.startswith("bf16 gave NaN or Inf at step 12; repeated in fp32, ")


def test_repeats_are_told_in_one_note(engine: Faulty):
    engine.after, engine.has_wider = BROKEN["noise"][0], True
    recovery = Recovery(engine)
    for index in range(3):
        recovery.step(step_ports(), f"step {index}")
    (note,) = recovery.notes
    assert "at step 0 and 2 more;" in note
    recovery.begin()
    assert recovery.notes == ()


def test_nan_in_the_higher_precision_too_ends_the_run(engine: Faulty):
    engine.has_wider = True
    calls: list[bool] = []
    step = engine._step

    def always(ports: Mapping[str, Any]) -> StepOutput:
        calls.append(engine.wide)
        output = step(ports)
        return replace(output, noise=np.full_like(output.noise, np.inf))

    engine._step = always  # type: ignore[method-assign]
    recovery = Recovery(engine)
    with pytest.raises(NumericalError, match="when repeated in fp32 too") as error:
        recovery.step(step_ports(), "step 3")
    assert "precision fp32" not in one_sentence(error)
    assert calls == [False, True]
    assert recovery.notes == ()


@pytest.mark.parametrize(
    ("memory", "cached", "weights", "enough"),
    [(6, 2, 3, True), (8, 4, 5, True), (8, 0, 8, False), (3, 0, 4, False)],
)
def test_the_repeat_gets_what_memory_there_is(
    engine: Faulty, memory: int, cached: int, weights: int, enough: bool
):
    """In the higher precision the weights take room beside the four rows."""
    wanted = engine.step(step_ports())
    engine.after, engine.has_wider = BROKEN["noise"][0], True
    engine.memory, engine.cached, engine.for_weights = memory, cached, weights
    recovery = Recovery(engine)
    if enough:
        found = recovery.step(step_ports(), "step 1")
        assert np.abs(found.noise - wanted.noise).max() < ROUNDING
        assert engine.cached == 0
    else:
        with pytest.raises(NumericalError, match="at step 1, and memory is too short") as error:
            recovery.step(step_ports(), "step 1")
        one_sentence(error)
    assert not engine.wide


@pytest.mark.parametrize("name", ["sample", "text", "mix.own"])
def test_nan_that_was_fed_is_blamed_on_its_port_and_not_repeated(engine: Faulty, name: str):
    engine.has_wider = True
    ports = step_ports(4, "mix")
    ports["mix.sites"] += 1
    ports[name] = with_nan(ports[name])
    with pytest.raises(NumericalError, match=f"^port '{name}' at step 0 holds 1 values"):
        Recovery(engine).step(ports, "step 0")
    assert engine.sizes == [4]


@pytest.mark.parametrize(
    ("method", "given", "what"),
    [
        ("encode_text", np.zeros((1, 16), np.int64), "the embedding of the text"),
        ("encode_image", np.zeros((1, 3, 64, 64)), "the latent of the picture"),
        ("decode", np.zeros((1, 4, 8, 8)), "the decoded picture"),
    ],
)
def test_text_and_pictures_are_looked_at_too(
    engine: Faulty, method: str, given: Any, what: str, monkeypatch: pytest.MonkeyPatch
):
    recovery = Recovery(engine)
    original = getattr(engine, method)
    assert np.array_equal(states(getattr(recovery, method)(given)), states(original(given)))

    def broken(value: Any) -> Any:
        found = with_nan(states(original(value)))
        return Embedding(found) if method == "encode_text" else found

    monkeypatch.setattr(engine, method, broken)
    with pytest.raises(NumericalError, match=f"^{what} holds 1 values that are not finite") as e:
        getattr(recovery, method)(given)
    one_sentence(e)


def test_a_latent_that_is_not_finite_is_not_decoded(engine: Faulty):
    with pytest.raises(NumericalError, match=r"^the latent to be decoded holds 1 values"):
        Recovery(engine).decode(with_nan(np.zeros((1, 4, 8, 8))))


def test_the_advice_fits_the_precision(engine: Faulty, tmp_path: Path):
    fine = Faulty(EngineSettings("fp32"))
    fine.load(fake_checkpoint(tmp_path))
    fine.after = BROKEN["noise"][0]
    with pytest.raises(NumericalError) as error:
        Recovery(fine).step(step_ports(), "step 1")
    assert "precision fp32" not in one_sentence(error)


# Memory


def test_what_is_cached_goes_first(engine: Faulty):
    wanted = engine.step(step_ports())
    released: list[int] = []
    engine.memory, engine.cached = 4, 2
    recovery = Recovery(engine, lambda: released.append(engine.cached))
    found = recovery.step(step_ports(), "step 0")
    assert np.array_equal(found.noise, wanted.noise)
    assert released == [2], "the host's cache was not freed once"
    assert engine.sizes[1:] == [4, 4]
    assert recovery.rows == 4
    assert recovery.notes == ("memory ran out: what was cached was freed, and the call repeated.",)


@pytest.mark.parametrize("memory", [1, 2, 3, 5])
def test_then_a_step_runs_in_parts(engine: Faulty, memory: int):
    ports = step_ports(5, "read", "mix")
    wanted = engine.step(ports)
    engine.memory = memory
    recovery = Recovery(engine)
    found = recovery.step(ports, "step 0")
    assert np.abs(found.noise - wanted.noise).max() < ROUNDING
    assert np.abs(found.reads[1] - wanted.reads[1]).max() < ROUNDING
    # What was learned holds for the steps that follow, so that memory runs out once and not often.
    before = len(engine.sizes)
    recovery.step(ports, "step 1")
    assert max(engine.sizes[before:]) <= memory
    assert (len(recovery.notes) == 2) == (memory < 5)
    if memory < 5:
        assert f"parts of at most {min(memory, 3)} rows" in recovery.notes[1]


def test_the_limit_gives_way_to_what_a_step_needs(engine: Faulty):
    engine.memory = 1
    recovery = Recovery(engine)
    recovery.step(step_ports(4), "step 0")
    engine.memory = 3
    ports = step_ports(4, "route")
    ports["route"][:, :, 1] = 0
    recovery.step(ports, "step 1")
    assert engine.sizes[-2:] == [2, 2]


def test_then_the_run_ends(engine: Faulty):
    engine.memory = 1
    ports = step_ports(4, "route")
    ports["route"][:, :, 3] = 0
    with pytest.raises(OutOfMemoryError, match=r"at step 7, .* no more than 2 rows at once") as e:
        Recovery(engine).step(ports, "step 7")
    one_sentence(e)
    engine.memory = 0
    with pytest.raises(OutOfMemoryError, match="no more than 1 row at once") as e:
        Recovery(engine).step(step_ports(4), "step 7")


def test_the_error_that_is_overcome_holds_nothing(engine: Faulty):
    """A traceback keeps the tensors of the frames it names; the call is repeated without it."""

    class Tensor:
        pass

    alive: list[weakref.ref[Tensor]] = []
    seen: list[bool] = []

    def need(amount: int) -> None:
        seen.append(any(one() is not None for one in alive))
        taken = Tensor()
        alive.append(weakref.ref(taken))
        if amount > 2:
            raise OutOfMemoryError("no.")

    engine.need = need  # type: ignore[method-assign]
    gc.disable()
    try:
        Recovery(engine).step(step_ports(4), "step 0")
    finally:
        gc.enable()
    assert engine.sizes == [4, 4, 2, 2]
    assert seen == [False] * 4


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("encode_text", np.zeros((1, 16), np.int64)),
        ("encode_image", np.zeros((1, 3, 64, 64))),
        ("decode", np.zeros((1, 4, 8, 8))),
    ],
)
def test_text_and_pictures_get_the_memory_that_was_cached(engine: Faulty, method: str, given: Any):
    wanted = getattr(engine, method)(given)
    engine.memory, engine.cached = 2, 2
    recovery = Recovery(engine)
    assert np.array_equal(states(getattr(recovery, method)(given)), states(wanted))
    assert engine.cached == 0
    engine.memory = 0
    with pytest.raises(OutOfMemoryError, match=r"^memory ran out in \w+ing the \w+,") as error:
        getattr(recovery, method)(given)
    one_sentence(error)


def test_other_errors_pass(engine: Faulty):
    with pytest.raises(ScumbleError, match="'sample'"):
        Recovery(engine).step({**step_ports(), "sample": np.zeros((0, 4, 8, 8))}, "step 0")


# Engines that take few rows


@pytest.mark.parametrize("rows", [1, 8, 9, 20])
def test_more_rows_than_an_engine_takes_are_split(engine: Faulty, rows: int):
    ports = step_ports(rows, "route")
    ports["route"][:, :2, 1:] = 0
    wanted = engine.step(ports)
    engine.most = 8
    recovery = Recovery(engine)
    found = recovery.step(ports, "step 0")
    assert np.abs(found.noise - wanted.noise).max() < ROUNDING
    assert max(engine.sizes[1:]) <= 8
    assert recovery.notes == (), "that is no trouble"


def test_a_row_that_needs_more_than_an_engine_takes_says_so(engine: Faulty):
    ports = step_ports(4, "feature")
    ports["feature_route"][:, 3] = [0, 1]
    engine.most = 2
    with pytest.raises(UnsupportedError, match="depends on 2 others and 2 rows are the most"):
        Recovery(engine).step(ports, "step 0")


# Whole runs


class Runs:
    """Edits of one picture on one session, which trouble befalls at the k-th step."""

    def __init__(self, folder: Path, picture: Any) -> None:
        self.engine = Faulty(EngineSettings("bf16"))
        self.editor = Editor(Session(fake_checkpoint(folder), self.engine), EngineRequest())
        self.picture = picture
        self.notes: tuple[str, ...] = ()

    def edit(self) -> dict[int, Floats]:
        run = self.editor.edit(
            self.picture,
            source="a cat in a room",
            target=["a dog in a room", "a red cat in a room", "a bird in a room"],
            steps=4,
            options={"blend_words": "cat"},
        )
        self.notes = run.notes
        return run.latents

    def steps(self) -> int:
        """How many steps an edit takes."""
        before = len(self.engine.sizes)
        self.edit()
        return len(self.engine.sizes) - before

    def trouble(self, at: int, change: Callable[[], object]) -> None:
        """Change something when the k-th step from now begins."""
        need, begun = Faulty.need, len(self.engine.sizes)

        def counted(amount: int) -> None:
            if len(self.engine.sizes) == begun + at:
                change()
            need(self.engine, amount)

        self.engine.need = counted  # type: ignore[method-assign]

    def over(self) -> None:
        self.engine.memory = np.inf
        self.engine.after = lambda output: output
        del self.engine.need


@pytest.fixture
def runs(tmp_path: Path, picture: Any) -> Runs:
    return Runs(tmp_path, picture)


def same(found: Mapping[int, Floats], wanted: Mapping[int, Floats]) -> bool:
    return found.keys() == wanted.keys() and all(
        bool(np.abs(found[picture] - wanted[picture]).max() < 1e-4) for picture in wanted
    )


def test_memory_that_runs_out_at_any_step_is_overcome(runs: Runs):
    wanted, steps = runs.edit(), runs.steps()
    assert max(runs.engine.sizes) > 2
    for at in range(1, steps + 1):
        runs.trouble(at, lambda: setattr(runs.engine, "memory", 2))
        assert same(runs.edit(), wanted)
        assert max(runs.engine.sizes[-1:]) <= 2
        runs.over()
        assert same(runs.edit(), wanted)
        assert runs.notes == ()


def test_a_run_that_gives_up_leaves_the_next_alone(runs: Runs):
    wanted, steps = runs.edit(), runs.steps()
    for at in (1, steps // 2, steps):
        runs.trouble(at, lambda: setattr(runs.engine, "memory", 0))
        with pytest.raises(OutOfMemoryError, match=r"^memory ran out at "):
            runs.edit()
        runs.over()
        assert same(runs.edit(), wanted)
        assert runs.engine.sizes[-1] > 2


def test_nan_at_any_step_is_overcome_or_ends_the_run(runs: Runs):
    wanted, steps = runs.edit(), runs.steps()
    for at in range(1, steps + 1):
        for wider in (True, False):
            runs.engine.has_wider = wider
            runs.trouble(at, lambda: setattr(runs.engine, "after", BROKEN["noise"][0]))
            if wider:
                assert same(runs.edit(), wanted)
                assert "gave NaN or Inf" in runs.notes[0]
            else:
                with pytest.raises(NumericalError, match="the noise holds 1 values"):
                    runs.edit()
            runs.over()
            assert same(runs.edit(), wanted)
