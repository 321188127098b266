"""The reference pages say what the code says, and the README lists what there is."""

import importlib.util
import inspect
import json
import re
import tomllib
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import jsonschema
import pytest

from scumble import controls, errors
from scumble.hookspecs import Hooks, RunView
from scumble.host import Host
from scumble.plans import Plan
from scumble.plugins import Trial
from scumble.ports import ADDED, INPUTS
from scumble.testing.subject import Subject

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs/reference"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOOKS = {name: spec for name, spec in vars(Hooks).items() if name.startswith("scumble_")}


def load_generator() -> ModuleType:
    """`docs/generate.py` as a module; it lies in no package."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = load_generator()
MADE: dict[Path, str] = GENERATOR.generated()


def read(name: str) -> str:
    """A reference page."""
    return (REFERENCE / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MADE, ids=lambda path: path.relative_to(REFERENCE).as_posix())
def test_a_committed_page_is_the_generated_one(path: Path):
    assert path.exists(), "not there; run make docs"
    assert path.read_text(encoding="utf-8") == MADE[path], "stale; run make docs"


def test_nothing_else_lies_in_the_reference():
    assert {path for path in REFERENCE.rglob("*") if path.is_file()} == set(MADE)


def test_the_generator_writes_what_is_missing_and_removes_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "docs/reference"
    made = {folder / path.relative_to(REFERENCE): text for path, text in MADE.items()}
    monkeypatch.setattr(GENERATOR, "ROOT", tmp_path)
    monkeypatch.setattr(GENERATOR, "REFERENCE", folder)
    monkeypatch.setattr(GENERATOR, "generated", lambda: made)
    folder.mkdir(parents=True)
    (folder / "old.md").write_text("of a page that is no longer made")
    assert GENERATOR.main() == 0
    assert {p: p.read_text() for p in folder.rglob("*") if p.is_file()} == made


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_documented(name: str):
    """With its exact arguments, when it is called and how often, and what None means."""
    section = read("hooks.md").partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    parameters = [p for p in inspect.signature(HOOKS[name]).parameters if p != "self"]
    shown = re.search(rf"^{name}\((.*)\) -> .+$", section, re.MULTILINE)
    assert shown, f"hooks.md has no signature of {name}"
    arguments = re.sub(r"\[[^]]*\]", "", shown[1])  # of types, which have commas too
    assert [part.split(":")[0] for part in arguments.split(", ")] == parameters
    assert re.search(r"^Called once a (run|step)\b", section, re.MULTILINE), "how often?"
    assert re.search(r"^Used by: `", section, re.MULTILINE), "a hook ships with a plugin"


def test_what_a_plugin_says_of_itself_is_documented():
    page = read("hooks.md")
    for name in ("options_type", "trial", "takes_mask(name)"):
        assert re.search(rf"^\| `{re.escape(name)}` \|.* \w+.* \|$", page, re.MULTILINE), name
    for field in fields(Trial):
        assert f"| `{field.name}` | `" in page.partition("\n## Trial\n")[2]


def test_every_port_line_is_on_the_page():
    page = read("ports.md")
    source = (ROOT / "framework/scumble/ports.py").read_text()
    names = re.findall(r'^    Port\("([\w.]+)"', source, re.MULTILINE)
    assert names == [port.name for port in (*INPUTS, *ADDED)]
    for port in (*INPUTS, *ADDED):
        start = f"| `{port.name}` | ({', '.join(port.axes)}) | {port.dtype} | {port.group} |"
        assert start in page, f"ports.md has no line for {port.name}"


def test_every_need_is_on_the_page():
    """With its ports, its controls, and the methods whose plans have it."""
    page = read("needs.md")
    groups = {port.group for port in INPUTS} - {"plain"}
    assert set(GENERATOR.NEEDS) == groups
    for need in groups:
        row = re.search(rf"^\| `{need}` \| .*$", page, re.MULTILINE)
        assert row, f"needs.md has no line for {need}"
        assert all(f"`{port.name}`" in row[0] for port in INPUTS if port.group == need)
        kinds = [kind.__name__ for kind, group in controls._GROUP.items() if group == need]
        assert all(f"`{kind}`" in row[0] for kind in kinds)


@pytest.mark.parametrize("name", sorted(PROJECT["entry-points"]["scumble.plugins"]))
def test_the_needs_of_a_plan_are_among_those_of_its_method(
    name: str, monkeypatch: pytest.MonkeyPatch
):
    """Those of the plan that the plugin's own trial has."""
    planned: list[Plan] = []
    plan = Host.plan

    class Seen(Exception): ...

    def noted(self: Host, run: RunView) -> list[Plan]:
        planned.extend(plan(self, run))
        raise Seen

    monkeypatch.setattr(Host, "plan", noted)
    subject = Subject.of(name)
    with pytest.raises(Seen):
        subject.run(subject.trial.options)
    rows = read("needs.md").splitlines()
    needs = {need for found in planned for need in found.needs}
    assert needs or name not in ("prompt_to_prompt", "masactrl", "mag_edit", "plug_and_play")
    for need in needs:
        (row,) = [line for line in rows if line.startswith(f"| `{need}` |")]
        assert f"`{name}`" in row


def test_every_axis_is_explained():
    explained = {axis for group in GENERATOR.AXES for axis in group.split(", ")}
    used = {axis for port in (*INPUTS, *ADDED) for axis in port.axes if not axis.isdigit()}
    assert used == explained


def test_every_command_is_on_the_page_with_its_flags():
    page = read("commands.md")
    for name, command in GENERATOR.own_commands().items():
        section = page.partition(f"\n## scumble {name}\n")[2].partition("\n## ")[0]
        assert section, f"commands.md has no section for {name}"
        flags = {flag for given in command.params for flag in given.opts if flag[:2] == "--"}
        missing = [flag for flag in flags - {"--help"} if f"`{flag}" not in section]
        assert not missing, f"scumble {name}: {missing} not in commands.md"


def test_every_error_is_on_the_page():
    missing = [name for name in errors.__all__ if f"| `{name}` |" not in read("errors.md")]
    assert not missing


def test_every_field_is_on_the_page_with_its_meaning():
    page = read("requests.md")
    for name, kind in GENERATOR.schemas().items():
        title = name.replace("plugin:", "Options of ")
        section = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        for field in kind.model_fields:
            row = re.search(rf"^\| `{field}` \|.*\| ([^|]+) \|$", section, re.MULTILINE)
            assert row, f"{name}.{field} has no line in requests.md"
            assert row[1].strip(), f"{name}.{field} has no meaning: document it in the class"


@pytest.mark.parametrize("path", [p for p in MADE if p.suffix == ".json"], ids=lambda p: p.stem)
def test_a_schema_is_one(path: Path):
    schema = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


def test_the_readme_lists_every_plugin():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    assert listed == set(PROJECT["entry-points"]["scumble.plugins"])


def anchors(page: str) -> set[str]:
    """What `#...` may point to: headings as GitHub makes anchors of them."""
    plain = re.sub(r"^(```|~~~).*?^\1", "", page, flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path):
    text = page.read_text(encoding="utf-8")
    wrong: list[str] = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
            wrong.append(link)
    assert not wrong, wrong


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")]
    missing = [
        page
        for page in pages
        if page != "README.md" and not page.startswith("decisions/") and f"({page})" not in index
    ]
    assert not missing, f"not in docs/README.md: {missing}"
