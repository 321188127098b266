"""One UNet step with chosen ports at values that edit nothing, to time what a variant costs."""

from collections.abc import Callable, Iterable

import numpy as np

from scumble import Editor
from scumble.engine import StepOutput
from scumble.ports import Group, neutral

__all__ = ["neutral_ports", "neutral_step"]

WORDS = 2
"""Weight vectors that LocalBlend reads a row, with subtract words."""


def neutral_step(
    editor: Editor, groups: Iterable[Group], rows: int, size: tuple[int, int] | None = None
) -> Callable[[], StepOutput]:
    """Return a function that runs a step of random rows with neutral ports.

    Args:
        editor: with the model and engine.
        groups: port groups to feed.
        rows: of the batch.
        size: (height, width) in pixels; None is the model's native size.
    """
    engine, ports = editor.session.engine, neutral_ports(editor, groups, rows, size)
    return lambda: engine.step(ports)


def neutral_ports(
    editor: Editor, groups: Iterable[Group], rows: int, size: tuple[int, int] | None = None
) -> dict[str, object]:
    """Return the ports of a step of random rows that edits nothing; arguments as `neutral_step`.

    `read` is not at its neutral value, which chooses no site: it reads where LocalBlend does.
    For `replay` the first row's state is recorded here, and no row takes it.
    """
    info, engine = editor.session.info, editor.session.engine
    latent = info.sites.native
    if size is not None:
        latent = size[0] // info.factor, size[1] // info.factor
    sizes = info.sizes(latent)
    rng = np.random.default_rng(0)
    ports: dict[str, object] = {
        "sample": rng.standard_normal((rows, *sizes.latent)).astype(np.float32),
        "timestep": np.full(rows, 481, dtype=np.int64),
        "text": rng.standard_normal((rows, sizes.tokens, sizes.features)).astype(np.float32),
    }
    asked = set(groups)
    if "replay" in asked:
        asked -= {"replay"}
        recording = neutral_ports(editor, {*asked, "record"}, 1, size)
        state = engine.step(recording).recorded
        ports |= {**state, "source.text": recording["text"]}
    replayed = "source.text" in ports
    for group in sorted(asked):
        for name, value in neutral(group, sizes, rows, replayed).items():
            ports[name] = value.astype(np.float32) if value.dtype.kind == "f" else value
    if "read.sites" in ports:
        stride = info.sites.map_stride
        chosen = info.sites.select("cross", places=("down", "up"), strides=(stride,))
        gate = np.zeros(info.sites.count("cross"), dtype=np.float32)
        gate[list(chosen)] = 1
        weights = np.zeros((rows + replayed, WORDS, sizes.tokens), dtype=np.float32)
        weights[:, range(WORDS), range(1, WORDS + 1)] = 1
        ports |= {"read.sites": gate, "read.weights": weights}
    return ports
