"""`--set KEY=VALUE`: a plugin's options as the command line gives them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from scumble.cli.reporting import hushed
from scumble.errors import OptionError
from scumble.plugins import options_of

__all__ = ["read_further", "read_settings"]

Schema = Mapping[str, Any]

NOTHING: Any = object()  # None is what JSON calls null


def read_settings(plugin: str, given: Sequence[str], flag: str = "--set") -> dict[str, Any]:
    """Return a plugin's options from `KEY=VALUE` texts; the plugin checks them later.

    VALUE is JSON where it parses and the option takes more than text, else it is text. An option
    that is a list takes `cat,dog`; one that is a table takes `reweight.fluffy=2`, key by key.

    Args:
        plugin: whose options; imported only if there are any.
        given: as on the command line.
        flag: for messages.

    Raises:
        OptionError: no `=`, a key given twice, or no such plugin.
        PluginError: the plugin cannot be imported.
    """
    if not given:
        return {}
    with hushed():
        schema: Schema = options_of(plugin).model_json_schema()
    found: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise OptionError(f"{flag} is {text!r}; give KEY=VALUE.")
        name, dot, inner = key.strip().partition(".")
        shape = _property(schema, name)
        if not dot:
            _put(found, name, _value(value, schema, shape), flag, name)
            continue
        table = found.setdefault(name, {})
        if not isinstance(table, dict):
            raise OptionError(f"{flag} gives {name!r} as a whole and by key; give one of them.")
        entry = _entry(schema, shape)
        _put(cast("dict[str, Any]", table), inner, _value(value, schema, entry), flag, key.strip())
    return found


def read_further(plugins: Sequence[str], given: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return further plugins' options, from `PLUGIN.KEY=VALUE` texts.

    Args:
        plugins: their names, in order.
        given: as on the command line.

    Raises:
        OptionError: a plugin that is named twice, or an option of one that is not named.
        PluginError: a plugin cannot be imported.
    """
    flag = "--further-set"
    texts: dict[str, list[str]] = {}
    for name in plugins:
        if name in texts:
            raise OptionError(f"--further {name!r} is given twice; name it once.")
        texts[name] = []
    for text in given:
        name, dot, rest = text.partition(".")
        if not dot or name not in texts:
            raise OptionError(
                f"{flag} is {text!r}; give PLUGIN.KEY=VALUE, of a plugin named by --further."
            )
        texts[name].append(rest)
    return {name: read_settings(name, mine, flag) for name, mine in texts.items()}


def _put(table: dict[str, Any], key: str, value: Any, flag: str, shown: str) -> None:
    if key in table:
        raise OptionError(f"{flag} gives {shown!r} twice; give it once.")
    table[key] = value


def _value(text: str, schema: Schema, shape: Schema) -> Any:
    """Return JSON, a list cut at its commas, or the text, whichever the option takes."""
    shapes = _alternatives(schema, shape)
    kinds = {str(one.get("type")) for one in shapes}
    parsed: Any = _parsed(text)
    if kinds == {"string"}:
        return parsed if isinstance(parsed, str) else text
    lists = [one for one in shapes if one.get("type") == "array"]
    bare = parsed is NOTHING and "," in text
    if lists and not _is_list(parsed) and (bare or kinds == {"array"}):
        items = cast("Schema", lists[0].get("items", {}))
        return [_value(part.strip(), schema, items) for part in text.split(",") if part.strip()]
    return text if parsed is NOTHING else parsed


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _parsed(text: str) -> Any:
    """Return what JSON says, or NOTHING; Infinity and NaN are no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return NOTHING


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _property(schema: Schema, name: str) -> Schema:
    return cast("Schema", schema.get("properties", {}).get(name, {}))


def _entry(schema: Schema, shape: Schema) -> Schema:
    """Return the shape of a table's values; that of anything where there is no table."""
    for kind in _alternatives(schema, shape):
        inner: object = kind.get("additionalProperties")
        if isinstance(inner, dict):
            return cast("Schema", inner)
    return {}


def _alternatives(schema: Schema, shape: Schema) -> list[Schema]:
    """Return the shapes that an option may have, references followed."""
    if "$ref" in shape:
        name = str(shape["$ref"]).rpartition("/")[2]
        return _alternatives(schema, cast("Schema", schema["$defs"][name]))
    if "anyOf" in shape:
        return [one for part in shape["anyOf"] for one in _alternatives(schema, part)]
    return [shape]
