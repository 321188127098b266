from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scumble import Editor
from scumble_bench.latency.edited import TimedEdit, unseen
from scumble_bench.latency.rehearsal import kind_of, rehearsal

OPTIONS = {"cross_window": 0.4, "self_window": 0.6, "blend_words": ("sofa",)}
EDIT = TimedEdit(5, OPTIONS)


@pytest.fixture
def editor(small: Path) -> Iterator[Editor]:
    with Editor.load(small, engine="torch", device="cpu") as loaded:
        yield loaded


def test_a_rehearsal_counts_the_steps_that_the_edit_takes(editor: Editor):
    picture = unseen()
    EDIT.make_known(editor, picture())  # and probes the ports
    asked: Counter[str] = Counter()
    run = editor.session.engine.step

    def counted(ports: Any) -> Any:
        asked[kind_of(ports)] += 1
        return run(ports)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(editor.session.engine, "step", counted)
        rows = editor.edit(picture(), **EDIT.arguments).row_count
    really = Counter(asked)
    asked.clear()
    with rehearsal(editor.session.engine) as noted:
        editor.edit(picture(), **EDIT.arguments)
    assert noted.counts == really
    assert noted.counts["1 row, plain"] == 5
    assert set(noted.ports) == set(really)
    assert sum(count * int(kind.split()[0]) for kind, count in really.items()) == rows


def test_each_kind_is_run_once(editor: Editor, monkeypatch: pytest.MonkeyPatch):
    engine: Any = editor.session.engine
    ran: list[str] = []
    run = engine._step

    def counted(ports: Any) -> Any:
        ran.append(kind_of(ports))
        return run(ports)

    monkeypatch.setattr(engine, "_step", counted)
    with rehearsal(engine) as noted:
        editor.edit(unseen()(), **EDIT.arguments)
    assert sorted(ran) == sorted(noted.ports)
    assert sum(noted.counts.values()) > len(ran)


def test_what_was_counted_is_taken_once(editor: Editor):
    with rehearsal(editor.session.engine) as noted:
        editor.edit(unseen()(), **EDIT.arguments)
        assert noted.take()
        assert not noted.take()


def test_the_engine_is_itself_again_afterwards(editor: Editor):
    engine = editor.session.engine
    with pytest.raises(KeyError), rehearsal(engine):
        raise KeyError
    assert engine.step.__func__ is type(engine).step


def test_a_kind_is_rows_and_groups(editor: Editor):
    with rehearsal(editor.session.engine) as noted:
        editor.generate("a red sofa", steps=3)
    assert set(noted.counts) == {"2 rows, plain"}
