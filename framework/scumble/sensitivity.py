"""The probe that makes a silent no-op impossible: perturb a port, demand that the output moves."""

from collections.abc import Mapping

import numpy as np

from scumble.arrays import Array, Floats
from scumble.embeddings import Embedding, text_ports
from scumble.engine import StepOutput
from scumble.errors import ControlError
from scumble.ports import Group, PortSizes, neutral
from scumble.session import Session

__all__ = ["perturbed", "require_effect"]

# Far above rounding of a half-precision UNet, far below what one moved row changes.
LEAST = 1e-3
REPLAY = "the probe of the replay ports"


def perturbed(group: Group, sizes: PortSizes) -> dict[str, Array]:
    """Return a group's ports for two rows, with row 1 made to depend on row 0."""
    ports = neutral(group, sizes, 2)
    match group:
        case "route":
            ports["route"][:, :, 1] = 0
        case "mix":
            ports["mix.source"][1] = np.eye(sizes.tokens)
            ports["mix.own"][1] = 0
            ports["mix.row"][1] = 0
            ports["mix.sites"][:, 1] = 1
        case "read":
            sites = sizes.sites.select("cross", strides=(sizes.sites.map_stride,))
            ports["read.weights"][1, 0, 1] = 1
            ports["read.sites"][list(sites)] = 1
        case "feature":
            ports["feature_route"][:, 1] = 0
        case "region":
            # Halves, which differ at the coarsest stride too: SDXL attends at none below 2.
            height, width = sizes.latent[1:]
            ports["region.query"][1, : height // 2] = 1
            ports["region.key"][1, :, : width // 2] = 1
            ports["region.sites"][:, 1] = 1
        case "join":
            ports["join.row"][1] = 0
            ports["join.sites"][:, 1] = 1
        case _:
            raise ControlError(f"port group {group!r} has no perturbation.")
    return ports


def require_effect(session: Session, group: Group) -> None:
    """Perturb the ports of a group on random inputs.

    Raises:
        ControlError: the output did not move, so edits through this group would do nothing.
        NumericalError: NaN or Inf on random inputs.
    """
    sizes = session.info.sizes(session.info.sites.native)
    rng = np.random.default_rng(0)
    base: Mapping[str, object] = {
        "sample": rng.standard_normal((2, *sizes.latent)),
        "timestep": np.full(2, 500, dtype=np.int64),
        **text_ports([_random_text(sizes, rng) for _ in range(2)], sizes.latent[1:]),
    }
    if group in ("record", "replay"):
        moved = _replay_moves(session, base)
    elif group == "loss":
        moved = _gradient_moves(session, base)
    elif group == "match":
        moved = _match_moves(session, base)
    else:
        where = f"the probe of the {group} ports"
        changed = session.step({**base, **perturbed(group, sizes)}, "probe", where)
        if group == "read":
            (field,) = (reads[1, 0] for reads in changed.reads.values())
            moved = float(np.ptp(field)) / max(float(np.abs(field).max()), 1e-30)
        else:
            moved = _distance(session.step(base, "probe"), changed)
    if not moved > LEAST:
        raise ControlError(
            f"the {group} ports of engine {session.engine.name!r} have no effect on model "
            f"{session.checkpoint.name!r} (moved by {moved:.1e}); export or load it anew."
        )


def _gradient_moves(session: Session, base: Mapping[str, object]) -> float:
    """Return how far a gradient moves when its loss is on another word."""
    sizes = session.info.sizes(session.info.sites.native)
    one = {name: np.asarray(value)[:1] for name, value in base.items()}
    source = session.step({**one, "record.row": np.zeros(1, dtype=np.int64)}, "probe").recorded
    words, masks = (np.zeros((1, 1, *shape)) for shape in ((sizes.tokens,), sizes.latent[1:]))
    masks[..., : sizes.latent[1] // 2, :] = 1
    gate = np.zeros(sizes.sites.count("cross"))
    gate[list(sizes.sites.select("cross", strides=(sizes.sites.map_stride,)))] = 1
    ports: dict[str, object] = {
        **one,
        **neutral("route", sizes, 1, replayed=True),
        **neutral("mix", sizes, 1, replayed=True),
        **source,
        "source.text": one["text"],
        "loss.rest": np.ones_like(words),
        "loss.masks": masks,
        "loss.weights": np.ones((1, 1, 2)),
        "loss.sites": gate,
    }
    slopes: list[Floats] = []
    for token in (1, 2):
        words = np.zeros_like(words)
        words[..., token] = token
        slopes.append(session.gradient({**ports, "loss.words": words}, "the probe").latents)
    largest = max(float(np.abs(slopes[0]).max()), 1e-30)
    return float(np.abs(slopes[1] - slopes[0]).max()) / largest


def _match_moves(session: Session, base: Mapping[str, object]) -> float:
    """Return how far a gradient by the text moves when another noise is wanted."""
    wanted = np.asarray(base["sample"])
    slopes: list[Floats] = []
    for noise in (wanted, -wanted):
        ports = {**base, "match.noise": noise, "match.weight": np.ones(len(noise))}
        found = session.gradient(ports, "the probe").text
        if found is None:
            return 0.0
        slopes.append(found)
    largest = max(float(np.abs(slopes[0]).max()), 1e-30)
    return float(np.abs(slopes[1] - slopes[0]).max()) / largest


def _random_text(sizes: PortSizes, rng: np.random.Generator) -> Embedding:
    states = rng.standard_normal((sizes.tokens, sizes.features))
    return Embedding(states, None if sizes.pooled is None else rng.standard_normal(sizes.pooled))


def _distance(plain: StepOutput, changed: StepOutput) -> float:
    """Return how far row 1 moved, relative to its size."""
    before: Floats = plain.noise[1]
    return float(np.abs(changed.noise[1] - before).max() / np.abs(before).max())


def _replay_moves(session: Session, base: Mapping[str, object]) -> float:
    """Return how far a row moves when what it routes from was recorded of another row."""
    one = {name: np.asarray(value)[1:] for name, value in base.items()}
    sizes = session.info.sizes(session.info.sites.native)
    routed = neutral("route", sizes, 1)["route"] + 1  # all from the row beyond
    text = np.asarray(base["text"])[:1]
    noises: list[Floats] = []
    for row in (0, 1):
        asked = {**base, "record.row": np.array([row], dtype=np.int64)}
        recorded = session.step(asked, "probe", REPLAY).recorded
        if not recorded:
            return 0.0
        replay = {**one, **recorded, "source.text": text, "route": routed}
        noises.append(session.step(replay, "probe", REPLAY).noise)
    return float(np.abs(noises[1] - noises[0]).max() / np.abs(noises[0]).max())
