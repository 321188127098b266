"""The rooms world: a procedural source of pictures, and the checkpoint trained on it."""

from pathlib import Path

CHECKPOINT = Path(__file__).resolve().parent / "checkpoint"
"""Folder of the shipped demo checkpoint, in diffusers' format; the judge is in `judge/`."""
