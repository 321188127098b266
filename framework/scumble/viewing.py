"""What plugins are shown of a run: its prompts in tokens, its picture and masks at latent size."""

from collections.abc import Mapping

import numpy as np

from scumble.arrays import Array, Floats, frozen, read_only
from scumble.embeddings import Embedding
from scumble.errors import OptionError
from scumble.hookspecs import RunView
from scumble.images import Picture, mask_to_latent, to_model
from scumble.masks import Mask
from scumble.matching import match
from scumble.requests import SamplingRequest
from scumble.schedulers import DDIM
from scumble.session import Session

__all__ = ["latent_size", "view_run"]


def latent_size(session: Session, request: SamplingRequest) -> tuple[int, int]:
    """Return (height, width) of a run's latents.

    Raises:
        OptionError: a size that is no multiple of the model's factor.
    """
    native, factor = session.info.sites.native, session.info.factor
    if request.size is None:
        return native
    height, width = request.size
    if height % factor or width % factor:
        raise OptionError(
            f"size is {height}x{width}; this model needs multiples of {factor} pixels."
        )
    return height // factor, width // factor


def view_run(
    session: Session,
    request: SamplingRequest,
    prompts: tuple[str, ...],
    picture: Picture | None,
    masks: Mapping[str, Mask],
) -> tuple[RunView, list[str]]:
    """Return the view of a run, and notes on prompts that were cut.

    Args:
        session: the model.
        request: sampling settings.
        prompts: of each picture, the source's first.
        picture: fitted to the run's size, or None if the source is generated.
        masks: by name, fitted likewise.
    """

    def told(text: str | Floats) -> str | Embedding:
        return text if isinstance(text, str) else session.embedding(text, request.negative)

    encode = session.tokenizer.encode
    source, *targets = (encode(text) for text in prompts)
    said = (source, *targets, encode(request.negative))
    latent = latent_size(session, request)
    scheduler = DDIM(session.checkpoint.scheduler, request.steps)
    image: Array | None = None
    if picture is not None:
        pixels = to_model(picture.pixels).astype(session.engine.dtype)
        image = frozen(session.recovery.encode_image(pixels)[0].astype(session.engine.dtype))
    small = {
        name: frozen(mask_to_latent(mask.pixels, latent).astype(np.float32))
        for name, mask in masks.items()
    }
    run = RunView(
        steps=request.steps,
        guidance=request.guidance,
        source=source,
        targets=tuple(targets),
        sites=session.info.sites,
        latent=latent,
        scheduler=scheduler,
        seed=request.seed,
        image=image,
        mask=small.pop("", None),
        masks=small,
        predict=session.predict,
        look=session.look,
        encode=encode,
        factor=session.info.factor,
        unconditional=request.negative,
        embed=lambda text: read_only({"": session.embed(text).states})[""],
        predict_rows=lambda latents, timesteps, texts: session.predict_rows(
            latents, timesteps, [told(text) for text in texts]
        ),
        predict_source=lambda latent, step: session.predict_source(
            latent, step, int(scheduler.timesteps[step]), source.text
        ),
        match=lambda latent, timestep, text, noise, weight: match(
            session, latent, timestep, session.embedding(text, request.negative), noise, weight
        ),
    )
    return run, [prompt.notice for prompt in said if prompt.notice]
