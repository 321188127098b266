"""Networks out of folders: whole, or a sentence."""

from pathlib import Path
from typing import Any

import pytest

from scumble.errors import ModelError
from scumble_bench.evaluation.metrics.folders import load_whole


class Network:
    """Stands for a model: notes what was done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def eval(self) -> "Network":
        self.done.append("eval")
        return self

    def requires_grad_(self, on: bool) -> "Network":
        self.done.append(f"requires_grad {on}")
        return self


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_parts_come_in_order_and_nothing_is_looked_for_elsewhere(folder: Path):
    asked: list[tuple[str, Any]] = []

    def part(given: Path, **how: Any) -> str:
        asked.append(("part", how))
        return "a part"

    def model(given: Path, **how: Any) -> tuple[Network, dict[str, set[str]]]:
        asked.append(("model", how))
        return Network(), {"missing_keys": set()}

    loaded, network = load_whole(folder, "an/example", (part,), model)
    assert loaded == "a part"
    assert network.done == ["eval", "requires_grad False"]
    assert all(how["local_files_only"] for _, how in asked)
    assert [name for name, _ in asked] == ["part", "model"]


def test_missing_weights_are_an_error_where_transformers_makes_them_up(folder: Path):
    def model(given: Path, **how: Any) -> tuple[Network, dict[str, set[str]]]:
        return Network(), {"missing_keys": {"b.weight", "a.weight"}}

    with pytest.raises(ModelError, match=r"lacks 2 weights, the first is 'a.weight'.*an/example"):
        load_whole(folder, "an/example", (), model)


def test_what_transformers_says_is_passed_on(folder: Path):
    def model(given: Path, **how: Any) -> Any:
        raise OSError("no file named model.safetensors")

    with pytest.raises(ModelError, match=r"as a copy of an/example.*no file named model"):
        load_whole(folder, "an/example", (), model)


def test_a_folder_without_a_configuration_is_not_asked_for_at_all(tmp_path: Path):
    with pytest.raises(ModelError, match=r"holds no config.json"):
        load_whole(tmp_path, "an/example", (), pytest.fail)
