"""Builds in a process of its own: TensorRT can crash, and after a failed build it is in disorder.

Two attentions that share a query, for one, end TensorRT-RTX 1.7.1 with a segmentation fault. The
child also takes its memory along, which is several times the weights.

It is given one JSON object on stdin; it answers with one a line, and the bytes after the last:

    {"what": "building", "share": 0.25}
    {"bytes": 11377724}
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, cast

from scumble import errors
from scumble.errors import EngineError, ScumbleError
from scumble.packs import read_manifest
from scumble_engines.tensorrt.building import Tell, build
from scumble_engines.tensorrt.cuda import open_device
from scumble_engines.tensorrt.library import Library, find_library
from scumble_engines.tensorrt.orders import Order
from scumble_engines.tensorrt.targets import Target

__all__ = ["build_apart", "main", "serve"]


def build_apart(
    library: Library,
    order: Order,
    device: int | None = None,
    tell: Tell = lambda _what, _share: None,
) -> bytes:
    """Return a built engine, made in another process, which ends with this call.

    Args:
        library: what builds.
        order: which graph, and for what.
        device: number of the GPU to build on, or None.
        tell: called with what is done now and the share of it that is done.

    Raises:
        ModelError: TensorRT does not read the graph.
        EngineError: it cannot build it for this target, or it crashed.
    """
    asked = {
        "path": sys.path,
        "folder": str(order.folder),
        "part": order.part,
        "target": order.target.name,
        "stripped": order.stripped,
        "device": device,
        "digest": order.key(library).digest,
    }
    command = [sys.executable, "-P", "-m", __name__]
    # The request is in a file: a pipe breaks where the child ends before it has read.
    with tempfile.TemporaryFile() as request, tempfile.TemporaryFile() as said:
        request.write(json.dumps(asked).encode())
        request.seek(0)
        # A session of its own: an interrupt goes to this process, which ends the child.
        with subprocess.Popen(
            command,
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        ) as process:
            try:
                data = _answer(cast("BinaryIO", process.stdout), tell)
            except BaseException:
                process.kill()
                raise
        if data is None:
            said.seek(0)
            raise EngineError(_fate(process.returncode, order, said.read()))
    return data


def _answer(lines: BinaryIO, tell: Tell) -> bytes | None:
    """Return the bytes, or None where the child fell silent."""
    for line in lines:
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            kind: type[ScumbleError] = getattr(errors, told["error"])
            raise kind(told["message"])
        if "bytes" in told:
            data = lines.read(told["bytes"])
            return data if len(data) == told["bytes"] else None
        tell(told["what"], told["share"])
    return None


def _fate(code: int, order: Order, said: bytes) -> str:
    """Return a sentence about a child that ended without an answer."""
    what = f"while it built {order.path.name} for {order.target.name}"
    if code < 0:
        return (
            f"TensorRT crashed {what} ({signal.Signals(-code).name}); leave that graph out with "
            "--variant, or try another version of TensorRT."
        )
    lines = said.decode(errors="replace").strip().splitlines()
    return f"TensorRT's process ended {what}: {lines[-1] if lines else f'exit code {code}'}."


def main() -> None:
    """Answer the one request that comes on stdin."""
    asked: dict[str, Any] = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    importlib.invalidate_caches()
    # What TensorRT prints goes to stderr: only answers reach the parent.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        serve(asked, answers)


def serve(asked: dict[str, Any], answers: BinaryIO) -> None:
    """Build what is asked for, and write the answers."""

    def write(answer: dict[str, Any], data: memoryview | None = None) -> None:
        answers.write(json.dumps(answer).encode() + b"\n")
        if data is not None:
            answers.write(data)
        answers.flush()

    before = ("", -1)

    def tell(what: str, share: float) -> None:
        nonlocal before
        now = (what, int(share * 100))
        if now != before:  # TensorRT reports a thousand steps
            write({"what": what, "share": share})
        before = now

    try:
        device = None if asked["device"] is None else open_device(asked["device"])
        library = find_library()
        name = asked["target"]
        target = Target(name, library.capabilities.get(name, library.at_hand))
        folder = Path(asked["folder"])
        order = Order(folder, read_manifest(folder), asked["part"], target, asked["stripped"])
        if order.key(library).digest != asked["digest"]:
            raise EngineError(f"{folder.name!r} was changed while it was built; start again.")
        data = build(library, order, tell)
        write({"bytes": data.nbytes}, data)
        if device is not None:
            device.close()
    except ScumbleError as error:
        write({"error": type(error).__name__, "message": str(error)})


if __name__ == "__main__":
    main()
