"""A build in a process of its own: what it answers, and what becomes of one that does not."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scumble.errors import EngineError, ModelError
from scumble.packs import Manifest
from scumble_engines.tensorrt import worker
from scumble_engines.tensorrt.library import Library
from scumble_engines.tensorrt.orders import Order
from scumble_engines.tensorrt.targets import Target, read_targets
from scumble_engines.tensorrt.worker import build_apart, serve

pytestmark = pytest.mark.thorough
Sentence = Callable[[pytest.ExceptionInfo[BaseException]], str]


@pytest.fixture
def order(library: Library, pack: Path, manifest: Manifest) -> Order:
    target = read_targets("sm89", library, None)[0]
    return Order(pack, manifest, "vae_encoder", target, stripped=False)


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a program in the place of the child."""

    def instead(program: str) -> None:
        popen = subprocess.Popen
        monkeypatch.setattr(
            worker.subprocess,
            "Popen",
            lambda command, **how: popen([sys.executable, "-c", program], **how),
        )

    return instead


def asked(library: Library, order: Order, **changes: Any) -> dict[str, Any]:
    return {
        "folder": str(order.folder), "part": order.part, "target": order.target.name,
        "stripped": order.stripped, "device": None, "digest": order.key(library).digest,
        **changes,
    }  # fmt: skip


def test_bytes_come_back_with_progress(library: Library, order: Order):
    told: list[tuple[str, float]] = []
    data = build_apart(library, order, tell=lambda what, share: told.append((what, share)))
    assert len(data) > 1_000_000
    assert told[0] == ("reading the graph", 0.0)
    assert told[-1][0] == "building"
    assert len(told) < 102
    assert [share for _, share in told] == sorted(share for _, share in told)


def test_an_error_comes_back_as_what_it_is(library: Library, order: Order, tmp_path: Path):
    (tmp_path / "manifest.json").write_bytes((order.folder / "manifest.json").read_bytes())
    (tmp_path / order.path.name).write_bytes(b"junk")
    with pytest.raises(ModelError, match=r"cannot read vae_encoder\.onnx"):
        build_apart(library, replace(order, folder=tmp_path))


def test_a_crash_of_tensorrt_is_one_sentence(
    library: Library, order: Order, tmp_path: Path, says: Callable[[str], None],
    one_sentence: Sentence,
):  # fmt: skip
    says("import os; os.kill(os.getpid(), 11)")
    with pytest.raises(EngineError) as error:
        build_apart(library, order)
    text = one_sentence(error)
    assert "crashed while it built vae_encoder.onnx for sm89 (SIGSEGV)" in text


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import sys; sys.exit('no such thing')", "no such thing"),
        ("raise SystemExit(3)", "exit code 3"),
        ("raise ValueError('odd')", "ValueError: odd"),
        ("print('{\"bytes\": 100}'); print('short')", "exit code 0"),
    ],
)
def test_a_child_that_falls_silent_is_an_error(
    library: Library,
    order: Order,
    says: Callable[[str], None],
    program: str,
    reason: str,
    one_sentence: Sentence,
):
    says(program)
    with pytest.raises(EngineError, match="ended while it built") as error:
        build_apart(library, order)
    assert one_sentence(error).endswith(f": {reason}.")


INTERRUPTED = """
import signal, subprocess, sys, threading, time
from pathlib import Path

from scumble.packs import read_manifest
from scumble_engines.tensorrt import worker
from scumble_engines.tensorrt.library import find_library
from scumble_engines.tensorrt.orders import Order
from scumble_engines.tensorrt.targets import read_targets

folder, mark = map(Path, sys.argv[1:])
library = find_library()
target = read_targets("sm89", library, None)[0]
order = Order(folder, read_manifest(folder), "vae_encoder", target, stripped=False)
popen = subprocess.Popen
child = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
subprocess.Popen = lambda command, **how: popen([sys.executable, "-c", child], **how)
# A process that was started in the background ignores interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

def interrupt():
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.01)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
try:
    worker.build_apart(library, order)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.usefixtures("library")
def test_an_interrupt_ends_the_child(pack: Path, tmp_path: Path):
    """In a program of its own: a signal that goes astray would end the tests."""
    mark = tmp_path / "pid"
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, pack, mark], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "interrupted\n", done.stderr
    assert not Path(f"/proc/{mark.read_text()}").exists()


def test_a_pack_that_changed_meanwhile_is_noticed(library: Library, order: Order):
    answers = io.BytesIO()
    serve(asked(library, order, digest="0" * 64), answers)
    answer = json.loads(answers.getvalue())
    assert answer["error"] == "EngineError"
    assert "was changed while it was built" in answer["message"]


def test_the_gpu_at_hand_is_opened_for_the_build(
    monkeypatch: pytest.MonkeyPatch, library: Library, order: Order
):
    """And the target is TensorRT's own word for it where it has none of ours."""
    opened: list[int] = []
    seen: list[Target] = []
    monkeypatch.setattr(worker, "open_device", lambda number: opened.append(number))
    monkeypatch.setattr(
        worker, "build", lambda library, order, tell: seen.append(order.target) or memoryview(b"x")
    )
    elsewhere = replace(order, target=Target("Fake GPU 0", library.at_hand))
    answers = io.BytesIO()
    serve(asked(library, elsewhere, device=1), answers)
    assert answers.getvalue() == b'{"bytes": 1}\nx'
    assert opened == [1]
    assert seen == [elsewhere.target]
