"""A made-up report: cells of ours and of peers, one that disagrees, one unchecked, two failed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from scumble_bench.latency.records import (
    Bench,
    Ceiling,
    Fit,
    Growth,
    Loading,
    Measured,
    Memory,
    Point,
    Range,
    StageTime,
    TargetVerdict,
    VariantCost,
)  # fmt: skip
from scumble_bench.reports.points import QualityPoint
from scumble_bench.reports.style import LIGHT, Plot

BASELINE = "reference P2P, torch fp32"
NASTY = "<script>alert('no & $x_1$')</script>"
CAUSE = "EngineError: the provider <CUDA> is missing & nothing else was tried"


def spread(median: float, reach: float = 0.08) -> Range:
    return Range(median=median, p10=median * (1 - reach), p90=median * (1 + 2 * reach))


def split(seconds: float, **shares: float) -> tuple[StageTime, ...]:
    return tuple(
        StageTime(
            stage=name.replace("__", ": "), seconds=spread(seconds * share), calls=20, rows=60
        )
        for name, share in shares.items()
    )


def cell(name: str, seconds: float | None, **more: Any) -> Measured:
    """A cell that took so many seconds, against a baseline of 8; None failed."""
    given: dict[str, Any] = {
        "method": "prompt_to_prompt", "engine": "onnxruntime", "precision": "fp32",
        "model": "rooms", "size": (128, 128), "steps": 20, "edit": "first",
    }  # fmt: skip
    if seconds is not None:
        given |= {
            "seconds": (seconds, seconds * 1.04, seconds * 0.99),
            "spread": spread(seconds),
            "ratio": spread(8 / seconds),
        }
    return Measured(name=name, **{**given, **more})


def made_up() -> Bench:
    peer = {"peer": True, "method": "reference", "engine": "torch", "tolerance": 1e-3}
    text = {"text": 0.02, "encode": 0.08}
    whole = split(
        1.0, **text, inversion=0.25, sampling__routed=0.3, sampling__reading=0.15,
        sampling__plain=0.1, decode=0.08, host=0.02,
    )  # fmt: skip
    after = split(
        0.45, **text, sampling__replaying=0.6, sampling__plain=0.15, decode=0.1, host=0.05
    )
    return Bench(
        provenance={
            "date": "2026-01-02T03:04:05+00:00", "commit": "0123456789ab", "cpu": "Example CPU <9>",
            "cores": 8, "threads": 4, "versions": {"python": "3.12.1", "torch": "2.13.0"},
            "platform": "Linux", "weights_sha256": {"rooms": "ab" * 32},
            "load_average": [0.1, 0.2, 0.3],
        },
        settings={"methods": ["prompt_to_prompt", "masactrl"], "rounds": 3, "warmup": 1},
        baseline=BASELINE,
        cells=(
            cell(BASELINE, 8.0, **peer, agreement=0.0),
            cell("Prompt-to-Prompt, onnxruntime fp32, first edit", 1.0, rows=200, gradients=0,
                 host_share=spread(0.015),
                 stages=whole, memory=Memory(rss=700 * 2**20, device=900 * 2**20)),
            cell("Prompt-to-Prompt, onnxruntime fp32, next edit", 0.45, edit="next", rows=100,
                 stages=after, memory=Memory(rss=720 * 2**20)),
            cell("MasaCtrl, openvino bf16, first edit", 1.6, method="masactrl", engine="openvino",
                 precision="bf16", composed=True, notes=("composed from medians of single steps",)),
            cell("reference P2P, torch.compile fp32", 5.5, **peer, agreement=2e-5),
            cell("a peer that draws something else", 0.9, **peer, agreement=0.31),
            cell("a peer that nobody compared", 3.0, **{**peer, "tolerance": None}),
            cell(NASTY, 9.5),
            cell("MAG-Edit, tensorrt fp16", None, method="mag_edit", engine="tensorrt",
                 precision="fp16", failure=CAUSE),
            cell("Plug-and-Play, openvino bf16", None, method="plug_and_play", engine="openvino",
                 failure="MemoryError: out of memory"),
        ),
        ceilings=(
            Ceiling(device="Example CPU", engine="onnxruntime", precision="fp32",
                    flops_per_second=4e11, shape=(1024, 1024, 1024), bytes_per_second=2e10),
            Ceiling(device="Example CPU", engine="openvino", precision="bf16",
                    flops_per_second=1.5e12, shape=(2048, 1024, 1024), bytes_per_second=2e10),
        ),
        variants=(
            *(VariantCost(engine=engine, precision=precision, model="rooms", variant=name, rows=3,
                          size=(128, 128), flops=3e9, bytes=size,
                          seconds=spread(3e9 / (peak * f)),
                          fraction_of_peak=f, bandwidth=size * peak * f / 3e9, bound="compute")
              for engine, precision, peak in (
                  ("onnxruntime", "fp32", 4e11), ("openvino", "bf16", 1.5e12)
              )
              for name, f, size in (
                  ("plain", 0.42, 6e7), ("routed", 0.39, 7e7), ("reading", 0.33, 9e7)
              )),
            VariantCost(engine="tensorrt", precision="fp16", model="rooms", variant="plain", rows=3,
                        size=(128, 128), failure="no GPU here"),
        ),
        growth=(
            grown("rows", "row", "onnxruntime", (1, 2, 3, 4, 8), 0.002, 0.0035),
            grown("rows", "row", "openvino", (1, 2, 3, 4, 8), 0.001, 0.0015),
            grown("pixels", "megapixel", "onnxruntime", (0.016, 0.065, 0.26), 0.01, 1.1),
            grown("steps", "step", "onnxruntime", (10, 20, 50), 0.05, 0.03),
            Growth(axis="edits of one picture", unit="edit", engine="onnxruntime", model="rooms",
                   points=(Point(x=1, seconds=spread(1)), Point(x=2, seconds=spread(1.5))),
                   failure="the third edit ran out of memory"),
        ),
        targets=(
            TargetVerdict(target="p2p.first", says="at least 4 times", engine="onnxruntime",
                          threshold=">= 4x", value=8.0, spread=spread(8.0), verdict="met"),
            TargetVerdict(target="mag.first", says="at least 4 times", engine="any",
                          threshold=">= 4x", verdict="not measured", why="no GPU & no <time>"),
        ),
        loading=(
            Loading(engine="onnxruntime", model="rooms", precision="fp32", load=0.8, export=31.0),
            Loading(engine="tensorrt", model="rooms", precision="fp16", failure="no GPU <here>"),
        ),
    )  # fmt: skip


def grown(
    axis: str, unit: str, engine: str, xs: tuple[float, ...], constant: float, slope: float
) -> Growth:
    noise = np.random.default_rng(3).normal(1, 0.02, len(xs))
    points = tuple(
        Point(x=x, seconds=spread((constant + slope * x) * by))
        for x, by in zip(xs, noise.tolist(), strict=True)
    )
    fit = Fit(constant=constant, slope=slope, r_squared=0.9984)
    return Growth(axis=axis, unit=unit, engine=engine, model="rooms", points=points, fit=fit)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return made_up()


@pytest.fixture(scope="session")
def a_cell() -> Callable[..., Measured]:
    return cell


@pytest.fixture(scope="session")
def a_range() -> Callable[..., Range]:
    return spread


@pytest.fixture(scope="session")
def a_point() -> Callable[..., QualityPoint]:
    return point


@pytest.fixture
def drawn() -> Callable[[Plot], Figure]:
    """A plot as a figure, whose texts and lines can be looked at."""

    def draw(plot: Plot) -> Figure:
        figure = Figure(figsize=plot.size, layout="constrained")
        plot.draw(figure, LIGHT)
        return figure

    return draw


@pytest.fixture
def texts(drawn: Callable[[Plot], Figure]) -> Callable[[Plot], list[str]]:
    """All that is written in a plot."""
    return lambda plot: [text.get_text() for text in drawn(plot).findobj(Text)]


def point(label: str, success: float, psnr: float | None, **more: Any) -> QualityPoint:
    given: dict[str, Any] = {
        "task": "colour", "method": "prompt_to_prompt", "inversion": "direct", "rows": 76,
        "success_interval": (max(0, success - 0.1), min(1, success + 0.1)), "pictures": 24,
    }  # fmt: skip
    return QualityPoint(label=label, success=success, psnr=psnr, **{**given, **more})
