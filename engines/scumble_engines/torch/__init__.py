"""The reference engine: diffusers modules, one attention processor, any device."""

from scumble_engines.torch.engine import TorchEngine

__all__ = ["TorchEngine"]
