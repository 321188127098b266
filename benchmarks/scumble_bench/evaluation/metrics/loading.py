"""Metrics by name, with their networks loaded from files that a user has.

metrics = load_metrics(["default"], clip="clip-vit-large-patch14", protocol="pie-bench")
row = {metric.name: metric(source, edited, mask, prompt) for metric in metrics}
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scumble.errors import EngineError, OptionError
from scumble_bench.evaluation.metrics.metric import DEFAULT, FILES, METRICS, Metric
from scumble_bench.evaluation.metrics.protocol import MetricProtocol, read_protocol

__all__ = ["load_metrics"]


def load_metrics(
    names: Sequence[str] = (DEFAULT,),
    *,
    clip: str | Path | None = None,
    lpips: str | Path | None = None,
    dino: str | Path | None = None,
    protocol: str | MetricProtocol = "pie-bench",
    device: str = "cpu",
    note: Callable[[str], None] | None = None,
) -> list[Metric]:
    """The metrics of those names, in the order of the published table.

    Args:
        names: out of `METRICS`; `default` stands for every metric whose files are given.
        clip: a folder with a CLIP model and its processor, as transformers saves them.
        lpips: torchvision's file of SqueezeNet 1.1; the published linear weights come with
            torchmetrics.
        dino: a folder with a DINO ViT, as transformers saves it.
        protocol: a name, options with commas between them, or the protocol itself.
        device: torch's name of a device, for the networks; another than `cpu` was never tried.
        note: is told, in one sentence, of each metric that `default` leaves out.

    Raises:
        OptionError: a name is unknown, or a metric that was named needs a file that was not given.
        EngineError: the extra `eval` is not installed.
        ModelError: a file or folder cannot be used.
    """
    how = read_protocol(protocol) if isinstance(protocol, str) else protocol
    given = {"clip": clip, "lpips": lpips, "dino": dino}
    chosen = _chosen(names, given, note or (lambda sentence: None))
    files = {name: path for name, path in given.items() if path is not None}
    try:
        from scumble_bench.evaluation.metrics.networks import make

        return make(chosen, files, how, device)
    except ImportError as error:
        raise EngineError(
            f"measuring needs {error.name}, which is not installed: pip install 'scumble[eval]'."
        ) from error


def _chosen(
    names: Sequence[str], given: Mapping[str, str | Path | None], note: Callable[[str], None]
) -> list[str]:
    """Return the metrics that can be loaded, or say which cannot and why."""
    unknown = [name for name in names if name not in METRICS and name != DEFAULT]
    if unknown or not names:
        raise OptionError(
            f"there is no metric {unknown[0]!r}; write {DEFAULT} or some of {', '.join(METRICS)}."
            if unknown
            else f"no metric was named; write {DEFAULT} or some of {', '.join(METRICS)}."
        )
    chosen: list[str] = []
    for name, facts in METRICS.items():
        lacking = [need for need in facts.needs if given[need] is None]
        if name in names and lacking:
            raise OptionError(
                f"the metric {name} needs {lacking[0]}, {FILES[lacking[0]]}; give it, or leave the "
                "metric out."
            )
        if DEFAULT in names and lacking:
            need = lacking[0]
            note(f"{name} is not measured, for it needs {need}, {FILES[need]}.")
        elif DEFAULT in names or name in names:
            chosen.append(name)
    return chosen
