"""Observed edits of the small checkpoint, on a clock that is wound by hand where times matter."""

from pathlib import Path

import pytest

from scumble import Editor
from scumble_bench.latency.edited import TimedEdit, unseen
from scumble_bench.latency.matrix.observing import Breakdown, observed, stages_of


def test_rows_of_the_stages_are_those_that_the_run_counted(small: Path):
    edit, picture = TimedEdit(3), unseen()
    with Editor.load(small, engine="torch", device="cpu") as editor:
        # Twice, so that no port is left to be probed.
        edit.make_known(editor, known := picture())
        editor.edit(known, **edit.arguments)
        known = picture()
        splits: list[Breakdown] = []
        for _ in ("first", "next"):
            with observed(editor.session) as seen:
                editor.session.forget_texts()
                run = editor.edit(known, **edit.arguments)
                splits.append(seen.take(sum(run.timings.values()), run.timings))
            counted = {
                name.removeprefix("sampling: "): rows
                for name, (_, calls, rows) in splits[-1].stages.items()
                if calls is not None
            }
            assert counted == run.rows
        # As it was: nothing stays behind on engine and session.
        assert {"step", "_run", "encode_text"}.isdisjoint(vars(editor.session.engine))
        assert {"step", "count_as"}.isdisjoint(vars(editor.session))
    first, after = splits
    assert first.stages["inversion"][1] == 3
    assert "inversion" not in after.stages
    for split in splits:
        assert {"text", "encode", "decode", "host"} <= set(split.stages)
        assert split.host_share is not None
        assert 0 < split.host_share < 1


def test_a_look_or_a_gradient_is_a_stage_and_counts_once(small: Path):
    with Editor.load(small, engine="torch", device="cpu") as editor:
        from scumble_bench.latency.gradients import gradient_ports
        from scumble_bench.latency.neutral_steps import neutral_ports

        looked, ports = neutral_ports(editor, ("read",), 2), gradient_ports(editor)
        with observed(editor.session) as seen:
            editor.session.engine.look(looked)
            editor.session.gradient(ports, "here")
            split = seen.take(1, {})
    assert split.stages["sampling: look"][1:] == (1, 2)
    assert split.stages["sampling: gradient"][1:] == (1, 1)
    assert "sampling: plain" not in split.stages


def test_what_surrounds_the_runtime_is_the_hosts(small: Path, monkeypatch: pytest.MonkeyPatch):
    """The clock goes on by one second in the runtime, and by ten in the checking around it."""
    now = 0.0

    def spend(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("scumble_bench.latency.matrix.observing.perf_counter", lambda: now)
    with Editor.load(small, engine="torch", device="cpu") as editor:
        from scumble_bench.latency.neutral_steps import neutral_ports

        engine, ports = editor.session.engine, neutral_ports(editor, (), 1)
        step, run = engine._step, engine._run  # pyright: ignore

        def slow_step(given: object) -> object:
            spend(10)
            return step(given)  # pyright: ignore

        def slow_run(*given: object) -> object:
            spend(1)
            return run(*given)  # pyright: ignore

        monkeypatch.setattr(engine, "_step", slow_step)
        monkeypatch.setattr(engine, "_run", slow_run)
        mine = engine._run  # pyright: ignore
        with observed(editor.session) as seen:
            editor.session.step(ports, "plain")
            editor.session.step(ports, "plain")
            split = seen.take(30, {"sampling": 22.0})
        assert engine._run is mine  # pyright: ignore
    assert split.stages["sampling: plain"] == (2, 2, 2)
    assert split.stages["host"][0] == 28
    assert split.host_share == pytest.approx(20 / 22)


def test_stages_keep_their_order_and_one_left_out_took_no_time():
    one = Breakdown({"text": (1, None, None), "sampling: a": (4, 2, 6), "host": (1, None, None)}, 5)
    other = Breakdown({"sampling: a": (2, 1, 3), "host": (3, None, None)}, 4)
    text, sampling, host = stages_of([one, other])
    assert [text.stage, sampling.stage, host.stage] == ["text", "sampling: a", "host"]
    assert (text.seconds.median, sampling.seconds.median, host.seconds.median) == (0.5, 3, 2)
    assert (sampling.calls, sampling.rows, host.calls) == (1, 3, None)
    assert one.host_share == pytest.approx(0.2)
    probed = Breakdown({"sampling: probe": (3, 1, 1), "sampling: a": (4, 2, 6)}, 5)
    assert probed.host_share == pytest.approx(0.2)
    assert stages_of([]) == ()
