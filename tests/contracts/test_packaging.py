"""What a user installs: a wheel of the five packages that works without the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

FOLDERS = (
    "framework/scumble",
    "engines/scumble_engines",
    "export/scumble_export",
    "plugins/scumble_plugins",
    "benchmarks/scumble_bench",
)


def call(command: Sequence[str | Path], folder: Path) -> str:
    """Run a command outside the checkout and give its standard output."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    call([*build, "-w", folder, repository], folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of a new venv that holds the wheel, and third parties linked from this one."""
    folder = tmp_path_factory.mktemp("fresh venv")
    venv.create(folder / "venv", symlinks=True)
    third = folder / "third"
    third.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "scumble" not in path.name and path.suffix != ".pth":
            (third / path.name).symlink_to(path)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "venv/lib" / version / "site-packages"
    (packages / "third.pth").write_text(f"{third}\n")
    python = folder / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python]
    call([*pip, "install", "--no-deps", "--no-index", wheel], folder)
    return folder / "venv/bin"


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path):
    with ZipFile(wheel) as archive:
        top = {name.split("/")[0] for name in archive.namelist()}
    metadata = {name for name in top if name.endswith(".dist-info")}
    assert len(metadata) == 1
    assert top - metadata == {folder.split("/")[1] for folder in FOLDERS}


def test_the_wheel_holds_every_file_of_them(wheel: Path, repository: Path):
    listing = ["git", "-C", repository, "ls-files", "-co", "--exclude-standard", "-z", *FOLDERS]
    names = [
        name for name in call(listing, repository).split("\0") if (repository / name).is_file()
    ]
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {name.split("/", 1)[1] for name in names}


def test_the_wheel_brings_the_demo_checkpoint_and_types(wheel: Path):
    with ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {f"{folder.split('/')[1]}/py.typed" for folder in FOLDERS} <= set(names)
    assert any(name.endswith("/model_index.json") for name in names)
    assert any(name.endswith(".safetensors") for name in names)


def test_the_wheel_runs_in_a_fresh_venv(installed: Path, repository: Path, tmp_path: Path):
    where = "import scumble; print(scumble.__file__)"
    location = call([installed / "python", "-c", where], tmp_path).strip()
    assert Path(location).is_relative_to(installed.parent), "it runs from the checkout"
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["version"] in call([installed / "scumble", "--version"], tmp_path)
    listing = call([installed / "scumble", "plugins", "--json"], tmp_path)
    assert json.loads(listing)
    missing = [n for n in project["entry-points"]["scumble.plugins"] if f'"{n}"' not in listing]
    assert not missing


TUTORIAL = "docs/tutorial/write-a-plugin.md"
WORDS = (
    "--source", "a room with a green sofa and a yellow ball",
    "--target", "a room with a red sofa and a yellow ball",
)  # fmt: skip


def method_of(page: str) -> str:
    """The first Python block of a page: the tutorial's whole plugin."""
    return page.partition("\n```python\n")[2].partition("\n```\n")[0] + "\n"


def build(package: Path, installed: Path, folder: Path) -> None:
    """Make a plugin's package a wheel, and install that."""
    wheels = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    call([*wheels, "-w", folder / "wheels", package], folder)
    (built,) = (folder / "wheels").glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", installed / "python"]
    call([*pip, "install", "--no-deps", "--no-index", built], folder)


def test_a_new_plugin_is_installed_and_tested(installed: Path, tmp_path: Path):
    """What `scumble plugins new` writes, as it is."""
    call([installed / "scumble", "plugins", "new", "soft_light"], tmp_path)
    package = tmp_path / "scumble-soft-light"
    build(package, installed, tmp_path)
    called = [installed / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", package]
    assert "8 passed" in call(called, tmp_path)
    listing = json.loads(call([installed / "scumble", "plugins", "--json"], tmp_path))
    (found,) = [one for one in listing["plugins"] if one["name"] == "soft_light"]
    assert (found["from"], found["problem"]) == ("scumble-soft-light 0.1.0", None)
    report = call([installed / "scumble", "plugins", "test", "scumble-soft-light"], tmp_path)
    assert "failed" not in report


def test_the_plugin_of_the_tutorial_edits_from_the_command_line(
    installed: Path, repository: Path, tmp_path: Path
):
    """A method that Scumble does not bring, in a wheel of its own."""
    call([installed / "scumble", "plugins", "new", "photoswap"], tmp_path)
    package = tmp_path / "scumble-photoswap"
    method = method_of((repository / TUTORIAL).read_text())
    (package / "src/scumble_photoswap/photoswap.py").write_text(method)
    build(package, installed, tmp_path)
    picture = repository / "benchmarks/scumble_bench/pictures/drawn.jpg"
    pictures: list[bytes] = []
    for share in (0.0, 0.5):
        given = ["--set", f"self_output={share}", "--set", "cross_map=0", "--steps", "4"]
        edit = [installed / "scumble", "edit", picture, "--method", "photoswap", *given, *WORDS]
        told = json.loads(call([*edit, "--out", "out.png", "--json"], tmp_path))
        plugins = told["recipe"]["provenance"]["plugins"]
        assert plugins["photoswap"] == "scumble-photoswap 0.1.0"
        with Image.open(tmp_path / "out.png") as made:
            pictures.append(made.tobytes())
    assert pictures[0] != pictures[1], "the option changes the picture"
    again = call([installed / "scumble", "rerun", "out.png", "--out", "again.png"], tmp_path)
    assert "bit-identical" in again
