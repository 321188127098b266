"""The ONNX Runtime engine: a pack's graphs, one session each, nothing but numpy around them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import onnxruntime

from scumble.arrays import Array
from scumble.engine import EngineSettings
from scumble.errors import EngineError, OutOfMemoryError
from scumble.pack_engine import PackEngine
from scumble.packs import Manifest
from scumble.ports import CONTROL_GROUPS, Group

__all__ = ["OnnxRuntimeEngine"]

NO_MEMORY = ("Failed to allocate memory", "CUDA out of memory", "CUDA failure 2", "bad allocation")
"""How ONNX Runtime's arena, CUDA and the C++ library say that memory ran out."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxRuntimeEngine(PackEngine):
    """Runs a pack with ONNX Runtime, on the CPU or on CUDA."""

    name: ClassVar[str] = "onnxruntime"
    groups: ClassVar[frozenset[Group]] = frozenset((*CONTROL_GROUPS, "loss"))

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    @property
    def provider(self) -> str:
        """The execution provider in use; nothing is run on another one."""
        wanted, _, _ = self.settings.device.partition(":")
        available = onnxruntime.get_available_providers()
        if wanted == "auto":
            wanted = "cuda" if PROVIDERS["cuda"] in available else "cpu"
        if PROVIDERS[wanted] not in available:
            raise EngineError(
                f"device {wanted!r} was asked for and this onnxruntime has only "
                f"{', '.join(available)}; use device 'cpu'."
            )
        return PROVIDERS[wanted]

    @property
    def provenance(self) -> dict[str, str]:
        """Versions, provider, precision and threads."""
        return {
            "engine": self.name,
            "onnxruntime": onnxruntime.__version__,
            "device": self.provider,
            "precision": self.manifest.precision,
            "threads": str(self.settings.threads or "default"),
        }

    def size_of(self, handle: object) -> int:
        """Return the bytes that a handle of recorded state keeps on the device."""
        return int(cast("Any", handle).tensor_size_in_bytes())

    def to_host(self, handle: object) -> Array:
        """Return a handle's content as an array, to be kept elsewhere."""
        return cast("Array", cast("Any", handle).numpy())

    def to_handle(self, array: Array) -> object:
        """Return a handle of what `to_host` gave, on the device."""
        kind, number = self._device
        return onnxruntime.OrtValue.ortvalue_from_numpy(array, kind, number)

    @property
    def _device(self) -> tuple[str, int]:
        kind = next(kind for kind, name in PROVIDERS.items() if name == self.provider)
        _, _, number = self.settings.device.partition(":")
        return kind, int(number or 0)

    def _open(self, folder: Path, manifest: Manifest) -> None:
        """Sessions are made when they are first needed."""

    def _shut(self) -> None:
        self._sessions.clear()

    def _run(self, file: str, feed: Mapping[str, object]) -> dict[str, object]:
        if file not in self._sessions:
            self._sessions[file] = self._session(file)
        session = self._sessions[file]
        kind, number = self._device
        try:
            names = [output.name for output in session.get_outputs()]
            binding = session.io_binding()
            for name, value in feed.items():
                if isinstance(value, np.ndarray):
                    binding.bind_cpu_input(name, value)
                else:
                    binding.bind_ortvalue_input(name, cast("Any", value))
            for name in names:
                recorded = name.startswith("source.")
                binding.bind_output(name, *((kind, number) if recorded else ("cpu", 0)))
            session.run_with_iobinding(binding)
            outputs: dict[str, Any] = dict(zip(names, binding.get_outputs(), strict=True))
        # onnxruntime raises classes of its own, which have no common base but this.
        except Exception as error:
            raise _told(error, f"onnxruntime could not run {file}") from error
        return {n: o if n.startswith("source.") else o.numpy() for n, o in outputs.items()}

    def _session(self, file: str) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # A run changes sessions from step to step. Threads of the last one that still spin take the
        # cores from the next: 2.4 times the time of a step on two cores (decision 0017).
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if self.settings.threads is not None:
            options.intra_op_num_threads = self.settings.threads
        provider = self.provider
        _, number = self._device
        chosen = {"device_id": number} if provider == PROVIDERS["cuda"] else {}
        try:
            session = onnxruntime.InferenceSession(
                self.folder / file, options, providers=[(provider, chosen)]
            )
        # As above; a runtime that is older than the graphs' opset ends here.
        except Exception as error:
            raise _told(error, f"onnxruntime cannot load {file}") from error
        session.disable_fallback()
        # ONNX Runtime falls back to the CPU by itself and only prints that it did.
        if session.get_providers()[0] != provider:
            raise EngineError(
                f"onnxruntime runs {file} on {session.get_providers()[0]} though {provider} was "
                "asked for; check the installation, or use device 'cpu'."
            )
        return session


def _told(error: Exception, what: str) -> EngineError:
    """Return what the runtime raised as one of ours; it tells lack of memory by its text alone."""
    text = str(error)
    if isinstance(error, MemoryError) or any(sign in text for sign in NO_MEMORY):
        return OutOfMemoryError(f"{what}: {text}")
    return EngineError(f"{what}: {text}")
