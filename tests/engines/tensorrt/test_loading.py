"""From bytes to an engine whose weights are in and whose ports are known."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scumble.errors import EngineError, PortError
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.loading import Loaded, load

Sentence = Callable[[pytest.ExceptionInfo[BaseException]], str]
Plan = Callable[..., bytes]


@pytest.fixture
def path(pack: Path) -> Path:
    return pack / "unet.replaying.onnx"


@pytest.fixture
def loaded(fake: Library, path: Path, plan: Plan) -> Loaded:
    return load(fake, path, plan(path), stripped=False)


def shapes(loaded: Loaded, rows: int) -> dict[str, tuple[int, ...]]:
    """Shapes of every input at so many rows."""
    more = rows - 1
    return {
        name: tuple(low + (more if low != high else 0)
                    for low, high in zip(one.least, one.most, strict=True))
        for name, one in loaded.inputs.items()
    }  # fmt: skip


def test_ports_are_known_by_name_shape_and_type(loaded: Loaded):
    sample, weights = loaded.inputs["sample"], loaded.inputs["read.weights"]
    assert (sample.least, sample.most) == ((1, 4, 16, 16), (8, 4, 16, 16))
    assert (weights.least[0], weights.most[0]) == (2, 9)
    assert loaded.inputs["timestep"].dtype == np.int64
    assert sample.dtype == np.float32
    assert list(loaded.outputs) == ["noise", "read.1"]
    assert loaded.outputs["noise"].least == (-1, 4, 16, 16)


def test_a_whole_plan_is_not_refitted(fake: Library, loaded: Loaded):
    assert not fake.api.steps
    assert loaded.scratch == fake.api.engines[0].device_memory_size_v2


def test_weights_are_found_by_the_parser_and_then_put_in(fake: Library, path: Path, plan: Plan):
    load(fake, path, plan(path), stripped=True)
    assert fake.api.steps == [
        "refitter", "weights of unet.replaying.onnx", "missing?", "refit",
    ]  # fmt: skip


def test_weights_that_are_missing_are_named(
    fake: Library, path: Path, plan: Plan, one_sentence: Sentence
):
    fake.api.missing = ["conv_in.weight", "conv_in.bias"]
    with pytest.raises(EngineError) as error:
        load(fake, path, plan(path), stripped=True)
    assert "'conv_in.weight' among them" in one_sentence(error)
    assert "refit" not in fake.api.steps


def test_weights_that_are_not_found_are_an_error(
    fake: Library, path: Path, plan: Plan, tmp_path: Path, one_sentence: Sentence
):
    with pytest.raises(EngineError, match=r"cannot put the weights of gone\.onnx in") as error:
        load(fake, tmp_path / "gone.onnx", plan(path), stripped=True)
    one_sentence(error)


def test_bytes_that_are_refused_say_why(fake: Library, path: Path, one_sentence: Sentence):
    with pytest.raises(EngineError) as error:
        load(fake, path, b"junk", stripped=False)
    assert "unet.replaying.onnx: the plan is of another version." in one_sentence(error)


def test_contexts_have_no_memory_and_are_compiled_before_they_run(fake: Library, loaded: Loaded):
    contexts = [loaded.context(), loaded.context()]
    first, second = fake.api.engines[0].settings
    assert first is second  # so that the second need not compile again
    assert first.kind == "ours"
    assert first.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert first.cache() is not None
    assert contexts[0] is not contexts[1]


def test_tensorrt_is_asked_in_its_own_way(fake_tensorrt: Library, path: Path, plan: Plan):
    load(fake_tensorrt, path, plan(path), stripped=False).context()
    assert fake_tensorrt.api.engines[0].settings == ["ours"]


def test_no_context_is_an_error(
    fake: Library, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, one_sentence: Sentence
):
    monkeypatch.setattr(fake.api.engines[0], "create_execution_context", lambda settings: None)
    with pytest.raises(EngineError, match=r"cannot run unet\.replaying\.onnx") as error:
        loaded.context()
    one_sentence(error)


def test_a_port_in_the_hosts_memory_is_refused(
    fake: Library, loaded: Loaded, path: Path, one_sentence: Sentence
):
    engine: Any = fake.api.engines[0]
    engine.location = "host"
    with pytest.raises(EngineError, match="wants port 'sample' in the host's memory") as error:
        Loaded(fake, path.name, engine, (), loaded.log)
    one_sentence(error)


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_shapes_that_it_was_built_for_pass(loaded: Loaded, rows: int):
    loaded.check(shapes(loaded, rows))


def test_other_shapes_are_told_which_there_are(loaded: Loaded, one_sentence: Sentence):
    with pytest.raises(PortError) as error:
        loaded.check(shapes(loaded, 9))
    text = one_sentence(error)
    assert "port 'sample' has shape (9, 4, 16, 16)" in text
    assert "built for (1 to 8, 4, 16, 16)" in text
    with pytest.raises(PortError, match="port 'text' has shape"):
        loaded.check({**shapes(loaded, 2), "text": (2, 41, 32)})


@pytest.mark.parametrize("change", ["missing", "added"])
def test_other_ports_are_named(loaded: Loaded, change: str, one_sentence: Sentence):
    given = shapes(loaded, 2)
    if change == "missing":
        del given["route"]
    else:
        given["region.query"] = (2, 16, 16)
    with pytest.raises(PortError) as error:
        loaded.check(given)
    wrong = "route" if change == "missing" else "region.query"
    assert one_sentence(error).endswith(f"fed otherwise: {wrong}.")
