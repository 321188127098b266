"""The TensorRT engine: runs packs on NVIDIA GPUs, and builds for GPUs that are not here."""

from scumble_engines.tensorrt.engine import TensorRTEngine

__all__ = ["TensorRTEngine"]
