"""From what is asked to a job: what makes a row another one, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scumble_bench.evaluation.entries import Entry
from scumble_bench.evaluation.methods import METHODS, Named, crossed
from scumble_bench.evaluation.pie_bench import Asked, files_of, job_of, summary_of
from scumble_bench.work.pieces import Piece

DIRECT = Named("direct", "direct")


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    methods = crossed([METHODS["pie-p2p"]], [DIRECT])
    return Asked(tmp_path / "data", tmp_path / "out", methods, ["psnr", "mse"])


def row(piece: Piece, kind: str, psnr: float | None) -> dict[str, Any]:
    measured = {"psnr": psnr, "mse": 0.001}
    facts = {"rows": 200, "gradients": 0, "engine": "torch", "picture": f"{piece.key}.png"}
    entry = piece.payload["entry"]
    return {"key": piece.key, "entry": entry, "kind": kind, "metrics": measured, **facts}


def test_settings_tell_everything_that_rows_depend_on(asked: Asked, entry: Callable[..., Entry]):
    settings = job_of(asked, [entry()]).settings
    assert json.loads(json.dumps(settings)) == settings
    assert (settings["steps"], settings["guidance"], settings["seed"]) == (50, 7.5, 1234)
    assert settings["weights_sha256"].keys() == {"rooms"}
    assert "python" in settings["versions"]
    changed: list[Asked] = [
        replace(asked, steps=49),
        replace(asked, guidance=7.0),
        replace(asked, seed=1),
        replace(asked, protocol="plain"),
        replace(asked, measured_at="model"),
        replace(asked, metrics=["psnr"]),
        replace(asked, model={"threads": 1}),
    ]
    others = [job_of(one, [entry()]).settings for one in changed]
    others.append(job_of(asked, [entry(target="a green sofa")]).settings)
    assert all(other != settings for other in others)


def test_another_method_changes_no_settings(asked: Asked, entry: Callable[..., Entry]):
    more = replace(asked, methods=crossed(list(METHODS.values()), [DIRECT]))
    one, many = (job_of(each, [entry()]) for each in (asked, more))
    assert one.settings == many.settings
    assert {piece.key for piece in one.pieces} < {piece.key for piece in many.pieces}


def test_a_piece_says_where_its_plugins_come_from(asked: Asked, entry: Callable[..., Entry]):
    (piece,) = job_of(asked, [entry()]).pieces
    assert list(piece.payload["origins"]) == ["prompt_to_prompt", "direct"]
    (origin,) = piece.payload["origins"]["direct"]
    assert origin.startswith("scumble ")


def test_the_files_hold_the_tables_and_the_provenance(asked: Asked, entry: Callable[..., Entry]):
    entries = [entry(id="1"), entry(id="2", kind="9"), entry(id="3")]
    job = job_of(asked, entries)
    rows = [row(job.pieces[0], "1", 30.0), row(job.pieces[1], "9", None)]
    summary = summary_of(asked, entries, job, rows)
    files = files_of(asked, job, rows, summary)
    assert set(files) == {"summary.json", "pictures.csv", "table.md"}
    told = json.loads(files["summary.json"])
    assert told["settings"]["weights_sha256"] == job.settings["weights_sha256"]
    assert (told["rows"][0]["pictures"], told["rows"][0]["missing"]) == (2, 1)
    text = files["table.md"].decode()
    assert "| pie-p2p, direct | 2 (1 missing) | 30.00 (1 n/a) | 10.00 | 200 | 0 |" in text
    assert "| P2P, Direct (published) | 700 | 27.22 | 32.86 | – | – |" in text
    assert "compare them only if the checkpoint" in text
    assert "## pie-p2p, direct" in text
    assert "| change style | 1 | – (1 n/a) | 10.00 |" in text
    assert len(files["pictures.csv"].decode().splitlines()) == 3
