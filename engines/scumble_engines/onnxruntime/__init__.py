"""The ONNX Runtime engine: runs packs, without torch."""

from scumble_engines.onnxruntime.engine import OnnxRuntimeEngine

__all__ = ["OnnxRuntimeEngine"]
