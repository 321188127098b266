"""The front door: load a model once, then generate, edit and invert with it."""

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from PIL import Image

from scumble.arrays import Array
from scumble.engine import Engine, EngineSettings
from scumble.errors import EngineError, OptionError, PromptError
from scumble.host import Host
from scumble.images import Picture, fit, load_picture
from scumble.masks import Mask, read_mask
from scumble.models import find_checkpoint
from scumble.options import check_options
from scumble.pipeline import Pipeline
from scumble.plugins import Plugin, load_entry
from scumble.requests import (
    EditRequest,
    EngineRequest,
    GenerateRequest,
    InvertRequest,
)
from scumble.runs import Run
from scumble.sampler import Progress
from scumble.session import Session

__all__ = ["Editor", "PictureLike", "require_text"]

PictureLike: TypeAlias = str | Path | Image.Image | Array
Callback: TypeAlias = Callable[[Progress], None]


class Editor:
    """A loaded model; use it as a context manager.

    Args:
        session: the model on its engine.
        asked: how it was asked for, for recipes.
    """

    def __init__(self, session: Session, asked: EngineRequest) -> None:
        self._session = session
        self._asked = asked
        self._fingerprint: str | None = None

    @classmethod
    def load(cls, model: str | Path = "rooms", engine: str = "torch", **settings: Any) -> Self:
        """Load a model.

        Args:
            model: a registered name, a diffusers folder or a hub id.
            engine: the engine's name; `scumble engines` lists them.
            settings: further fields of `EngineRequest`: precision, device, threads, revision,
                local_files_only.

        Raises:
            OptionError: an unknown engine or setting.
            ModelError: no such model, or a folder that is no checkpoint.
            EngineError: the engine's runtime is not installed, or cannot use the device.
        """
        given = {"model": str(model), "engine": engine, **settings}
        asked = check_options(EngineRequest, given, "Editor.load")
        checkpoint = find_checkpoint(
            asked.model, revision=asked.revision, local_files_only=asked.local_files_only
        )
        listed, kind = load_entry("scumble.engines", asked.engine, "engine")
        if not (isinstance(kind, type) and issubclass(kind, Engine)):
            raise EngineError(f"engine {engine!r} of {listed.origin} is no scumble.Engine.")
        chosen = EngineSettings(asked.precision, asked.device, asked.threads)
        return cls(Session(checkpoint, kind(chosen)), asked)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the device; maps of earlier runs can no longer be computed."""
        self._session.engine.close()

    @property
    def session(self) -> Session:
        """The model on its engine, for those who write engines and benchmarks."""
        return self._session

    def generate(
        self, prompt: str, *, callback_on_step_end: Callback | None = None, **settings: Any
    ) -> Run:
        """Make a picture from a prompt.

        Args:
            prompt: what is to be seen.
            callback_on_step_end: told of each step.
            settings: further fields of `GenerateRequest`: steps, guidance, negative, seed, size.
        """
        request = check_options(GenerateRequest, {"prompt": prompt, **settings}, "generate")
        require_text(request.prompt, "prompt")
        pipeline = Pipeline(
            self._session,
            request,
            (request.prompt,),
            frozenset({0}),
            Host(()),
            callback=callback_on_step_end,
        )
        return self._run("generate", pipeline, {})

    def edit(
        self,
        image: PictureLike | None = None,
        *,
        source: str,
        target: str | Sequence[str],
        mask: PictureLike | None = None,
        method: str | Plugin = "prompt_to_prompt",
        callback_on_step_end: Callback | None = None,
        **settings: Any,
    ) -> Run:
        """Edit a picture, or a generated one.

        Args:
            image: the picture; None generates the source from its prompt and the seed.
            source: describes the picture as it is.
            target: describes what it is to become; several make several pictures.
            mask: of the picture's size, white where it may change.
            method: an installed plugin's name; or a plugin object, to try one that is not
                installed (its options are its own, and `rerun` cannot repeat it).
            callback_on_step_end: told of each step.
            settings: further fields of `EditRequest`: options, inversion, inversion_options,
                steps, guidance, negative, seed, size, fit.

        Raises:
            ImageError, PromptError, OptionError: something given cannot be used.
            UnsupportedError: the engine lacks what the method needs.
            PluginError, ControlError, NumericalError: the run failed, and says why.
        """
        targets = [target] if isinstance(target, str) else list(target)
        named = method if isinstance(method, str) else type(method).__name__
        given = {"source": source, "targets": targets, "method": named, **settings}
        request = check_options(EditRequest, given, "edit")
        for text in (request.source, *request.targets):
            require_text(text, "prompt")
        if isinstance(method, Plugin):
            if request.options:
                raise OptionError("options are given to a plugin object when it is made.")
            host = Host.of(**{named: method})
        else:
            host = Host([(request.method, request.options)])
        inversion = None
        if image is not None:
            inversion = Host([(request.inversion, request.inversion_options)])
        count = len(request.targets)
        pipeline = Pipeline(
            self._session,
            request,
            (request.source, *request.targets),
            frozenset(range(0 if image is None else 1, count + 1)),
            host,
            inversion,
            callback=callback_on_step_end,
        )
        origins = host.origins | (inversion.origins if inversion else {})
        return self._run("edit", pipeline, origins, image, mask)

    def invert(
        self,
        image: PictureLike,
        source: str,
        *,
        callback_on_step_end: Callback | None = None,
        **settings: Any,
    ) -> Run:
        """Find the noise that leads to a picture, and sample back from it.

        The result's `trajectory` holds the latents, its image is what came back.

        Args:
            image: the picture.
            source: describes it.
            callback_on_step_end: told of each step of the way back.
            settings: further fields of `InvertRequest`: inversion, inversion_options, steps,
                guidance, negative, seed, size, fit.
        """
        request = check_options(InvertRequest, {"source": source, **settings}, "invert")
        require_text(request.source, "prompt")
        inversion = Host([(request.inversion, request.inversion_options)])
        pipeline = Pipeline(
            self._session,
            request,
            (request.source,),
            frozenset({0}),
            Host(()),
            inversion,
            callback=callback_on_step_end,
        )
        return self._run("invert", pipeline, inversion.origins, image)

    def _run(
        self,
        operation: str,
        pipeline: Pipeline,
        plugins: Mapping[str, str],
        image: PictureLike | None = None,
        mask: PictureLike | None = None,
    ) -> Run:
        sources: dict[str, Any] = {}
        if mask is not None and image is None:
            raise OptionError("a mask needs a picture of its size; give an image too.")
        if image is not None:
            picture, read = self._read(pipeline, image, mask)
            pipeline.picture, pipeline.mask = picture, read
            sources["image"] = {"path": picture.origin, "sha256": picture.sha256}
            pipeline.notes.extend(picture.notes)
            if read is not None:
                sources["mask"] = {"path": read.origin, "sha256": read.sha256}
                pipeline.notes.extend(read.notes)
        finished = pipeline.finish()
        recipe: dict[str, Any] = {
            "operation": operation,
            "request": pipeline.request.model_dump(mode="json"),
            "model": self._asked.model_dump(mode="json"),
            "sources": sources,
            "rows": finished.rows,
            "provenance": self._provenance(plugins),
        }
        given = pipeline.picture.pixels if pipeline.picture is not None else None
        return Run(finished, recipe, pipeline.watch.seconds, given, tuple(pipeline.notes))

    def _read(
        self, pipeline: Pipeline, image: PictureLike, mask: PictureLike | None
    ) -> tuple[Picture, Mask | None]:
        factor = self._session.info.factor
        height, width = (side * factor for side in pipeline.latent_size())
        how = pipeline.request.fit
        original = load_picture(image)
        read = None
        if mask is not None:
            read = read_mask(mask, original.size, fitted=(height, width), how=how)
        return fit(original, (height, width), how), read

    def _provenance(self, plugins: Mapping[str, str]) -> dict[str, Any]:
        if self._fingerprint is None:
            self._fingerprint = self._session.checkpoint.fingerprint()
        return {
            **self._session.engine.provenance,
            "model_sha256": self._fingerprint,
            "numpy": np.__version__,
            "plugins": dict(plugins),
            "python": platform.python_version(),
            "scumble": version("scumble"),
        }


def require_text(prompt: str, what: str) -> None:
    """Raise PromptError if a prompt says nothing."""
    if not prompt.strip():
        raise PromptError(f"the {what} is empty; say what is to be seen.")
