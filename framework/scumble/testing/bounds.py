"""Values that an option must refuse, read off its JSON schema."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["beyond"]

Schema = Mapping[str, Any]
NUMBERS = ("number", "integer")


def beyond(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield (option, value) for values just outside what an option's schema allows.

    Only for options with a limit or a list of choices that every alternative has.

    Args:
        schema: of all options, as `model_json_schema()` gives it.
    """
    for name, shape in schema.get("properties", {}).items():
        kinds = [one for one in _alternatives(schema, shape) if one.get("type") != "null"]
        numbers = [one for one in kinds if one.get("type") in NUMBERS]
        if numbers:
            lows = [one.get("minimum", one.get("exclusiveMinimum")) for one in numbers]
            highs = [one.get("maximum", one.get("exclusiveMaximum")) for one in numbers]
            if None not in lows:
                yield name, min(lows) - 1
            if None not in highs:
                yield name, max(highs) + 1
        elif kinds and all("enum" in one or "const" in one for one in kinds):
            yield name, "no such choice"


def _alternatives(schema: Schema, shape: Schema) -> list[Schema]:
    """Return the shapes that an option may have, references followed."""
    if "$ref" in shape:
        return _alternatives(schema, schema["$defs"][str(shape["$ref"]).rpartition("/")[2]])
    if "anyOf" in shape:
        return [one for part in shape["anyOf"] for one in _alternatives(schema, part)]
    return [shape]
