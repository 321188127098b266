"""`scumble plugins new`: writes a package with one plugin, ready to be installed and tested."""

import keyword
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer

import scumble
from scumble.cli.flags import Output, grouped
from scumble.cli.output import print_json
from scumble.errors import OptionError
from scumble.plugins import PLUGINS, list_entries

__all__ = ["new", "package"]

SUFFIX = ".template"
LONGEST = 30  # characters of a name, so that no line of the package is too long


@grouped
def new(
    *,
    name: Annotated[str, typer.Argument(help="Of the plugin: small letters, digits and _.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder to write; it must not exist.",
            show_default="scumble-NAME",
        ),
    ] = None,
    output: Output,
) -> None:
    """Write an installable package with a plugin that works, its options and its test."""
    folder = out if out is not None else Path(f"scumble-{name.replace('_', '-')}")
    made = package(name)
    if folder.exists():
        raise OptionError(f"'{folder}' is there already; name another folder with --out.")
    try:
        for path, text in made.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise OptionError(f"'{folder}' cannot be written: {error}; name another folder.") from error
    if output.as_json:
        print_json({"folder": str(folder), "files": sorted(map(str, made))})
    elif not output.quiet:
        print(f"wrote {folder}; next:")
        print(f"  pip install -e '{folder}[test]'")
        print(f"  scumble plugins test {name}")


def package(name: str) -> dict[Path, str]:
    """Return the files of a package with one plugin, path -> text.

    Args:
        name: of the plugin.

    Raises:
        OptionError: no name for a plugin, or one that is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or len(name) > LONGEST:
        raise OptionError(
            f"a plugin cannot be called {name!r}; take small letters, digits and single _, at most "
            f"{LONGEST}, such as keep_layout."
        )
    plugin = "".join(part.capitalize() for part in name.split("_"))
    if keyword.iskeyword(name) or {plugin, f"{plugin}Options"} & set(scumble.__all__):
        raise OptionError(f"{name!r} means something else in Python or in Scumble; take another.")
    if name in list_entries(PLUGINS):
        origins = " and ".join(listed.origin for listed in list_entries(PLUGINS)[name])
        raise OptionError(f"a plugin {name!r} is installed, by {origins}; take another name.")
    module = f"scumble_{name}"
    if find_spec(module) is not None:
        raise OptionError(f"a package {module!r} is installed; take another name.")
    words = {
        "name": name,
        "plugin": plugin,
        "module": module,
        "distribution": module.replace("_", "-"),
        "version": ".".join(version("scumble").split(".")[:2]),
    }
    root = files("scumble") / "templates" / "plugin"
    made = {path: text.substitute(words) for path, text in _templates(root, Path(), words)}
    return {**made, Path("src") / module / "py.typed": ""}


def _templates(
    folder: Traversable, path: Path, words: Mapping[str, str]
) -> Iterator[tuple[Path, Template]]:
    """Yield each template of a folder, and where its text goes."""
    for entry in folder.iterdir():
        # A file name holds no $: it would be none on every system.
        called = re.sub(r"\b(module|name)\b", lambda part: words[part[0]], entry.name)
        called = called.replace("test_name", f"test_{words['name']}")
        if entry.is_dir():
            yield from _templates(entry, path / called, words)
        elif entry.name.endswith(SUFFIX):
            yield path / called.removesuffix(SUFFIX), Template(entry.read_text(encoding="utf-8"))
