"""What may be asked of an editor."""

from typing import Any

import pytest

from scumble.errors import OptionError
from scumble.options import check_options
from scumble.requests import REQUESTS

LEAST: dict[str, dict[str, Any]] = {
    "edit": {"source": "a cat", "targets": ["a dog"]},
    "engine": {},
    "generate": {"prompt": "a cat"},
    "invert": {"source": "a cat"},
    "prepare": {"source": "a cat"},
}


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_defaults_survive_the_way_through_json(name: str):
    request = check_options(REQUESTS[name], LEAST[name], name)
    again = check_options(REQUESTS[name], request.model_dump(mode="json"), name)
    assert again == request


@pytest.mark.parametrize("name", sorted(REQUESTS))
def test_every_request_has_a_schema_and_refuses_unknown_keys(name: str):
    schema = REQUESTS[name].model_json_schema()
    assert schema["additionalProperties"] is False
    with pytest.raises(OptionError, match="no option 'colour'"):
        check_options(REQUESTS[name], {**LEAST[name], "colour": 1}, name)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("generate", {"steps": 0}),
        ("generate", {"steps": 1001}),
        ("generate", {"steps": 2.5}),
        ("generate", {"guidance": 0.5}),
        ("generate", {"guidance": float("inf")}),
        ("generate", {"seed": -1}),
        ("generate", {"seed": 2**63}),
        ("generate", {"size": (64,)}),
        ("generate", {"size": (4, 64)}),
        ("generate", {"size": (64, 5000)}),
        ("generate", {"fit": "squeeze"}),
        ("generate", {"prompt": None}),
        ("edit", {"targets": []}),
        ("edit", {"targets": ["a dog"] * 65}),
        ("edit", {"targets": "a dog"}),
        ("edit", {"options": 3}),
        ("engine", {"precision": "fp8"}),
        ("engine", {"device": "tpu"}),
        ("engine", {"device": "cuda:x"}),
        ("engine", {"threads": 0}),
        ("engine", {"mode": "fast"}),
    ],
)
def test_what_is_out_of_range(name: str, changed: dict[str, Any]):
    (key,) = changed
    with pytest.raises(OptionError, match=rf"^{name}: {key}"):
        check_options(REQUESTS[name], {**LEAST[name], **changed}, name)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_devices(device: str):
    check_options(REQUESTS["engine"], {"device": device}, "engine")
