"""What a method is worth, as a point: how often it does the edit, what it spares, what it costs."""

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["QualityPoint", "dominates", "front", "outline", "stairs"]

Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class QualityPoint(BaseModel):
    """One method, with one inversion, measured on the pictures of one task.

    Attributes:
        label: no two points of a task have the same.
        task: what was asked for; only points of one task can be compared.
        method: the plugin.
        inversion: the plugin that inverted; None where nothing is inverted.
        masked: whether the true mask of the thing was given.
        success: share of the edits that were made.
        success_interval: its 95 % interval.
        psnr: outside of what was to be edited, in dB; None where there is no outside.
        psnr_interval: its 95 % interval.
        ceiling: the PSNR in dB that the autoencoder alone reaches there; no edit can do better.
        rows: row evaluations of the UNet in one edit, inversion included.
        gradients: taken in one edit.
        pictures: how many were edited; the same ones for every point of a task.
        engine: that ran the UNet; None where it was not told.
        also: other labels under which the very same was measured.
        origin: file that it was read from, or empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    task: str
    method: str
    inversion: str | None
    masked: bool = False
    success: Share
    success_interval: tuple[Share, Share]
    psnr: float | None = None
    psnr_interval: tuple[float, float] | None = None
    ceiling: float | None = None
    rows: float = Field(ge=0)
    gradients: float = Field(default=0, ge=0)
    pictures: int = Field(ge=1)
    engine: str | None = None
    also: tuple[str, ...] = ()
    origin: str = ""


def dominates(one: QualityPoint, other: QualityPoint) -> bool:
    """Return whether a point is nowhere worse than another and somewhere better.

    Counted are success and PSNR, of which more is better, and rows, gradients and whether the true
    mask was given, of which less is. Points of two tasks, and those without a PSNR, are not
    comparable.
    """
    if one.task != other.task or one.psnr is None or other.psnr is None:
        return False
    mine = (one.success, one.psnr, -one.rows, -one.gradients, -one.masked)
    its = (other.success, other.psnr, -other.rows, -other.gradients, -other.masked)
    return mine != its and all(a >= b for a, b in zip(mine, its, strict=True))


def front(points: Sequence[QualityPoint]) -> list[QualityPoint]:
    """Return the points that no other dominates, in their order; none without a PSNR."""
    return [
        point
        for point in points
        if point.psnr is not None and not any(dominates(other, point) for other in points)
    ]


def outline(points: Sequence[QualityPoint]) -> list[QualityPoint]:
    """Return the front of success and PSNR alone, whatever it costs, by falling PSNR.

    Args:
        points: of one task.
    """
    best = -1.0
    found: list[QualityPoint] = []
    placed = [point for point in points if point.psnr is not None]
    # Of equals in PSNR the one with more success comes first, and so hides the others.
    for point in sorted(placed, key=lambda point: (-(point.psnr or 0), -point.success)):
        if point.success > best:
            found.append(point)
            best = point.success
    return found


def stairs(corners: Sequence[QualityPoint]) -> list[tuple[float, float]]:
    """Return the border of what is reached, as (PSNR, success) from the right end up to the left.

    At each PSNR it is as high as the best success that is known at that PSNR or more.

    Args:
        corners: an `outline`.
    """
    found: list[tuple[float, float]] = []
    below = 0.0
    for point in corners:
        x = point.psnr or 0.0
        found += [(x, below), (x, point.success)]
        below = point.success
    return found
