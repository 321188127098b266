import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from scumble.requests import REQUESTS


@pytest.mark.parametrize("name", [*REQUESTS, "plugin:prompt_to_prompt", "plugin:direct"])
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_schemas(scumble: Any, name: str, flags: tuple[str, ...]):
    done = scumble("schema", name, *flags)
    assert (done.code, done.err) == (0, "")
    schema = json.loads(done.out)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


def test_names(scumble: Any):
    names = scumble("schema").out.splitlines()
    assert {*REQUESTS, "plugin:prompt_to_prompt"} <= set(names)
    assert json.loads(scumble("schema", "--json").out) == {"names": names}
    assert scumble("schema", "--quiet").out == ""


@pytest.mark.parametrize("name", ["nope", "plugin:nope", "plugin:"])
def test_no_such_schema(scumble: Any, name: str):
    scumble("schema", name).refused("no ")
