"""The front door: load a model once, then generate, edit and invert with it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from scumble.carrying import Carried
from scumble.errors import OptionError
from scumble.host import Host
from scumble.images import PictureLike, masks_by_name
from scumble.masks import MaskLike
from scumble.opening import open_session
from scumble.options import check_options
from scumble.pipeline import Pipeline
from scumble.plugins import Plugin
from scumble.prompts import require_text
from scumble.requests import (
    EditRequest,
    EngineRequest,
    GenerateRequest,
    InvertRequest,
    PrepareRequest,
)
from scumble.roles import cast_roles
from scumble.runs import Prepared, Run
from scumble.sampler import Progress
from scumble.session import Session

__all__ = ["SOURCE_MEMORY", "Editor"]

SOURCE_MEMORY = 1 << 30
"""Bytes that an editor may spend on recorded sources, if it is told nothing else."""

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

    @classmethod
    def load(
        cls,
        model: str | Path = "rooms",
        engine: str | None = None,
        *,
        source_memory: int = SOURCE_MEMORY,
        source_folder: str | Path | None = None,
        **settings: Any,
    ) -> Self:
        """Load a model.

        Args:
            model: a registered name, a diffusers folder, a pack or a hub id.
            engine: the engine's name; `scumble engines` lists them. None takes `onnxruntime` where
                it is installed, the model has a pack in the precision asked for, and neither a CUDA
                device nor a mode is; else `torch`. The recipe names the one that ran.
            source_memory: bytes that recorded sources of pictures may take on the engine's device,
                so that their next edits replay them; 0 remembers nothing.
            source_folder: where recorded sources are kept on disk too, for later processes.
            settings: further fields of `EngineRequest`: precision, device, threads, mode, revision,
                local_files_only, gradient_engine.

        Raises:
            OptionError: an unknown engine or setting.
            ModelError: no such model, or a folder that is no checkpoint.
            EngineError: the engine's runtime is not installed, or cannot use the device.
            UnsupportedError: an engine was named for gradients that has none.
        """
        given = {"model": str(model), "engine": engine, **settings}
        asked = check_options(EngineRequest, given, "Editor.load")
        folder = None if source_folder is None else Path(source_folder)
        session, name = open_session(asked, source_memory, folder)
        return cls(session, asked.model_copy(update={"engine": name}))

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
        self._session.close()

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
        image: PictureLike | Run | None = None,
        *,
        source: str,
        target: str | Sequence[str],
        mask: MaskLike | Mapping[str, MaskLike] | None = None,
        method: str | Plugin = "prompt_to_prompt",
        callback_on_step_end: Callback | None = None,
        **settings: Any,
    ) -> Run:
        """Edit a picture, or a generated one.

        Args:
            image: the picture; a run of this editor, to go on from its first picture with nothing
                encoded or inverted again; None generates the source from its prompt and the seed.
            source: describes the picture as it is; may be empty where one is given, for methods
                that need no word of it.
            target: describes what it is to become; several make several pictures.
            mask: of the picture's size, white where it may change; or several by name, for methods
                that take more than one.
            method: an installed plugin's name; or a plugin object, to try one that is not
                installed (its options are its own, and `rerun` cannot repeat it).
            callback_on_step_end: told of each step.
            settings: further fields of `EditRequest`: options, further, inversion,
                inversion_options, masking, masking_options, steps, guidance, negative, seed, size,
                fit.

        Raises:
            ImageError, PromptError, OptionError: something given cannot be used.
            UnsupportedError: the engine lacks what the method needs.
            PluginError, ControlError, NumericalError: the run failed, and says why.
        """
        targets = [target] if isinstance(target, str) else list(target)
        named = method if isinstance(method, str) else type(method).__name__
        given = {"source": source, "targets": targets, "method": named, **settings}
        request = check_options(EditRequest, given, "edit")
        # Of a given picture nothing need be said; some methods go without.
        silent = image is not None and not request.source
        for text in request.targets if silent else (request.source, *request.targets):
            require_text(text, "prompt")
        before = image if isinstance(image, Run) else None
        carried = None
        if before is not None:
            carried = partial(Carried, before, request, self._session.fingerprint)
        roles = cast_roles(request, method, image is not None, carried)
        count = len(request.targets)
        pipeline = Pipeline(
            self._session,
            request,
            (request.source, *request.targets),
            frozenset(range(0 if image is None else 1, count + 1)),
            roles.method,
            roles.inversion,
            callback=callback_on_step_end,
            masking=roles.masking,
        )
        picture = image.image if isinstance(image, Run) else image
        run = self._run("edit", pipeline, roles.origins, picture, masks_by_name(mask))
        if before is not None:
            run.recipe["before"] = before.recipe
        return run

    def prepare(
        self,
        image: PictureLike,
        source: str,
        *,
        callback_on_step_end: Callback | None = None,
        **settings: Any,
    ) -> Prepared:
        """Do ahead what every edit of a picture needs: invert it and record its source row.

        Edits with the same picture, source prompt and settings then run their own rows only. What
        was prepared already costs nothing.

        Args:
            image: the picture.
            source: describes it.
            callback_on_step_end: told of each step.
            settings: further fields of `PrepareRequest`: inversion, inversion_options, steps,
                guidance, negative, seed, size, fit; those of the edits to come.

        Raises:
            OptionError: this editor remembers nothing, or the inversion does not give the source's
                latents at every step.
        """
        request = check_options(PrepareRequest, {"source": source, **settings}, "prepare")
        require_text(request.source, "prompt")
        if not self._session.sources.keeps:
            raise OptionError("this editor was loaded with source_memory 0; give it some.")
        pipeline = Pipeline(
            self._session,
            request,
            (request.source,),
            frozenset(),
            Host(()),
            Host([(request.inversion, request.inversion_options)]),
            callback=callback_on_step_end,
            ahead=True,
        )
        pipeline.read(image)
        finished = pipeline.finish()
        if finished.trajectory is None or not finished.trajectory.pinned:
            raise OptionError(
                f"inversion {request.inversion!r} lets the source row run freely, so there is "
                "nothing to record; use 'direct'."
            )
        held = int(finished.remembered.sum())
        return Prepared(finished.rows, held, self._session.sources.size, pipeline.watch.seconds)

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
        masks: Mapping[str, MaskLike] | None = None,
    ) -> Run:
        if masks and image is None:
            raise OptionError("a mask needs a picture of its size; give an image too.")
        sources = {} if image is None else pipeline.read(image, masks)
        finished = pipeline.finish()
        recipe: dict[str, Any] = {
            "operation": operation,
            "request": pipeline.request.model_dump(mode="json"),
            "model": self._asked.model_dump(mode="json"),
            "sources": sources,
            "rows": finished.rows,
            "provenance": {**self._session.provenance(), "plugins": dict(plugins)},
        }
        given = pipeline.picture.pixels if pipeline.picture is not None else None
        return Run(finished, recipe, pipeline.watch.seconds, given, tuple(pipeline.notes))
