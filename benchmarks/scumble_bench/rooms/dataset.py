"""Scenes rendered once, by all cores, into arrays on disk that training reads."""

import json
import multiprocessing
import os
import random
import time
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scumble_bench.rooms import world
from scumble_bench.rooms.tokenizer import WINDOW, save_tokenizer, words_of

CHUNK = 256
CAPTIONS = 4
THINGS = 6
"""Room for the objects of a scene in the arrays; a scene has at most five."""

NOUNS = tuple(world.NOUNS)
COLOURS = tuple(world.COLOURS)
POSES = tuple(world.POSES)

Array = npt.NDArray[Any]

_FIELDS: dict[str, tuple[tuple[int, ...], str]] = {
    "images": ((world.SIZE, world.SIZE, 3), "uint8"),
    "labels": ((world.SIZE, world.SIZE), "uint8"),  # 0 background, else 1 + index of the thing
    "things": ((THINGS, 3), "int8"),  # noun, colour, pose; -1 where there is none
    "tokens": ((CAPTIONS, WINDOW), "int16"),
    "words": ((CAPTIONS, THINGS, 3, 2), "int8"),  # token spans of noun, colour, pose; -1 for none
}


def collect_words(scenes: int = 1500, captions: int = 16) -> list[str]:
    """Lists the words that the captions of many rooms use."""
    found: set[str] = set()
    for seed in range(scenes):
        room = world.design_room(seed)
        found.update(
            words_of(said.text for said in world.captions(room, random.Random(seed), captions))
        )
    return sorted(found)


class SceneCache:
    """Memory-mapped arrays of `count` scenes, filled chunk by chunk.

    Attributes:
        folder: Where the arrays lie.
        count: Scenes that there is room for.
    """

    def __init__(self, folder: Path, count: int, first_seed: int = 0) -> None:
        self.folder = folder
        self.count = count
        self.first_seed = first_seed
        self.marks = folder / "done"
        self.marks.mkdir(parents=True, exist_ok=True)
        self._settle_description()
        for name, (shape, dtype) in _FIELDS.items():
            if not self._path(name).exists():
                draft = folder / f"{name}.draft.npy"
                np.lib.format.open_memmap(draft, "w+", dtype, (count, *shape))
                draft.rename(self._path(name))

    def _settle_description(self) -> None:
        wanted = {"count": self.count, "first_seed": self.first_seed}
        path = self.folder / "cache.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            if found != wanted:
                raise ValueError(f"{self.folder} holds other scenes: {found}, wanted {wanted}")
        path.write_text(json.dumps(wanted) + "\n", encoding="utf-8")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def array(self, name: str) -> Array:
        """Opens one of the arrays; writes go to disk."""
        return np.lib.format.open_memmap(self._path(name), "r+")

    @property
    def chunks(self) -> int:
        """Chunks in the whole cache."""
        return -(-self.count // CHUNK)

    def ready(self) -> list[int]:
        """Lists the chunks that are rendered."""
        return sorted(int(mark.name) for mark in self.marks.iterdir())

    def scenes_of(self, chunk: int) -> range:
        """Returns the scenes of a chunk."""
        return range(chunk * CHUNK, min((chunk + 1) * CHUNK, self.count))


def tokenise(backend: Any, said: world.Caption) -> tuple[list[int], Array] | None:
    """Encodes a caption to the whole window, and its words' places to token spans.

    Args:
        backend: A `tokenizers.Tokenizer` that neither pads nor cuts.
        said: A caption of the world.

    Returns:
        The tokens and the spans, or None if the caption does not fit the window.
    """
    encoding = backend.encode(said.text)
    tokens: list[int] = encoding.ids
    if len(tokens) > WINDOW:
        return None
    spans = np.full((THINGS, 3, 2), -1, np.int8)
    offsets: list[tuple[int, int]] = encoding.offsets
    for index, words in zip(said.mentioned, said.words, strict=True):
        for kind, place in enumerate((words.noun, words.colour, words.pose)):
            if place is None:
                continue
            start, end = place
            covered = [n for n, (a, b) in enumerate(offsets) if a < b and a < end and b > start]
            spans[index, kind] = covered[0], covered[-1] + 1
    return tokens + [tokens[-1]] * (WINDOW - len(tokens)), spans


def render_scene(seed: int, backend: Any) -> dict[str, Array]:
    """Renders one scene into rows of the cache's arrays."""
    scene = world.scene(seed)
    labels = np.zeros((world.SIZE, world.SIZE), np.uint8)
    things = np.full((THINGS, 3), -1, np.int8)
    for index, item in enumerate(scene.items):
        labels[item.mask] = index + 1
        things[index] = (
            NOUNS.index(item.noun),
            COLOURS.index(item.colour),
            -1 if item.pose is None else POSES.index(item.pose),
        )
    said = world.captions(scene.room, random.Random(seed), CAPTIONS)
    fitting = [one for one in (tokenise(backend, caption) for caption in said) if one is not None]
    encoded = [fitting[number % len(fitting)] for number in range(CAPTIONS)]
    return {
        "images": scene.image,
        "labels": labels,
        "things": things,
        "tokens": np.array([tokens for tokens, _ in encoded], np.int16),
        "words": np.stack([spans for _, spans in encoded]),
    }


def encode_caption(backend: Any, scene: world.Scene) -> tuple[list[int], Array]:
    """Encodes a scene's own caption as `tokenise` does.

    Raises:
        ValueError: The caption does not fit the window.
    """
    said = world.Caption(scene.caption, scene.mentioned, scene.mentioned_colour, scene.words)
    encoded = tokenise(backend, said)
    if encoded is None:
        raise ValueError(f"more than {WINDOW} tokens: {scene.caption!r}")
    return encoded


def load_backend(tokenizer_folder: Path) -> Any:
    """Opens a saved tokenizer without transformers."""
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json"))


def ensure_tokenizer(folder: Path, scenes: int = 1500) -> None:
    """Builds the tokenizer of the world's captions, unless it is there."""
    if not (folder / "tokenizer.json").exists():
        save_tokenizer(folder, collect_words(scenes))


def _render_chunks(
    cache: SceneCache, tokenizer_folder: Path, todo: list[int], counter: Any, parent: int
) -> None:
    if hasattr(os, "nice"):
        os.nice(5)
    backend = load_backend(tokenizer_folder)
    arrays = {name: cache.array(name) for name in _FIELDS}
    while os.getppid() == parent:
        with counter.get_lock():
            place = int(counter.value)
            counter.value = place + 1
        if place >= len(todo):
            return
        for row in cache.scenes_of(todo[place]):
            for name, value in render_scene(cache.first_seed + row, backend).items():
                arrays[name][row] = value
        (cache.marks / str(todo[place])).touch()


class Renderer:
    """Fills a cache in processes of its own, beside training.

    The processes end with this one, or when the cache is full.
    """

    def __init__(self, cache: SceneCache, tokenizer_folder: Path, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        done = set(cache.ready())
        todo = [chunk for chunk in range(cache.chunks) if chunk not in done]
        # Kept here: the processes open its lock by name, and a collected one has none.
        self._place = context.Value("q", 0)
        self.cache = cache
        self.started = time.monotonic()
        self.processes: list[SpawnProcess] = [
            context.Process(
                target=_render_chunks,
                args=(cache, tokenizer_folder, todo, self._place, os.getpid()),
                daemon=True,
            )
            for _ in range(min(workers, len(todo)))
        ]
        for process in self.processes:
            process.start()

    def running(self) -> bool:
        """Tells whether rendering goes on.

        Raises:
            RuntimeError: A process failed.
        """
        if any(process.exitcode not in (None, 0) for process in self.processes):
            self.stop()
            raise RuntimeError("a rendering process failed; its message is above")
        return any(process.is_alive() for process in self.processes)

    def stop(self) -> None:
        """Ends the processes; whole chunks stay."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join()
