"""A picture that was seen is not run again, exactly, and within a budget."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.controls import (
    Branch,
    Read,
    Region,
    Route,
)
from scumble.editor import Editor
from scumble.engine import EngineSettings
from scumble.errors import EngineError, OptionError, OutOfMemoryError
from scumble.hookspecs import Trajectory, hookimpl
from scumble.host import Host
from scumble.pipeline import Pipeline
from scumble.plans import Plan
from scumble.plugins import NoOptions, Plugin
from scumble.ports import Group
from scumble.requests import EditRequest, EngineRequest, SamplingRequest
from scumble.session import Session
from scumble.source_memory import SourceMemory, trajectory_key
from scumble.testing import fake_checkpoint
from scumble.testing.fake_engine import FakeEngine

STEPS = 6
SOURCE, TARGET = "a red cat on a sofa", "a blue cat on a sofa"
WINDOWS = {"cross_window": 0.5, "self_window": 0.5}


class Loud(FakeEngine):
    """Counts every row that really runs."""

    rows = 0

    def _step(self, ports: Any) -> Any:
        Loud.rows += len(ports["sample"])
        return super()._step(ports)


def picture(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


def loaded(
    folder: Path, budget: int = 1 << 30, disk: Path | None = None, kind: Any = Loud
) -> Editor:
    checkpoint = fake_checkpoint(folder)
    engine = kind(EngineSettings(precision="fp64"))
    return Editor(Session(checkpoint, engine, budget=budget, folder=disk), EngineRequest())


def edit(editor: Editor, image: Any = None, target: Any = TARGET, **settings: Any) -> Any:
    given = {"options": WINDOWS, "steps": STEPS, "source": SOURCE, **settings}
    return editor.edit(picture() if image is None else image, target=target, **given)


@pytest.fixture
def editor(tmp_path: Path) -> Editor:
    return loaded(tmp_path)


def test_the_next_edit_runs_its_own_rows_only(editor: Editor, tmp_path: Path):
    first = edit(editor)
    assert first.rows["inversion"] == STEPS
    assert first.row_count == STEPS + 3 * 3 + 3 * 2
    Loud.rows = 0
    again = edit(editor, target="a green cat on a sofa")
    # Two rows a step; at the probe nothing, for each group was probed once, but for replay.
    assert again.row_count == 2 * STEPS
    assert "inversion" not in again.rows
    fresh = edit(loaded(tmp_path / "other", budget=0), target="a green cat on a sofa")
    np.testing.assert_allclose(again.latents[1], fresh.latents[1], rtol=0, atol=1e-9)
    assert fresh.row_count == first.row_count
    assert np.abs(again.latents[1] - first.latents[1]).max() > 1e-3


def test_a_longer_window_records_what_was_missing(editor: Editor):
    edit(editor)
    longer = {"cross_window": 1.0, "self_window": 0.5}
    assert edit(editor, options=longer).row_count == 3 * 2 + 3 * 3
    assert edit(editor, options=longer).row_count == 6 * 2


def test_prepared_pictures_cost_two_rows_a_step_from_the_first_edit(editor: Editor):
    made = editor.prepare(picture(), SOURCE, steps=STEPS)
    assert sum(made.rows.values()) == 2 * STEPS
    assert made.steps == STEPS
    assert made.bytes == editor.session.sources.size > 0
    assert editor.prepare(picture(), SOURCE, steps=STEPS).rows == {}
    whole = {"cross_window": 1.0, "self_window": 1.0}
    run = edit(editor, options=whole)
    assert run.row_count == 2 * STEPS
    assert all("replay" in variant for variant in run.rows)


@pytest.mark.parametrize(
    "other",
    [
        {"image": picture(1)},
        {"source": "a red dog on a sofa"},
        {"steps": STEPS + 1},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_the_source_depends_on_is_not_confused(editor: Editor, other: dict[str, Any]):
    edit(editor)
    found = edit(editor, **other)
    assert "inversion" in found.rows
    assert not any("replay" in variant for variant in found.rows)


def test_guidance_and_seed_count_for_the_inversion_alone(editor: Editor):
    """Under direct inversion they do not change the latents, so the recorded rows serve."""
    edit(editor)
    found = edit(editor, guidance=3.0)
    assert found.rows["inversion"] == STEPS
    assert found.row_count == 3 * STEPS


def test_a_free_source_is_not_recorded(editor: Editor):
    first, again = (edit(editor, inversion="ddim") for _ in range(2))
    assert not any("replay" in v or "record" in v for v in (*first.rows, *again.rows))
    assert "inversion" not in again.rows
    np.testing.assert_array_equal(first.latents[1], again.latents[1])
    with pytest.raises(OptionError, match="'ddim' lets the source row run freely"):
        editor.prepare(picture(), SOURCE, steps=STEPS, inversion="ddim")


def test_without_memory_nothing_is_kept(tmp_path: Path):
    editor = loaded(tmp_path, budget=0)
    runs = [edit(editor) for _ in range(2)]
    assert runs[0].rows == runs[1].rows
    assert not any("record" in variant for variant in runs[0].rows)
    assert editor.session.sources.size == 0
    with pytest.raises(OptionError, match="source_memory 0"):
        editor.prepare(picture(), SOURCE)


CURRENT: dict[str, Any] = {"inversion_options": {"convention": "current"}}


class Lying(Plugin):
    """Asks for the source's row at latents that its trajectory then does not have."""

    @hookimpl
    def scumble_invert(self, run: Any) -> Trajectory:
        """Return other levels than the UNet saw, but for that of step 2."""
        levels = np.stack([run.image + level for level in range(run.steps + 1)])
        for step in range(run.steps):
            run.predict_source(levels[step] + 1e-9 * (step != 2), step)
        return Trajectory(levels, pinned=True)


class NoRecord(Loud):
    """An engine that records nothing."""

    def supports(self, groups: frozenset[Group]) -> bool:
        """Return False for recording and replay."""
        return not groups & {"record", "replay"}


class TestInversionsThatRunTheSourceRow:
    """Told the timestep that a latent is at, an inversion computes what the source row would."""

    def test_the_first_edit_replays_what_was_inverted(self, editor: Editor, tmp_path: Path):
        Loud.rows = 0
        first = edit(editor, **CURRENT)
        # The noisiest level is where the inversion ends: there alone the source row has to run.
        assert first.rows["inversion"] == STEPS
        assert first.row_count == STEPS + 3 + 2 * (STEPS - 1)
        fresh = edit(loaded(tmp_path / "other", budget=0), **CURRENT)
        assert fresh.row_count == STEPS + 3 * 3 + 2 * 3
        np.testing.assert_allclose(first.latents[1], fresh.latents[1], rtol=0, atol=1e-9)
        again = edit(editor, target="a green cat on a sofa", **CURRENT)
        assert again.row_count == 2 * STEPS

    def test_prepared_pictures_need_one_more_row(self, editor: Editor):
        made = editor.prepare(picture(), SOURCE, steps=STEPS, **CURRENT)
        assert sum(made.rows.values()) == STEPS + 1
        assert made.steps == STEPS

    def test_the_usual_convention_computes_something_else(self, editor: Editor):
        assert edit(editor).row_count == STEPS + 3 * 3 + 2 * 3

    def test_what_was_computed_from_other_latents_is_not_taken(self, editor: Editor):
        request = EditRequest(source=SOURCE, targets=(TARGET,), steps=STEPS)
        pipeline = Pipeline(
            editor.session, request, (SOURCE, TARGET), frozenset({1}), Host(()),
            Host.of(lying=Lying(NoOptions())), ahead=True,
        )  # fmt: skip
        pipeline.read(picture())
        finished = pipeline.finish()
        replayed = [n for variant, n in finished.rows.items() if "replay" in variant]
        assert finished.rows["inversion"] == STEPS
        assert replayed == []
        assert editor.session.sources._aside == {}
        # Recorded ahead at every step but the one that was known.
        recorded = sum(n for variant, n in finished.rows.items() if "record" in variant)
        assert recorded == 3 * (STEPS - 1)

    def test_a_free_source_takes_nothing(self, editor: Editor):
        run = edit(editor, inversion="ddim", **CURRENT)
        assert not any("replay" in variant for variant in run.rows)

    def test_an_engine_that_records_nothing_runs_it_again(self, tmp_path: Path):
        run = edit(loaded(tmp_path, kind=NoRecord), **CURRENT)
        assert run.row_count == STEPS + 3 * 3 + 2 * 3

    def test_unreduced_runs_take_nothing(self, editor: Editor):
        pipeline = Pipeline(
            editor.session, EditRequest(source=SOURCE, targets=(TARGET,), steps=STEPS),
            (SOURCE, TARGET), frozenset({1}), Host(()),
            Host([("direct", {"convention": "current"})]), reduce=False,
        )  # fmt: skip
        pipeline.read(picture())
        assert not any("replay" in variant for variant in pipeline.finish().rows)
        assert editor.session.sources._aside == {}
        assert not editor.session.sources.steps("", STEPS).any()

    def test_a_short_budget_keeps_the_noisiest_steps(self):
        memory = SourceMemory(FakeEngine(), budget=100)
        levels = np.arange(5.0).reshape(5, 1, 1, 1)
        for step in (3, 2, 1):
            memory.set_aside(step, levels[step], {"source.x": np.zeros(5)})
            assert memory.size <= 100
        memory.set_aside(4, levels[4], {"source.x": np.zeros(5)})
        memory.hold("a")
        memory.take_up("a", levels)
        assert memory.steps("a", 5).tolist() == [False, True, True, False, False]

    def test_short_memory_forgets_what_is_not_owned_yet(self):
        memory = SourceMemory(FakeEngine(), budget=100)
        memory.set_aside(1, np.zeros(1), {"source.x": np.zeros(5)})
        memory.release()
        assert memory.size == 0


class TestBudget:
    def test_twenty_edits_of_one_picture_hold_what_one_does(self, editor: Editor):
        edit(editor)
        held = editor.session.sources.size
        colours = ("red", "blue", "green", "yellow")
        for index in range(19):
            edit(editor, target=f"a {colours[index % 4]} dog on a sofa", seed=0)
            assert editor.session.sources.size == held

    def test_the_picture_used_longest_ago_goes_first(self, tmp_path: Path):
        editor = loaded(tmp_path)
        edit(editor, picture(0))
        room = editor.session.sources.size
        editor = loaded(tmp_path / "small", budget=2 * room)
        for seed in (0, 1, 0, 2):
            edit(editor, picture(seed))
            assert editor.session.sources.size <= 2 * room
        assert edit(editor, picture(0)).row_count == 2 * STEPS
        assert edit(editor, picture(1)).row_count > 2 * STEPS

    def test_a_short_budget_keeps_some_steps(self, tmp_path: Path):
        editor = loaded(tmp_path)
        edit(editor)
        editor = loaded(tmp_path / "small", budget=editor.session.sources.size // 2)
        made = editor.prepare(picture(), SOURCE, steps=STEPS)
        assert 0 < made.steps < STEPS
        rows = edit(editor).row_count
        assert 2 * STEPS < rows < 2 * STEPS + 3

    def test_closing_forgets(self, editor: Editor):
        edit(editor)
        editor.close()
        assert editor.session.sources.size == 0


class TestOnDisk:
    def test_another_process_finds_it(self, tmp_path: Path):
        wanted = edit(loaded(tmp_path / "a", disk=tmp_path / "disk"))
        editor = loaded(tmp_path / "a2", disk=tmp_path / "disk")
        found = edit(editor)
        assert found.row_count == 2 * STEPS
        np.testing.assert_allclose(found.latents[1], wanted.latents[1], rtol=0, atol=1e-9)

    def test_damage_is_run_again_and_not_used(self, tmp_path: Path):
        edit(loaded(tmp_path / "a", disk=tmp_path / "disk"))
        editor = loaded(tmp_path / "a2", disk=tmp_path / "disk")
        archives = [p for p in (tmp_path / "disk").rglob("*.npz") if p.stem.isdecimal()]
        assert len(archives) == 3
        for path in archives:
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
        with pytest.raises(EngineError, match="is damaged and was removed; run the edit again"):
            edit(editor)
        for _ in archives[1:]:
            with pytest.raises(EngineError, match="damaged"):
                edit(editor)
        # Each attempt recorded the step that had stopped the one before.
        assert edit(editor).row_count == 2 * STEPS + 1
        assert edit(editor).row_count == 2 * STEPS

    def test_a_disk_that_cannot_be_written_is_no_disk(self, tmp_path: Path):
        (tmp_path / "disk").write_text("a file")
        runs = [edit(loaded(tmp_path / name, disk=tmp_path / "disk")) for name in ("a", "b")]
        assert runs[0].rows == runs[1].rows


class Reading(Plugin):
    """Reads the source, in regions."""

    @hookimpl
    def scumble_plan(self, run: Any) -> Plan:
        """Route keys of the source within regions."""
        on = np.ones(run.steps, dtype=bool)
        half = np.zeros(run.latent)
        half[:4] = 1
        target = Branch(1)
        read = Read("r", Branch(0), np.eye(1, len(run.source.ids)), (0, 2), on)
        return Plan(
            (Route(target, on, (0, 1), key=Branch(0)), Region(target, half, half, (0,), on), read)
        )


class NoRegionBesideReplay(Loud):
    """As a pack, which has variants and not every combination."""

    def supports(self, groups: frozenset[Group]) -> bool:
        """Return False for regions beside recording or replay."""
        return "region" not in groups or not groups & {"record", "replay"}


def test_an_engine_without_the_combination_runs_the_source(tmp_path: Path):
    runs = {}
    for kind in (Loud, NoRegionBesideReplay):
        editor = loaded(tmp_path / kind.__name__, kind=kind)
        edit(editor, method=Reading(NoOptions()), options={})
        runs[kind] = edit(editor, method=Reading(NoOptions()), options={})
    assert runs[Loud].row_count == 2 * STEPS
    assert runs[NoRegionBesideReplay].row_count == 3 * STEPS
    exact, other = (run.latents[1] for run in runs.values())
    np.testing.assert_allclose(exact, other, rtol=0, atol=1e-9)


class Peeking(Plugin):
    """An inversion that wants to see the targets."""

    @hookimpl
    def scumble_invert(self, run: Any) -> Trajectory:
        """Say what is seen."""
        assert run.targets == ()
        assert run.mask is None
        return Trajectory(np.stack([run.image] * (run.steps + 1)), pinned=True)


def test_an_inversion_sees_no_target(editor: Editor, monkeypatch: pytest.MonkeyPatch):
    request = EditRequest(source=SOURCE, targets=(TARGET,), steps=STEPS)
    pipeline = Pipeline(
        editor.session, request, (SOURCE, TARGET), frozenset({1}), Host(()),
        Host.of(peek=Peeking(NoOptions())),
    )  # fmt: skip
    pipeline.read(picture())
    pipeline.finish()
    # What is not installed has no version to tell apart by.
    assert all(e.trajectory is None for e in editor.session.sources._entries.values())


def test_memory_of_one_engine(tmp_path: Path):
    engine = FakeEngine()
    memory = SourceMemory(engine, budget=100)
    memory.hold("a")
    memory.record("a", 0, {"source.x": np.zeros(5)})
    memory.record("a", 1, {"source.x": np.zeros(5)})
    memory.record("a", 2, {"source.x": np.zeros(5)})
    assert memory.steps("a", 4).tolist() == [True, True, False, False]
    memory.record("b", 0, {"source.x": np.ones(5)})
    assert not memory.steps("b", 4).any()
    memory.hold("b")
    memory.record("b", 0, {"source.x": np.ones(5)})
    assert memory.steps("a", 4).tolist() == [False] * 4
    np.testing.assert_array_equal(np.asarray(memory.recall("b", 0)["source.x"]), np.ones(5))
    with pytest.raises(KeyError, match="step 0"):
        memory.recall("a", 0)


class Tight(Loud):
    """Runs out of memory once, at a step of the edit at hand."""

    left = 0

    def _step(self, ports: Any) -> Any:
        Tight.left -= 1
        if Tight.left == 0:
            raise OutOfMemoryError("no memory")
        return super()._step(ports)


def test_short_memory_forgets_other_pictures_and_not_this_one(tmp_path: Path):
    editor = loaded(tmp_path, kind=Tight)
    for seed in (1, 0):
        edit(editor, picture(seed))
    Tight.left = 2
    run = edit(editor, picture(0))
    assert run.row_count == 2 * STEPS
    assert any("memory ran out" in note for note in run.notes)
    assert edit(editor, picture(0)).notes == ()
    assert "inversion" in edit(editor, picture(1)).rows


def test_more_targets_than_an_engine_takes_at_once(tmp_path: Path):
    class Narrow(Loud):
        @property
        def most_rows(self) -> int:
            return 4

        def _step(self, ports: Any) -> Any:
            assert len(ports["sample"]) <= 4
            return super()._step(ports)

    targets = [f"a {colour} cat on a sofa" for colour in ("blue", "green", "yellow", "pink")]
    runs = [edit(loaded(tmp_path / k.__name__, kind=k), target=targets) for k in (Loud, Narrow)]
    for shown in range(1, 5):
        np.testing.assert_allclose(
            runs[0].latents[shown], runs[1].latents[shown], rtol=0, atol=1e-9
        )
    assert runs[1].row_count > runs[0].row_count


LEVELS = np.random.default_rng(6).standard_normal((3, 4, 2, 2))
WAYS = [
    Trajectory(LEVELS, pinned=False),
    Trajectory(LEVELS, pinned=True, noises=LEVELS[1:], eta=0.25),
    Trajectory(LEVELS, pinned=False, embeddings="a red cat"),
    Trajectory(LEVELS, pinned=True, embeddings=np.ones((2, 3, 5), np.float32)),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("disk", [False, True])
def test_all_of_an_inversion_is_remembered(tmp_path: Path, way: Trajectory, disk: bool):
    memory = SourceMemory(FakeEngine(), 0 if disk else 1 << 20, tmp_path if disk else None)
    memory.remember("key", way)
    found = memory.trajectory("key")
    assert found is not None
    for name in ("latents", "pinned", "noises", "eta", "embeddings"):
        one, other = getattr(found, name), getattr(way, name)
        assert type(one) is type(other), name
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_all_of_an_inversion_counts(tmp_path: Path):
    memory = SourceMemory(FakeEngine(), 1 << 20)
    memory.remember("key", WAYS[1])
    assert memory.size >= LEVELS.nbytes + LEVELS[1:].nbytes


def test_an_inversion_may_depend_on_the_negative_prompt(editor: Editor):
    session = editor.session
    view = Pipeline(session, SamplingRequest(steps=2), ("a", "b"), frozenset(), Host(())).view()
    run = replace(view, image=LEVELS[0])
    keys = {trajectory_key(replace(run, unconditional=text), "null") for text in ("", "a tree")}
    assert len(keys) == 2
