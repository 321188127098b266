"""A checkpoint folder without weights, and a session on it, for the fake engine."""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from scumble.engine import Engine, EngineSettings, Precision
from scumble.models import PARTS, Checkpoint, find_checkpoint
from scumble.session import Session
from scumble.testing.fake_engine import CHANNELS, FEATURES, SITES, TOKENS, FakeEngine

__all__ = ["WORDS", "fake_checkpoint", "fake_session"]

WORDS = (
    "a the of in on and with to photo picture room wall floor sofa table lamp carpet vase ball "
    "cat dog tree house bird red blue green yellow white black big small old sitting jumping"
)
"""Words that are one token each; any other is one token a letter."""

SCHEDULER: dict[str, Any] = {
    "_class_name": "DDIMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def fake_checkpoint(
    folder: str | Path, *, words: Iterable[str] = (), scheduler: dict[str, Any] | None = None
) -> Checkpoint:
    """Write a diffusers folder that `find_checkpoint` accepts, and return it.

    Args:
        folder: made if need be.
        words: further words that are to be one token each.
        scheduler: settings in place of the usual ones, e.g. `{"steps_offset": 0}`.
    """
    folder = Path(folder)
    unet = {"in_channels": CHANNELS, "cross_attention_dim": FEATURES, "sample_size": SITES.native}
    _write(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    _write(folder / "scheduler" / "scheduler_config.json", SCHEDULER | (scheduler or {}))
    _write(folder / "unet" / "config.json", unet)
    vocabulary, merges = _vocabulary((*WORDS.split(), *words))
    _write(folder / "tokenizer" / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges), ""]
    (folder / "tokenizer" / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    _write(folder / "tokenizer" / "tokenizer_config.json", {"model_max_length": TOKENS})
    for part in PARTS:
        path = folder / part / "model.safetensors"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(_safetensors(part))
    return find_checkpoint(folder)


def fake_session(
    folder: str | Path,
    engine: type[Engine] = FakeEngine,
    *,
    precision: Precision = "fp64",
    words: Iterable[str] = (),
    scheduler: dict[str, Any] | None = None,
) -> Session:
    """Return a session on a fake checkpoint.

    Args:
        folder: where to write the checkpoint.
        engine: the fake engine, or a class made from it.
        precision: fp64 computes in float64, all else in float32.
        words: as in `fake_checkpoint`.
        scheduler: likewise.
    """
    checkpoint = fake_checkpoint(folder, words=words, scheduler=scheduler)
    return Session(checkpoint, engine(EngineSettings(precision)))


def words_of(*prompts: str) -> set[str]:
    """Return the words of prompts as the tokenizer cuts them: runs of letters, lower case."""
    return {word for text in prompts for word in re.findall(r"[^\W\d_]+", text.lower())}


def _vocabulary(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return CLIP's vocabulary and merges, with these words as one token each."""
    letters = sorted(ByteLevel.alphabet())
    tokens = letters + [f"{letter}</w>" for letter in letters]
    ranks: dict[tuple[str, str], int] = {}
    split = ByteLevel(add_prefix_space=False)
    for word in words:
        *first, last = split.pre_tokenize_str(word)[0][0]
        spelled = [*first, f"{last}</w>"]
        # Merges added here rank behind all others, so earlier words stay whole.
        while len(parts := _merged(spelled, ranks)) > 1:
            ranks[parts[0], parts[1]] = len(ranks)
            tokens.append(parts[0] + parts[1])
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, list(ranks)


def _merged(parts: list[str], ranks: Mapping[tuple[str, str], int]) -> list[str]:
    """Return what byte-pair encoding makes of a word: the best-ranked pair first."""
    while known := [pair for pair in pairwise(parts) if pair in ranks]:
        best = min(known, key=ranks.__getitem__)
        joined: list[str] = []
        for part in parts:
            if joined and (joined[-1], part) == best:
                joined[-1] += part
            else:
                joined.append(part)
        parts = joined
    return parts


def _safetensors(part: str) -> bytes:
    """Return a valid file of one number."""
    header = {
        "__metadata__": {"part": part},
        "placeholder": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    }
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack("<f", 0.0)


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
