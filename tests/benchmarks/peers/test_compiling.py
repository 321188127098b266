"""Compiled peers: traced here and run as they are; `inductor` itself in a slow test."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from scumble import Editor
from scumble.arrays import Array
from scumble_bench.peers.compiling import torch_compiled
from scumble_bench.peers.peer import PEERS, PeerEntry, agreement

COMPILED = [entry for entry in PEERS if entry.settings.get("compiled")]


def test_a_function_is_compiled_for_what_it_is_given():
    seen: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        seen.append(inputs)
        return graph.forward

    doubled = torch_compiled(lambda x: 2 * x, backend)  # pyright: ignore[reportArgumentType]
    assert doubled(torch.ones(3)).tolist() == [2, 2, 2]
    assert doubled(torch.ones(3)).tolist() == [2, 2, 2]
    assert len(seen) == 1


def test_a_backend_that_fails_is_not_hidden():
    def backend(graph: Any, inputs: Any) -> Any:
        raise ValueError("no compiler")

    failing = torch_compiled(lambda x: 3 * x, backend)  # pyright: ignore[reportArgumentType]
    with pytest.raises(Exception, match="no compiler"):
        failing(torch.ones(3))


def test_giving_up_after_many_forms_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scumble_bench.peers.compiling.FORMS", 2)
    ranked = torch_compiled(lambda x: x + 1, "eager")
    for rank in (1, 2):
        ranked(torch.ones([2] * rank))
    with pytest.raises(Exception, match="recompile_limit"):
        ranked(torch.ones(2, 2, 2))


def load(entry: PeerEntry, folder: Path, backend: str) -> Any:
    kind = getattr(importlib.import_module(entry.module), entry.kind)
    return kind.load(folder, **entry.settings, backend=backend)


def held(entry: PeerEntry, peer: Any, editor: Editor, work: Any, picture: Array) -> None:
    assert peer.name == entry.name
    asked = work(entry.method)
    image = None if entry.method == "generate" else picture
    wanted = entry.ours(editor, asked, image)
    for _ in range(2):
        assert agreement(peer.run(asked, image).latents, wanted) <= entry.tolerance


@pytest.mark.slow
# torch 2.13 says so of its own look at a tensor that a broken-off part hands to the next.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize("entry", COMPILED, ids=lambda entry: entry.name)
def test_traced_it_agrees(small: Path, work: Any, picture: Array, entry: PeerEntry):
    with Editor.load(small, engine="torch", device="cpu") as editor:
        held(entry, load(entry, small, "eager"), editor, work, picture)


@pytest.mark.slow
@pytest.mark.skipif(" " in torch.__file__, reason="inductor links from no path with a space")
# Of a module that torch 2.13 itself loads with its compiler.
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_inductor_agrees(small: Path, work: Any, picture: Array):
    (entry,) = (e for e in COMPILED if e.method == "generate")
    with Editor.load(small, engine="torch", device="cpu") as editor:
        held(entry, load(entry, small, "inductor"), editor, work, picture)
