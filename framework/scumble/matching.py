"""The loss that an inversion may take the gradient of: how far a noise is from a wanted one."""

from typing import Any

import numpy as np

from scumble.arrays import Floats
from scumble.embeddings import Embedding, text_ports
from scumble.engine import MATCHED, engines_with
from scumble.errors import UnsupportedError
from scumble.sensitivity import require_effect
from scumble.session import Session

__all__ = ["match"]


def match(
    session: Session, latent: Floats, timestep: int, text: Embedding, noise: Floats, weight: float
) -> tuple[float, Floats]:
    """Return weight * mean((predicted - noise)^2), and its derivative by the text.

    Costs one gradient, on the engine that the session takes gradients from.

    Args:
        session: the model.
        latent: (channels, height, width).
        timestep: of training.
        text: of one prompt; states (tokens, features).
        noise: (channels, height, width), what the UNet should predict.
        weight: factor on the loss.

    Returns:
        The loss, and (tokens, features).

    Raises:
        UnsupportedError: no engine of the session has this gradient.
        ControlError: the gradient does not depend on what it was asked.
        NumericalError: NaN or Inf in it.
    """
    gradients = session.gradients
    _require_match(gradients)
    height, width = latent.shape[-2:]
    size = (height * session.info.factor, width * session.info.factor)
    ports: dict[str, Any] = {
        "sample": latent[None],
        "timestep": np.array([timestep], dtype=np.int64),
        **text_ports([text], size),
        "match.noise": noise[None],
        "match.weight": np.array([weight]),
    }
    found = gradients.gradient(ports, f"timestep {timestep}")
    assert found.text is not None
    return float(found.losses[0]), found.text[0]


def _require_match(session: Session) -> None:
    """Refuse an engine without this gradient, and probe one that has it, once a session."""
    if "match" in session.probed:
        return
    if not session.engine.supports(MATCHED):
        others = ", ".join(engines_with(MATCHED)) or "none that is installed"
        raise UnsupportedError(
            f"engine {session.engine.name!r} has no gradient by the text for this model; load it "
            f"with gradient_engine, one of: {others}."
        )
    counted = session.rows.copy()
    require_effect(session, "match")
    session.probed.add("match")
    # What a probe costs is no part of a run.
    session.rows.clear()
    session.rows.update(counted)
