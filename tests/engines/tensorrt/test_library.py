"""Which TensorRT is taken, and what it says."""

import importlib
import importlib.machinery
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from scumble.errors import EngineError
from scumble_engines.tensorrt import library as library_module
from scumble_engines.tensorrt.library import (
    Library,
    Log,
    find_library,
    is_installed,
    make_log,
)

Sentence = Callable[[pytest.ExceptionInfo[BaseException]], str]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes it look as if these modules were installed: name -> version, or what importing does."""

    def pretend(**modules: str | Exception) -> None:
        def find(name: str) -> Any:
            found = modules.get(name, ModuleNotFoundError(f"No module {name}", name=name))
            if isinstance(found, Exception):
                raise found
            return SimpleNamespace(__version__=found)

        monkeypatch.setattr(importlib, "import_module", find)

    return pretend


@pytest.mark.parametrize(
    ("modules", "taken"),
    [
        ({"tensorrt": "10.12.0", "tensorrt_rtx": "1.7.1.116"}, ("tensorrt", "10.12.0")),
        ({"tensorrt": "11.4.0.106"}, ("tensorrt", "11.4.0.106")),
        ({"tensorrt_rtx": "1.7.1.116"}, ("tensorrt_rtx", "1.7.1.116")),
        ({"tensorrt": "8.6.0", "tensorrt_rtx": "1.10.0"}, ("tensorrt_rtx", "1.10.0")),
        (
            {"tensorrt": ImportError("libnvinfer.so.11: cannot open"), "tensorrt_rtx": "1.4.0"},
            ("tensorrt_rtx", "1.4.0"),
        ),
    ],
)
def test_the_first_that_does_is_taken(
    install: Callable[..., None], modules: dict[str, Any], taken: tuple[str, str]
):
    install(**modules)
    found = find_library()
    assert (found.name, found.version) == taken


@pytest.mark.parametrize(
    ("modules", "reason"),
    [
        ({}, "neither tensorrt nor tensorrt_rtx is installed"),
        ({"tensorrt": "10.11.0"}, r"tensorrt 10\.11\.0 is older than 10\.12"),
        ({"tensorrt_rtx": "1.3.0"}, r"tensorrt_rtx 1\.3\.0 is older than 1\.4"),
        ({"tensorrt": OSError("wrong ELF class")}, "tensorrt does not load .wrong ELF class"),
        (
            {"tensorrt_rtx": ModuleNotFoundError("x", name="tensorrt_rtx_bindings")},
            "tensorrt_rtx lacks tensorrt_rtx_bindings",
        ),
    ],
)
def test_none_that_does_is_one_error(
    install: Callable[..., None],
    modules: dict[str, Any],
    reason: str,
    one_sentence: Sentence,
):
    install(**modules)
    with pytest.raises(EngineError, match=reason) as error:
        find_library()
    assert "pip install 'scumble[tensorrt]'" in one_sentence(error)


@pytest.mark.parametrize(("there", "found"), [("tensorrt", True), ("numpy", False)])
def test_an_installed_one_is_seen_without_importing_it(
    monkeypatch: pytest.MonkeyPatch, there: str, found: bool
):
    spec = importlib.machinery.ModuleSpec(there, None)
    monkeypatch.setattr(library_module, "find_spec", lambda name: spec if name == there else None)
    assert is_installed() == found


def test_the_installed_one_builds_for_what_is_not_here(library: Library):
    assert {"sm89", "sm120"} <= set(library.capabilities)
    assert "none" not in library.capabilities
    assert "current" not in library.capabilities
    assert library.at_hand is not None


def test_tensorrt_has_no_choice_of_targets(fake_tensorrt: Library):
    assert fake_tensorrt.capabilities == {}
    assert fake_tensorrt.at_hand is None


def test_a_log_keeps_the_mistakes_alone(fake: Library):
    logger, log = make_log(fake)
    assert log.first == "it does not say why"
    for severity, text in (("warning", "a"), ("error", "b\n  c"), ("internal", "d")):
        logger.log(severity, text)
    assert log.errors == ["b\n  c", "d"]
    assert log.first == "b c"


@pytest.mark.thorough
def test_the_installed_one_takes_the_logger(library: Library):
    logger, log = make_log(library)
    network = library.api.Builder(logger).create_network(1)
    assert not library.api.OnnxParser(network, logger).parse(b"no graph")
    assert log.errors
    assert isinstance(log, Log)
