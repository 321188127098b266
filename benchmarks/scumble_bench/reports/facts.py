"""Nested facts, such as a provenance, as a flat list."""

import json
from collections.abc import Mapping
from typing import Any, cast

__all__ = ["flattened"]


def flattened(facts: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return nested facts as dotted name -> text; lists and numbers as JSON.

    Args:
        facts: names may be nested as deep as they like.
        above: what every name begins with.
    """
    found: dict[str, str] = {}
    for name, value in facts.items():
        dotted = f"{above}{name}"
        if isinstance(value, Mapping):
            found |= flattened(cast("Mapping[str, Any]", value), f"{dotted}.")
        else:
            found[dotted] = value if isinstance(value, str) else json.dumps(value, default=str)
    return found
