"""Writes the reference pages from the code: `python docs/generate.py`.

hooks, ports, needs, commands, errors and requests become a page each in `docs/reference/`, and
every request and plugin's options a JSON schema in `docs/reference/schemas/`. A test compares what
is committed with what this makes.
"""

import ast
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
from typer.main import get_command

from scumble import Options, controls, errors, ports
from scumble.cli import app as program
from scumble.cli.commands import command_from
from scumble.engine import StepOutput
from scumble.hookspecs import BeforeView, GuidedNoise, Hooks, RunView, StepView, Trajectory
from scumble.plugins import Plugin, Trial, load_entry
from scumble.ports import ADDED, CONTROL_GROUPS, INPUTS, PortSizes, neutral
from scumble.requests import REQUESTS
from scumble.testing.fake_engine import CHANNELS, FEATURES, SITES, TOKENS

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs/reference"
MADE = "<!-- Made by docs/generate.py from the code; edit the code. -->"
CLASSES = (RunView, BeforeView, GuidedNoise, StepView, Trajectory, Plugin, Trial)
AXES = {
    "rows": "branches that run at once",
    "addressable": "`rows`, plus one when a recorded source row is replayed",
    "channels, height, width": "of the latent",
    "tokens": "length of the text window",
    "features": "width of a text embedding",
    "pooled": "width of a pooled text",
    "words": "weight vectors that are read, or terms of a loss",
    "self, cross, resnet": "sites of that kind, by index",
}
NEEDS = {
    "route": "self-attention takes queries, keys or values from other rows",
    "mix": "cross-attention takes another row's maps, word by word",
    "read": "a step gives the attention of weighted words; `run.look` needs it too",
    "feature": "resnets take their features from another row",
    "region": "self-attention keeps to masks",
    "join": "self-attention sees another row's keys and values beside its own",
    "loss": "gradients, by the latent, of a loss on attention maps",
    "match": "gradients, by the text, of a distance between noises; `run.match` needs it",
    "record": "a step gives out the source row's state; the host asks for it where it can be had",
    "replay": "a recorded source row is taken from and not run; likewise",
}


def own_plugins() -> dict[str, type[Plugin]]:
    """The plugins of this distribution by name; others may be installed beside them."""
    return {entry.name: entry.load() for entry in _own("scumble.plugins")}


def own_commands() -> dict[str, Any]:
    """The commands of this distribution by name, as typer sees them."""
    group: Any = get_command(program.app)
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        found[name] = command
        inner: dict[str, Any] = getattr(command, "commands", {})
        found |= {f"{name} {part}": one for part, one in inner.items()}
    for entry in _own("scumble.commands"):
        found[entry.name] = command_from(*load_entry("scumble.commands", entry.name, "command"))
    return found


def _own(group: str) -> list[Any]:
    found = {
        entry.name: entry
        for entry in entry_points(group=group)
        if entry.dist is not None and entry.dist.name == "scumble"
    }
    return [found[name] for name in sorted(found)]


def schemas() -> dict[str, type[Options]]:
    """Every class that a user fills in, by the name that `scumble schema` takes."""
    plugins = {f"plugin:{name}": kind.options_type for name, kind in own_plugins().items()}
    return {**REQUESTS, **plugins}


def prose(kind: object) -> str:
    """The docstring of something, without its `Args:`, `Attributes:` and `Raises:`."""
    text = inspect.getdoc(kind) or ""
    return re.split(r"\n(?:Args|Attributes|Raises|Returns):\n", text)[0].strip()


def flat(kind: object) -> str:
    """The same on one line, for a table."""
    return " ".join(prose(kind).split())


def listed(kind: object) -> dict[str, str]:
    """Name -> meaning, from the `Attributes:` of a class; of its bases too."""
    found: dict[str, str] = {}
    bases = reversed(kind.__mro__) if isinstance(kind, type) else [kind]
    for base in bases:
        text = inspect.cleandoc(base.__doc__ or "")
        _, _, section = text.partition("\nAttributes:\n")
        section = re.split(r"\n(?=\S)", section)[0]
        for entry in re.finditer(r"^    (\w[\w, ]*): (.*(?:\n {5,}.*)*)", section, re.MULTILINE):
            for name in entry[1].split(", "):
                found[name] = " ".join(entry[2].split())
    return found


def table(headings: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)


def page(title: str, *parts: str) -> str:
    """A whole page."""
    return "\n\n".join([MADE, f"# {title}", *(part.strip() for part in parts if part)]) + "\n"


def hooks() -> str:
    """The page of hooks: arguments, how often, and what they are given."""
    parts = [
        "A **hook** is a named moment at which the host asks the plugins of a run. A plugin marks "
        "its methods with `@hookimpl`, and may leave out arguments that it does not use. "
        "None of the hooks lies inside attention: what happens there is said by a "
        "[plan](../concepts/plan.md).",
    ]
    plugins = own_plugins()
    for name, spec in hook_specs().items():
        users = [f"`{plugin}`" for plugin, kind in plugins.items() if hasattr(kind, name)]
        parts += [
            f"## {name}",
            f"```text\n{signature(name, spec)}\n```",
            prose(spec),
            f"Used by: {', '.join(users)}.",
        ]
    for kind in CLASSES:
        meaning = listed(kind)
        kinds = types_of(kind)
        rows = ((f"`{field}`", f"`{kinds[field]}`", meaning[field]) for field in meaning)
        headings = ("attribute", "type", "meaning")
        parts += [f"## {kind.__name__}", prose(kind), table(headings, rows)]
        methods = [
            (f"`{name}({', '.join([*inspect.signature(value).parameters][1:])})`", flat(value))
            for name, value in vars(kind).items()
            if inspect.isfunction(value) and not name.startswith("_")
        ]
        if methods:
            parts.append(table(("method", "meaning"), iter(methods)))
    return page("Hooks", *parts)


def hook_specs() -> dict[str, Callable[..., object]]:
    """Every hook by name."""
    return {name: value for name, value in vars(Hooks).items() if name.startswith("scumble_")}


def signature(name: str, spec: Callable[..., object]) -> str:
    """A hook as a plugin writes it: `scumble_plan(run: RunView) -> Plan | None`."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(spec))).body
    assert isinstance(node, ast.FunctionDef)
    assert node.returns is not None
    arguments = ", ".join(ast.unparse(argument) for argument in node.args.args[1:])
    return f"{name}({arguments}) -> {ast.unparse(node.returns)}"


def types_of(kind: type[object]) -> dict[str, str]:
    """Field -> type, as the source of a dataclass writes it."""
    (node,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(node, ast.ClassDef)
    fields = (one for one in node.body if isinstance(one, ast.AnnAssign))
    return {ast.unparse(one.target): ast.unparse(one.annotation) for one in fields}


def port_page() -> str:
    """The page of ports: axes, type, group, neutral value."""
    remarks = dict(re.findall(r'^    Port\("([\w.]+)".*?\),  # (.*)$', _source(ports), re.M))
    rest = _after(ports, "INPUTS")
    neutrals = neutral_values()
    rows = (
        (
            f"`{port.name}`",
            f"({', '.join(port.axes)})",
            port.dtype,
            port.group,
            neutrals.get(port.name, ""),
            remarks.get(port.name, ""),
        )
        for port in (*INPUTS, *ADDED)
    )
    outputs = ((f"`{name}`", meaning) for name, meaning in listed(StepOutput).items())
    return page(
        "Ports",
        "A **port** is a named input or output of one UNet step. "
        "[What they compute](../concepts/ports.md) is explained with the concepts; this page is "
        "the list.",
        "## Inputs",
        "`float` is the precision of the engine, `index` is int64. A step feeds all ports of a "
        "group or none; those of the group `plain` are always fed. At its neutral value a port "
        "changes nothing.",
        table(("port", "axes", "type", "group", "neutral", "what it is"), rows),
        rest,
        _after(ports, "ADDED"),
        "## Axes",
        table(("axis", "size"), ((f"`{axis}`", size) for axis, size in AXES.items())),
        "A row index of `rows` addresses the replayed source row.",
        "## Outputs",
        prose(StepOutput),
        table(("output", "meaning"), outputs),
        "## Controls and groups",
        "A plan needs the groups of its controls, and an engine has to bind them.",
        table(("control", "group", "what it does"), _controls()),
    )


def need_page() -> str:
    """The page of needs: what each is for, its ports, and who has it."""
    groups: Mapping[type[object], str] = controls._GROUP
    uses = {name: _called(kind) for name, kind in own_plugins().items()}
    rows: list[tuple[str, ...]] = []
    for need, meaning in NEEDS.items():
        kinds = [kind.__name__ for kind, group in groups.items() if group == need]
        named = [port.name for port in INPUTS if port.group == need]
        users = [name for name, called in uses.items() if called & {*kinds, f".{need}"}]
        parts = ([f"`{one}`" for one in found] for found in (kinds, named, users))
        rows.append((f"`{need}`", meaning, *(", ".join(part) or "none" for part in parts)))
    return page(
        "Needs",
        "What a plan **needs** of an engine are the groups of [ports](ports.md) that its controls "
        "use: `plan.needs`. Nobody declares them. An engine says which groups it binds, and which "
        "of them in one step: `scumble engines --check`.",
        "A run whose plan needs what its engine lacks is refused before the first step, and the "
        "error names the engines that would do. `loss` and `match` may come from another engine "
        "than the run's own, `--gradient-engine`.",
        table(("need", "what for", "controls", "ports", "methods that may need it"), iter(rows)),
        "A method that may need something does so for some of its options: Prompt-to-Prompt reads "
        "where it blends by words, and not otherwise.",
    )


def _called(kind: type[Plugin]) -> set[str]:
    """The names that a plugin's module calls; those of methods with a dot before."""
    module = inspect.getmodule(kind)
    calls = [
        node.func for node in ast.walk(ast.parse(_source(module))) if isinstance(node, ast.Call)
    ]
    # A control is called by its name; of methods, those of the run alone: text has a join, too.
    named = {one.id for one in calls if isinstance(one, ast.Name)}
    methods = (one for one in calls if isinstance(one, ast.Attribute))
    return named | {f".{one.attr}" for one in methods if ast.unparse(one.value) == "run"}


def _controls() -> Iterator[tuple[str, str, str]]:
    groups: Mapping[type[object], str] = controls._GROUP
    for kind in get_args(controls.Control):
        yield f"`{kind.__name__}`", groups.get(kind, "none"), prose(kind).split("\n\n")[0]


def neutral_values() -> dict[str, str]:
    """Port -> its neutral value in words, read off the value itself."""
    sizes = PortSizes((CHANNELS, *SITES.native), TOKENS, FEATURES, SITES)
    found: dict[str, str] = {}
    for group in CONTROL_GROUPS:
        if group in ("record", "replay"):
            continue  # these have no neutral value: a step that needs none feeds none
        for name, value in neutral(group, sizes, 3).items():
            values = np.unique(value)
            found[name] = f"{values[0]:g}" if len(values) == 1 else "each row itself"
    return found


def _source(module: object) -> str:
    return inspect.getsource(module)  # pyright: ignore[reportArgumentType]


def _after(module: object, name: str) -> str:
    """The string that stands behind an assignment, which is its documentation."""
    body = ast.parse(_source(module)).body
    for before, node in pairwise(body):
        target = getattr(before, "target", None)
        if isinstance(target, ast.Name) and target.id == name and isinstance(node, ast.Expr):
            return str(ast.literal_eval(node.value))
    return ""


def commands() -> str:
    """The page of commands, with every flag."""
    exits = inspect.cleandoc(program.__doc__ or "").split("\n\n")[1].replace("\n", " ")
    parts = [
        "`scumble COMMAND --help` says the same in the terminal. With `--json` a command prints "
        "one JSON value on stdout, and everything else goes to stderr.",
        f"Exit codes: {exits}",
    ]
    made = own_commands()
    rows = (
        (f"[`{name}`](#scumble-{name.replace(' ', '-')})", _help(command))
        for name, command in made.items()
    )
    parts.append(table(("command", "what it does"), rows))
    for name, command in made.items():
        parts += [f"## scumble {name}", _help(command), *_flags(command)]
    return page("Commands", *parts)


def _help(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _flags(command: Any) -> Iterator[str]:
    hints = {
        name: parameter.annotation
        for name, parameter in inspect.signature(command.callback, eval_str=True).parameters.items()
    }
    panels: dict[str, list[tuple[str, ...]]] = {}
    for given in command.params:
        if given.name in ("help", "install_completion", "show_completion"):
            continue
        if given.param_type_name == "argument":
            shown = f"`{given.name.upper()}`" if given.required else f"`[{given.name.upper()}]`"
        else:
            value = "" if given.is_flag else f" {given.metavar or _value(hints.get(given.name))}"
            shown = ", ".join(f"`{flag}{value}`" for flag in given.opts)
        many = " May be repeated." if given.multiple and "repeat" not in given.help else ""
        row = shown, (given.help or "") + many, _default(given)
        panels.setdefault(given.rich_help_panel or "", []).append(row)
    for panel, rows in panels.items():
        yield table((panel or "argument or flag", "meaning", "default"), iter(rows))


def _value(hint: Any) -> str:
    while get_origin(hint) is not None:
        inner = [part for part in get_args(hint) if part is not type(None)]
        hint = inner[0]
    return {int: "N", float: "X", Path: "FILE"}.get(hint, "TEXT")


def _default(given: Any) -> str:
    if given.required:
        return "required"
    if isinstance(given.show_default, str):
        return given.show_default
    if given.default in (None, False) or given.multiple:
        return ""
    return f"`{given.default}`"


def error_page() -> str:
    """The page of errors: the tree, and each with its meaning."""
    tree = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[-1]
    rows = (
        (f"`{name}`", prose(getattr(errors, name)))
        for name in ("ScumbleError", *sorted(set(errors.__all__) - {"ScumbleError"}))
    )
    return page(
        "Errors",
        "Every message is one sentence: what was given, what is wanted, what to do. "
        "The command line prints it on stderr and exits with code 2, having written nothing; "
        "`SCUMBLE_DEBUG=1` adds the traceback.",
        f"```text\n{tree}\n```",
        table(("error", "when"), rows),
        "All of them can be imported from `scumble`. Catch `InputError` for what the user can put "
        "right, and `ScumbleError` for all that Scumble raises on purpose.",
    )


def requests() -> str:
    """The page of requests and options."""
    parts = [
        "What a user may set, with its limits. Unknown keys are refused. Each has a JSON schema, "
        "in [schemas/](schemas/) and from `scumble schema NAME`.",
        "The fields of a request are the keyword arguments of the method of `Editor` that has its "
        "name; `engine` are those of `Editor.load`. Where a request says `targets`, `Editor.edit` "
        "takes `target`, one prompt or several.",
    ]
    for name, kind in schemas().items():
        schema = kind.model_json_schema()
        meaning = listed(kind)
        rows = (
            (f"`{field}`", shape(schema, schema["properties"][field]), _initial(kind, field), text)
            for field, text in ((f, meaning.get(f, "")) for f in kind.model_fields)
        )
        title = name.replace("plugin:", "Options of ") if name.startswith("plugin:") else name
        parts += [f"## {title}", prose(kind), f"Schema: [{_file(name)}](schemas/{_file(name)})"]
        if kind.model_fields:
            parts.append(table(("field", "type", "default", "meaning"), rows))
    return page("Requests and options", *parts)


def _initial(kind: type[Options], field: str) -> str:
    info = kind.model_fields[field]
    if info.is_required():
        return "required"
    value = info.get_default(call_default_factory=True)
    if value is None or value == ():
        return "none"
    return "none" if isinstance(value, Mapping) else f"`{json.dumps(value)}`"


def shape(schema: dict[str, Any], part: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in part:
        return shape(schema, schema["$defs"][part["$ref"].rpartition("/")[2]])
    if "anyOf" in part:
        inner = [shape(schema, one) for one in part["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(inner))
    if "enum" in part or "const" in part:
        return ", ".join(f"`{value}`" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array" and "prefixItems" in part:
        return f"({', '.join(shape(schema, one) for one in part['prefixItems'])})"
    if part.get("type") == "array":
        return f"list of {shape(schema, part.get('items', {}))}"
    if part.get("type") == "object":
        values = part.get("additionalProperties")
        return f"table of {shape(schema, values)}" if isinstance(values, dict) else "table"
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "yes/no"}
    return names.get(part.get("type", ""), "anything") + _limits(part)


def _limits(part: dict[str, Any]) -> str:
    low, high = part.get("minimum"), part.get("maximum")
    if part.get("exclusiveMaximum", 0) >= 2**63:
        return f" from {low}"
    if low is None or high is None:
        return "" if low is None else f" from {low:g}"
    return f" {low:g} to {high:g}"


def _file(name: str) -> str:
    return f"{name.replace(':', '-')}.json"


def generated() -> dict[Path, str]:
    """Every generated file by its path."""
    made = {
        "hooks.md": hooks(),
        "ports.md": port_page(),
        "needs.md": need_page(),
        "commands.md": commands(),
        "errors.md": error_page(),
        "requests.md": requests(),
    }
    for name, kind in schemas().items():
        text = json.dumps(kind.model_json_schema(), indent=2, ensure_ascii=False)
        made[f"schemas/{_file(name)}"] = text + "\n"
    return {REFERENCE / name: text for name, text in made.items()}


def main() -> int:
    """Write what has changed, take away what is no longer made, and say so."""
    made = generated()
    for path in sorted(REFERENCE.rglob("*")):
        if path.is_file() and path not in made:
            path.unlink()
            print(f"removed {path.relative_to(ROOT)}")
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
