"""The OpenVINO engine: a pack's graphs on the CPU, forward only."""

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from scumble.engine import EngineSettings, Precision
from scumble.errors import EngineError
from scumble.pack_engine import PackEngine
from scumble.packs import Manifest
from scumble_engines.openvino.gate import passed
from scumble_engines.openvino.graphs import DEVICE, Graph
from scumble_engines.openvino.runtime import runtime

__all__ = ["OpenVinoEngine"]


class OpenVinoEngine(PackEngine):
    """Runs a pack with OpenVINO on the CPU, in fp32, or in bf16 behind a quality gate."""

    name: ClassVar[str] = "openvino"

    def __init__(self, settings: EngineSettings | None = None) -> None:
        super().__init__(settings)
        self._graphs: dict[tuple[str, Precision], Graph] = {}
        self._precision: Precision = self.settings.precision

    @property
    def provenance(self) -> dict[str, str]:
        """Version, device, precision and threads; a graph that would run otherwise is refused."""
        return {
            "engine": self.name,
            "openvino": runtime.__version__,
            "device": DEVICE,
            "precision": self.settings.precision,
            "threads": str(self.settings.threads or "default"),
        }

    def trim(self) -> None:
        """Let go of every compiled graph; each is compiled anew when it is needed."""
        self._graphs.clear()

    def widened(self) -> AbstractContextManager[Precision] | None:
        """Return a context in which steps run in fp32, if they run in bf16 else."""
        return self._in_fp32() if self._precision == "bf16" else None

    @contextmanager
    def _in_fp32(self) -> Generator[Precision]:
        self._precision = "fp32"
        try:
            yield "fp32"
        finally:
            self._precision = self.settings.precision

    def _precisions(self, manifest: Manifest) -> frozenset[str]:
        """Return what a pack runs in: bf16 is computed from weights in fp32."""
        made = super()._precisions(manifest)
        return made | {"bf16"} if manifest.precision == "fp32" else made

    def _open(self, folder: Path, manifest: Manifest) -> None:
        """Refuse what this machine or engine cannot do; graphs are compiled when first needed."""
        if self.settings.device not in ("auto", "cpu"):
            raise EngineError(
                f"device is {self.settings.device!r} and the openvino engine runs on the CPU only; "
                "use device 'cpu', or engine 'onnxruntime'."
            )
        if manifest.precision != "fp32":
            raise EngineError(
                f"the openvino engine runs packs made in fp32 and this one is made in "
                f"{manifest.precision}; use engine 'onnxruntime', or export another."
            )
        able: list[str] = runtime.Core().get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        if self.settings.precision == "bf16" and "BF16" not in able:
            raise EngineError(
                "this CPU does not compute in bf16 (it lacks AVX512-BF16 and AMX); use precision "
                "'fp32'."
            )

    def _shut(self) -> None:
        self._graphs.clear()

    def _run(self, file: str, feed: Mapping[str, object]) -> dict[str, object]:
        key = file, self._precision
        if key not in self._graphs:
            self._graphs[key] = self._graph(file)
        return dict(self._graphs[key](feed))

    def _graph(self, file: str) -> Graph:
        """Compile a graph: the UNet's as asked for, text and pictures in fp32 always."""
        path, threads = self.folder / file, self.settings.threads
        if self._precision != "bf16" or file in self.manifest.components.values():
            return Graph(path, "f32", threads)
        return passed((file, threads, frozenset(self.manifest.files.items())), path, threads)
