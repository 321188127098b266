"""Values that JSON does not know come back as they were."""

import json
import math

import pytest

from scumble_bench.evaluation.numbers import as_json, from_json


@pytest.mark.parametrize("value", [0.0, 1.5, -2e-30, math.inf, -math.inf, math.nan])
def test_they_come_back(value: float):
    text = json.dumps(as_json(value), allow_nan=False)
    found = from_json(json.loads(text))
    assert found == value or (math.isnan(found) and math.isnan(value))
