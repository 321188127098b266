"""The rules of the code base, each as a test."""

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "framework": "scumble",
    "engines": "scumble_engines",
    "export": "scumble_export",
    "plugins": "scumble_plugins",
    "benchmarks": "scumble_bench",
}
RUNTIMES = (
    "torch",
    "diffusers",
    "transformers",
    "onnx",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
)
LIMIT = 300
NAMELESS = {"utils", "util", "base", "helpers", "helper", "common", "misc"}

# Modules that may be longer than LIMIT lines, each with its reason.
LONG: dict[str, str] = {}

# Modules without a test file of their own, each with where it is tested instead.
TESTED_ELSEWHERE: dict[str, str] = {
    "benchmarks/scumble_bench/rooms/animals.py": "tests/benchmarks/test_world.py",
    "benchmarks/scumble_bench/rooms/backdrop.py": "tests/benchmarks/test_world.py",
    "benchmarks/scumble_bench/rooms/captions.py": "tests/benchmarks/test_world.py",
    "benchmarks/scumble_bench/rooms/card.py": "tests/benchmarks/test_train.py",
    "benchmarks/scumble_bench/rooms/drawing.py": "tests/benchmarks/test_world.py",
    "benchmarks/scumble_bench/rooms/furniture.py": "tests/benchmarks/test_world.py",
    "benchmarks/scumble_bench/rooms/judge_training.py": "tests/benchmarks/test_judge.py",
    "benchmarks/scumble_bench/rooms/layout.py": "tests/benchmarks/test_world.py",
    "benchmarks/scumble_bench/rooms/quality.py": "tests/benchmarks/test_train.py",
    "benchmarks/scumble_bench/rooms/room.py": "tests/benchmarks/test_world.py",
    "benchmarks/scumble_bench/rooms/stages.py": "tests/benchmarks/test_train.py",
    "benchmarks/scumble_bench/rooms/workspace.py": "tests/benchmarks/test_train.py",
    "export/scumble_export/component_graphs.py": "tests/export/test_pack.py",
    "export/scumble_export/lint_rules.py": "tests/export/test_linter.py",
    "framework/scumble/pack_engine.py": "tests/engines/onnxruntime/test_engine.py",
    "framework/scumble/prompts.py": "tests/framework/test_words.py",
}

FOLDERS = [ROOT / area / name for area, name in PACKAGES.items()]
MODULES = sorted(path for folder in FOLDERS for path in folder.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PLUGINS = sorted((ROOT / "plugins/scumble_plugins").glob("[!_]*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENTRY_POINTS = [
    EntryPoint(name, value, group)
    for group, table in PROJECT["entry-points"].items()
    for name, value in table.items()
] + [EntryPoint(name, value, "console_scripts") for name, value in PROJECT["scripts"].items()]


def relative(path: Path) -> str:
    """The path as seen from the root, with slashes."""
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """The import name of a module file."""
    parts = path.relative_to(ROOT).with_suffix("").parts[1:]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path) -> set[str]:
    """The top-level names that a file imports, wherever in the file it does."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_source_roots_are_no_packages():
    """Else `framework.x` and `scumble.x` would be two modules from one file."""
    files = [ROOT / area / "__init__.py" for area in (*PACKAGES, "tests")]
    found = [relative(path) for path in files if path.exists()]
    assert not found, f"remove {found}: these folders are source roots, not packages"


def test_every_package_is_typed():
    missing = [folder.name for folder in FOLDERS if not (folder / "py.typed").exists()]
    assert not missing


def test_modules_are_named_for_what_they_hold():
    found = [relative(path) for path in MODULES if path.stem.lstrip("_") in NAMELESS]
    assert not found, f"name the thing that is inside: {found}"


def test_modules_are_short():
    lengths = {relative(path): len(path.read_text().splitlines()) for path in MODULES}
    long = {name: lines for name, lines in lengths.items() if lines > LIMIT and name not in LONG}
    assert not long, f"over {LIMIT} lines; split it, or give the reason in LONG: {long}"
    stale = [name for name in LONG if lengths.get(name, 0) <= LIMIT]
    assert not stale, f"no longer long; take it out of LONG: {stale}"


def test_every_module_has_a_test_file():
    """`framework/scumble/words.py` has `tests/framework/test_words.py`.

    In a subpackage, `rooms/world.py`, it is `test_world.py`, `test_rooms_world.py` or
    `rooms/test_world.py`.
    """
    missing: list[str] = []
    for path in MODULES:
        area, _, *inner = path.relative_to(ROOT).with_suffix("").parts
        if inner[-1] in ("__init__", "__main__"):
            continue
        folder = ROOT / "tests" / area
        names = {
            folder / f"test_{inner[-1].lstrip('_')}.py",
            folder / f"test_{'_'.join(inner)}.py",
            folder.joinpath(*inner[:-1], f"test_{inner[-1].lstrip('_')}.py"),
        }
        if not any(name.exists() for name in names) and relative(path) not in TESTED_ELSEWHERE:
            missing.append(relative(path))
    assert not missing, f"write a test file, or say in TESTED_ELSEWHERE which one it has: {missing}"


def test_the_tables_of_exceptions_are_current():
    named = (*LONG, *TESTED_ELSEWHERE, *TESTED_ELSEWHERE.values())
    stale = [name for name in named if not (ROOT / name).exists()]
    assert not stale


BLOCKED_IMPORT = """
import importlib, json, sys, traceback

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in RUNTIMES:
            raise ModuleNotFoundError(f"No module named {name!r} (blocked by a test)", name=name)

RUNTIMES, modules = json.load(sys.stdin)
sys.meta_path.insert(0, Refuse())
for name in modules:
    try:
        importlib.import_module(name)
    except BaseException:
        print(f"{name}: {traceback.format_exc(limit=-3)}")
"""


def test_host_and_plugins_import_without_a_runtime():
    """In a process of its own: here another test may have loaded torch already."""
    areas = ("framework", "plugins")
    modules = [dotted(path) for path in MODULES if path.relative_to(ROOT).parts[0] in areas]
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED_IMPORT],
        input=json.dumps([RUNTIMES, [name for name in modules if not name.endswith("__main__")]]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=50,
        check=True,
    )
    assert not done.stdout, done.stdout


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_a_plugin_imports_the_host_and_numpy_only(path: Path):
    foreign = imported(path) - set(sys.stdlib_module_names) - {"scumble", "numpy"}
    assert not foreign, f"{relative(path)} imports {sorted(foreign)}"


def test_nothing_imports_the_tests():
    found = [relative(path) for path in MODULES if "tests" in imported(path)]
    assert not found


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: path.stem)
def test_every_plugin_file_is_registered(path: Path):
    registered = {point.module for point in ENTRY_POINTS if point.group == "scumble.plugins"}
    assert dotted(path) in registered, f"{relative(path)}: pyproject.toml has no entry point for it"


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(
            point,
            id=f"{point.group}:{point.name}",
            # Loading a runtime takes seconds.
            marks=[pytest.mark.thorough] if point.group == "scumble.engines" else [],
        )
        for point in ENTRY_POINTS
    ],
)
def test_entry_points_resolve(point: EntryPoint):
    assert point.load() is not None


def test_the_public_names_of_the_host_are_declared():
    import scumble

    declared = getattr(scumble, "__all__", None)
    assert declared, "scumble/__init__.py has no __all__"
    assert len(declared) == len(set(declared)), "a name stands twice in __all__"
    missing = [name for name in declared if not hasattr(scumble, name)]
    assert not missing, f"in __all__ but not in scumble: {missing}"
    bound = {name for name, value in vars(scumble).items() if not isinstance(value, ModuleType)}
    extra = sorted(name for name in bound - set(declared) if not name.startswith("_"))
    assert not extra, f"public but not in __all__: {extra}"


def undocumented(path: Path) -> list[str]:
    """Public classes, functions and methods of a file that have no docstring."""
    found: list[str] = []

    def visit(body: list[ast.stmt]) -> None:
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            decorators = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
            if node.name.startswith("_") or "overload" in decorators or ".setter" in decorators:
                continue
            if not ast.get_docstring(node):
                found.append(f"{relative(path)}:{node.lineno} {node.name}")
            if isinstance(node, ast.ClassDef):
                visit(node.body)

    visit(ast.parse(path.read_text()).body)
    return found


def test_public_names_of_the_framework_have_docstrings():
    found = [
        name
        for path in MODULES
        if path.is_relative_to(ROOT / "framework")
        for name in undocumented(path)
    ]
    assert not found, found


def broad_handlers(source: str) -> list[tuple[int, str]]:
    """Lines that catch everything: bare, or `Exception` without a comment beside or above.

    One that cleans up and raises again hides nothing.
    """
    comments = {
        token.start[0]
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else ""
        again = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        explained = again or comments & {node.lineno, node.lineno - 1}
        if not caught:
            found.append((node.lineno, "bare except"))
        elif re.search(r"\b(Base)?Exception\b", caught) and not explained:
            found.append((node.lineno, "broad except without its reason"))
    return found


def test_broad_handlers_give_their_reason():
    found = [
        f"{relative(path)}:{line} {fault}"
        for path in (*MODULES, *TESTS)
        for line, fault in broad_handlers(path.read_text())
    ]
    assert not found, found


@pytest.mark.parametrize(
    ("handler", "faults"),
    [
        ("except:\n    pass", 1),
        ("except Exception:\n    pass", 1),
        ("except (ValueError, BaseException) as error:\n    raise KeyError from error", 1),
        ("except Exception:  # a plugin may raise anything\n    pass", 0),
        ("except BaseException:\n    clean()\n    raise", 0),
        ("except ValueError:\n    pass", 0),
    ],
)
def test_broad_handlers_are_seen(handler: str, faults: int):
    assert len(broad_handlers(f"try:\n    pass\n{handler}\n")) == faults
