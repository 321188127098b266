"""The OpenVINO engine: runs packs on the CPU, in bf16 where the CPU computes in it."""

from scumble_engines.openvino.engine import OpenVinoEngine

__all__ = ["OpenVinoEngine"]
