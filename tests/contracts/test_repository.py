"""The rules of what lies beside the code: pages, commands, pins."""

import ast
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from scumble_bench.rooms import CHECKPOINT, train

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORDS = {"plugin", "hook", "plan", "port", "engine", "run"}
BINARY = {".png", ".jpg", ".safetensors", ".onnx", ".npz", ".npy", ".gif", ".webp"}

# Of one machine, or of one way to reach the network. The brackets keep this file from naming them.
FOREIGN = {
    "a home folder": r"(?<![\w.$}])/(?:home|Users)/\w+",
    "a folder of one machine": r"(?<![\w.$}])/(?:ro[o]t|wo[r]k)\b",
    "a package index": r"\bpyp[i]\.org|pythonhoste[d]|download\.pytorc[h]|index-ur[l]",
    "a package registry": r"registry\.npmj[s]|deb\.debia[n]",
}


def tracked() -> list[Path]:
    """Files that git holds or would hold; without git, every file outside hidden folders."""
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    names = [ROOT / name for name in done.stdout.split("\0") if name]
    if done.returncode != 0:
        names = [path for path in ROOT.rglob("*") if ".venv" not in path.parts]
    return [path for path in names if path.is_file()]


def foreign(text: str) -> list[str]:
    """What a text says of one machine or of one package index."""
    return [
        f"{name}: {found.group()}"
        for name, pattern in FOREIGN.items()
        for found in re.finditer(pattern, text)
    ]


def targets() -> set[str]:
    """The targets of the Makefile that a user calls."""
    return set(re.findall(r"^([a-z][\w-]*):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_no_file_names_a_machine_or_a_package_index():
    found = [
        f"{path.relative_to(ROOT)}: {what}"
        for path in tracked()
        if path.suffix not in BINARY
        for what in foreign(path.read_text(errors="replace"))
    ]
    assert not found, found


@pytest.mark.parametrize(
    "text",
    [
        "see /ho~me/ann/x.png",
        "cd /ro~ot",
        "'/wo~rk/x'",
        "pip --index-u~rl x",
        "https://pyp~i.org/simple",
    ],
)
def test_foreign_names_are_seen(text: str):
    assert foreign(text.replace("~", ""))


@pytest.mark.parametrize(
    "text", ["$HOME/x", "path/home/x.py", "a pip index", "~/pictures/room.png"]
)
def test_other_names_pass(text: str):
    assert not foreign(text)


# A skip hides a failure as well as a reason does; each is on one list.
SKIP_CALLS = {"skip", "skipif", "importorskip", "skipTest", "xfail"}


def skips(source: str) -> bool:
    """Whether a test file skips anything."""
    tree = ast.parse(source)
    return any(
        isinstance(node, ast.Attribute) and node.attr in SKIP_CALLS for node in ast.walk(tree)
    )


def test_every_skip_is_listed():
    page = (ROOT / "tests/SKIPS.md").read_text()
    listed = dict(re.findall(r"^\| `([^`]+)` \| ([^|]*\w[^|]*)\|", page, re.MULTILINE))
    skipping = {
        path.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests").rglob("*.py")
        if skips(path.read_text())
    }
    assert not skipping - set(listed), f"not in tests/SKIPS.md: {sorted(skipping - set(listed))}"
    assert not set(listed) - skipping, f"skips nothing: {sorted(set(listed) - skipping)}"


@pytest.mark.parametrize(
    "source",
    ["pytest.skip('x')", "@pytest.mark.skipif(True)\ndef f(): ...", "pytest.importorskip('x')"],
)
def test_skips_are_seen(source: str):
    assert skips(source)


def test_the_two_commands_of_the_readme_are_targets():
    readme = (ROOT / "README.md").read_text()
    for command in ("demo", "test"):
        assert f"make {command}" in readme, f"README.md does not say `make {command}`"
        assert command in targets()


def test_every_target_is_phony_and_explained():
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony
    assert set(phony.group(1).split()) == targets()
    named = {
        "bench", "clean", "check", "demo", "docs", "fix", "gallery", "help", "quality", "speed",
        "test", "test-slow", "train",
    }  # fmt: skip
    assert set(re.findall(r"^([\w-]+):.*## \w", text, re.MULTILINE)) == named


@pytest.mark.parametrize(("state", "resumes"), [(False, False), (True, True)])
def test_training_is_called_as_it_wants_to_be(tmp_path: Path, state: bool, resumes: bool):
    """And goes on with what a call before it left."""
    make = shutil.which("make")
    assert make, "make is needed"
    shutil.copy(ROOT / "Makefile", tmp_path)
    for stamp in ("made", "demo", "dev"):
        (tmp_path / ".venv").mkdir(exist_ok=True)
        (tmp_path / f".venv/.{stamp}").touch()
    if state:
        (tmp_path / ".train").mkdir()
        (tmp_path / ".train/state.json").touch()
    command = [make, "--no-print-directory", "-n", "-o", ".venv/.dev", "train", "MINUTES=7"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.replace("\\\n", " ").splitlines()
    (line,) = [line for line in lines if "rooms.train" in line]
    chosen = train.parser().parse_args(shlex.split(line)[3:])
    assert ROOT / chosen.out == CHECKPOINT
    assert (chosen.work, chosen.minutes) == (Path(".train"), 7)
    assert chosen.resume is resumes
    # What ran without torch was removed with the weights that it was made of.
    assert lines[-1].endswith("-m scumble_bench.rooms.pack")


def test_ci_runs_both_tiers():
    run = ROOT / ".ci/run"
    assert run.stat().st_mode & 0o111, ".ci/run is not executable"
    commands = [line for line in run.read_text().splitlines() if line.startswith("make ")]
    assert commands == ["make test", "make test-slow"]


@pytest.mark.parametrize(
    ("target", "extras"),
    [("demo", [".[onnxruntime]"]), ("test", [".[onnxruntime]", ".[dev]"])],
)
def test_a_fresh_clone_installs_what_is_pinned(tmp_path: Path, target: str, extras: list[str]):
    """What make would do in a folder without .venv, whose name holds a space; the demo no more."""
    make = shutil.which("make")
    assert make, "make is needed"
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, clone)
    done = subprocess.run(
        [make, "-n", target], cwd=clone, capture_output=True, text=True, check=True
    )
    assert re.findall(r'pip install -c constraints\.txt -e "(.*)"', done.stdout) == extras
    assert done.stdout.count("pip install") == len(extras)
    assert "-m venv .venv" in done.stdout


def test_an_old_python_is_refused(tmp_path: Path):
    make = shutil.which("make")
    assert make, "make is needed"
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = [make, ".venv/.made", "PYTHON=false"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "needs Python 3.11 or later" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0"
    local = [name for name, version in pins.items() if not re.fullmatch(r"[\d.]+", version)]
    assert not local, f"not a plain release: {local}"
    extras = PROJECT["optional-dependencies"]
    installed = ("onnxruntime", "torch", "export", "dev")
    wanted = [*PROJECT["dependencies"], *(line for name in installed for line in extras[name])]
    names = {re.split(r"[\[<>=!~ ;]", line)[0].lower() for line in wanted} - {"scumble"}
    assert not names - set(pins), f"not in constraints.txt: {sorted(names - set(pins))}"


def test_decisions_are_numbered_and_short():
    pages = sorted((ROOT / "docs/decisions").glob("*"))
    assert pages
    for page in pages:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", page.name), f"{page.name}: NNNN-title.md"
        text = page.read_text()
        missing = [
            part for part in ("Context", "Decision", "Consequences") if f"## {part}" not in text
        ]
        assert not missing, f"{page.name} has no {missing}"
        assert len(text.splitlines()) <= 60, f"{page.name}: half a page is enough"
    numbers = [page.name[:4] for page in pages]
    assert len(set(numbers)) == len(numbers), f"two decisions share a number: {numbers}"


def test_the_glossary_has_the_six_words():
    page = (ROOT / "docs/concepts/glossary.md").read_text()
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) == WORDS
