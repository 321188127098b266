"""What every plugin promises, as assertions that a plugin author calls from a test.

Each takes the plugin as it would be used, and the run to try it on; runs take well under a second.
"""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from scumble.arrays import Array
from scumble.engine import Precision
from scumble.hookspecs import RunView, Trajectory, hookimpl
from scumble.host import Host
from scumble.images import fit, load_picture, masks_by_name
from scumble.inversion import ddim_trajectory
from scumble.masks import MaskLike, read_mask
from scumble.pipeline import Finished, Pipeline
from scumble.plugins import NoOptions, Plugin
from scumble.requests import SamplingRequest
from scumble.session import Session
from scumble.testing.fake_model import fake_session, words_of

__all__ = [
    "assert_deterministic",
    "assert_neutral_is_identity",
    "assert_reductions_exact",
    "run_plugin",
]


class Held(Plugin):
    """Direct inversion, for plugins that edit and do not invert."""

    @hookimpl
    def scumble_invert(self, run: RunView) -> Trajectory:
        """Return the trajectory, pinned."""
        return Trajectory(ddim_trajectory(run), pinned=True)


def run_plugin(
    plugin: Plugin | Host | None,
    *,
    source: str = "a red cat",
    targets: Sequence[str] = ("a blue cat",),
    steps: int = 4,
    guidance: float = 7.5,
    image: str | Path | Image.Image | Array | None = None,
    mask: MaskLike | Mapping[str, MaskLike] | None = None,
    inversion: Plugin | Host | None = None,
    masking: Plugin | Host | None = None,
    reduce: bool = True,
    dtype: type[np.floating] = np.float64,
    seed: int = 0,
    session: Session | None = None,
) -> Finished:
    """Run a plugin on the fake engine and return what it leaves behind.

    Args:
        plugin: an instance that has run nothing yet, or a host of several; None runs without any.
        source: the source prompt.
        targets: the target prompts; every word of a prompt is one token.
        steps: sampling steps.
        guidance: classifier-free guidance scale.
        image: the picture to edit, fitted to 64x64 pixels; None generates the source.
        mask: of the picture's size, or several by name; without a plugin there is none.
        inversion: inverts the picture; None takes the plugin if it inverts, else direct inversion.
        masking: makes the mask, in place of a given one.
        reduce: False turns the planner's reductions off.
        dtype: of the latents, float64 or float32.
        seed: of the run.
        session: a model to run on, in place of the fake one; it decides on words and dtype.
    """
    request = SamplingRequest(steps=steps, guidance=guidance, seed=seed)
    prompts = (source, *targets)
    count = len(targets)
    host = _host("plugin", plugin) or Host(())
    precision: Precision = "fp64" if dtype is np.float64 else "fp32"
    with _model(session, precision, words_of(*prompts)) as model:
        wanted = frozenset(range(0 if image is None else 1, count + 1)) or frozenset({0})
        pipeline = Pipeline(model, request, prompts, wanted, host, reduce=reduce)
        pipeline.masking = _host("masking", masking)
        if image is not None:
            height, width = (side * model.info.factor for side in model.info.sites.native)
            original = load_picture(image)
            pipeline.picture = fit(original, (height, width))
            pipeline.inversion = _host("inversion", inversion) or (
                host if host.inverts else Host.of(inversion=Held(NoOptions()))
            )
            for name, given in masks_by_name(None if plugin is None else mask).items():
                fitted = read_mask(given, original.size, fitted=(height, width))
                pipeline.masks[name] = fitted
        return pipeline.finish()


def _host(name: str, given: Plugin | Host | None) -> Host | None:
    """Return a host of one plugin, or the one that is given."""
    return Host.of(**{name: given}) if isinstance(given, Plugin) else given


@contextmanager
def _model(session: Session | None, precision: Precision, words: set[str]) -> Generator[Session]:
    """Give the session, or a fake one that knows some words."""
    if session is not None:
        yield session
        return
    with TemporaryDirectory() as folder:
        yield fake_session(folder, precision=precision, words=sorted(words))


def assert_neutral_is_identity(plugin: Plugin, **run: Any) -> None:
    """Assert that a plugin whose options change nothing leaves a run as it is, bit for bit.

    Args:
        plugin: with options that are to change nothing.
        run: what `run_plugin` takes.
    """
    _require_close(
        run_plugin(_fresh(plugin), **run),
        run_plugin(None, **run),
        0,
        f"{type(plugin).__name__} with neutral options changes the run",
    )


def assert_deterministic(plugin: Plugin, **run: Any) -> None:
    """Assert that two runs agree bit for bit, whatever numpy's global generator holds.

    Args:
        plugin: as it would be used.
        run: what `run_plugin` takes.
    """
    state = np.random.get_state(legacy=False)
    results: list[Finished] = []
    try:
        for seed in (1, 2):
            np.random.seed(seed)
            results.append(run_plugin(_fresh(plugin), **run))
    finally:
        np.random.set_state(state)
    what = f"two runs of {type(plugin).__name__} differ: draw from run.random() only"
    _require_close(results[0], results[1], 0, what)


def assert_reductions_exact(plugin: Plugin, tolerance: float = 1e-9, **run: Any) -> None:
    """Assert that a run comes out the same with the planner's reductions on and off, in float64.

    Where it does not, the plugin uses a latent that its plan does not name in a `Watch`, or a
    branch that no control of it names.

    Args:
        plugin: as it would be used.
        tolerance: largest difference of a latent.
        run: what `run_plugin` takes, less `reduce` and `dtype`.
    """
    on, off = (run_plugin(_fresh(plugin), reduce=reduce, **run) for reduce in (True, False))
    what = f"{type(plugin).__name__} depends on rows that its plan does not ask for"
    _require_close(on, off, tolerance, what)


def _fresh(plugin: Plugin) -> Plugin:
    """Return the plugin as new: state of a run lives on the instance."""
    return type(plugin)(plugin.options)


def _require_close(one: Finished, other: Finished, tolerance: float, what: str) -> None:
    for picture in one.pixels:
        difference = np.abs(one.latents[picture] - other.latents[picture])
        if not difference.max() <= tolerance:
            raise AssertionError(f"{what}: picture {picture} moved by {difference.max():.1e}.")
