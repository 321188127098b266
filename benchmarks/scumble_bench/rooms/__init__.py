"""The rooms world: a procedural source of pictures, and the checkpoint trained on it."""

from pathlib import Path

CHECKPOINT = Path(__file__).resolve().parent / "checkpoint"
"""Folder of the shipped demo checkpoint, in diffusers' format.

The pack of the same weights is in `pack/`, the judge in `judge/`.
"""
