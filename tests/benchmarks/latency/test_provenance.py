import datetime
import json
import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from scumble_bench.latency import provenance as module
from scumble_bench.latency.provenance import commit, cpu_features, cpu_model, provenance, versions

LISTING = """processor\t: 0
model name\t: Some CPU @ 2.0GHz
flags\t\t: fpu avx2 amx_tile amx_bf16
processor\t: 1
model name\t: Another
"""


def test_it_says_what_a_figure_depends_on():
    found = provenance(3, {"rooms": "abc"})
    date = datetime.datetime.fromisoformat(found["date"])
    assert abs(datetime.datetime.now(datetime.UTC) - date) < datetime.timedelta(minutes=1)
    assert found["threads"] == 3
    assert found["weights_sha256"] == {"rooms": "abc"}
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert len(found["load_average"]) == 3
    assert found["cpu"]
    assert found["versions"]["torch"] == torch.__version__
    json.dumps(found)


def test_threads_that_nobody_chose_are_the_default():
    assert provenance(None, {})["threads"] == "default"


def test_versions_are_those_installed():
    found = versions()
    assert found["numpy"] == np.__version__
    assert "tensorrt-of-nobody" not in found
    assert all(re.match(r"\d", version) for version in found.values())


def test_what_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PACKAGES", ("numpy", "tensorrt-of-nobody"))
    assert set(versions()) == {"python", "numpy"}


def test_the_commit_is_named(repository: Path):
    if (repository / ".git").exists():
        assert re.fullmatch(r"[0-9a-f]{12}\+?|.*-g[0-9a-f]{12}\+?", commit())


def test_a_changed_file_adds_a_plus_sign_and_figures_do_not(tmp_path: Path):
    results = tmp_path / "benchmarks/results"
    results.mkdir(parents=True)
    code, figures = tmp_path / "code.py", results / "methods.json"
    for written in (code, figures):
        written.write_text("1")
    for arguments in (
        ("init", "--quiet"),
        ("add", "."),
        ("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "begin"),
    ):
        subprocess.run(("git", *arguments), cwd=tmp_path, check=True)
    clean = commit(results)
    assert re.fullmatch(r"[0-9a-f]{12}", clean)
    figures.write_text("2")
    assert commit(results) == clean
    code.write_text("2")
    assert commit(results) == f"{clean}+"


def test_without_git_the_commit_is_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == "unknown"


def test_the_processor_is_read_from_the_systems_list(tmp_path: Path):
    (tmp_path / "cpuinfo").write_text(LISTING)
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU @ 2.0GHz"
    assert cpu_features(tmp_path / "cpuinfo") == ["avx2", "amx_bf16"]


def test_elsewhere_it_is_what_python_knows(tmp_path: Path):
    assert cpu_model(tmp_path / "nothing")
    assert cpu_features(tmp_path / "nothing") == []
