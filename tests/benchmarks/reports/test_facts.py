from scumble_bench.reports.facts import flattened


def test_nesting_becomes_dots():
    facts = {"cpu": "A", "versions": {"torch": "2", "deep": {"x": 1}}, "load": [0.5, 1], "no": None}
    assert flattened(facts) == {
        "cpu": "A", "versions.torch": "2", "versions.deep.x": "1", "load": "[0.5, 1]", "no": "null",
    }  # fmt: skip
    assert flattened({"a": True}, "settings.") == {"settings.a": "true"}
