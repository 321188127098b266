"""The flags of `scumble eval`, in groups, and what their texts mean."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from scumble.errors import OptionError
from scumble_bench.evaluation.methods import INVERSIONS, METHODS
from scumble_bench.evaluation.metrics.metric import METRICS
from scumble_bench.evaluation.metrics.protocol import read_protocol
from scumble_bench.evaluation.pie_bench import Size
from scumble_bench.evaluation.running import RUNNERS

__all__ = ["Doing", "Measuring", "Named", "Picked"]

PICKED, NAMED, DOING, MEASURED = "The set", "What is run", "How it is run", "How it is measured"


@dataclass(frozen=True, slots=True)
class Picked:
    """Which pictures."""

    data: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|rooms",
            help="PIE-Bench, as published or as its parquet mirror; or held-out rooms.",
            rich_help_panel=PICKED,
        ),
    ] = None
    make_set: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Make 20 pictures in PIE-Bench's shape, in both layouts, and stop.",
            rich_help_panel=PICKED,
        ),
    ] = None
    task: Annotated[
        list[str] | None,
        typer.Option(
            metavar="colour|refine|pose|...",
            help="Of rooms; repeat for several.",
            show_default="all",
            rich_help_panel=PICKED,
        ),
    ] = None
    edits: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of rooms: of each task.", show_default="24", rich_help_panel=PICKED
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Named:
    """Which methods, and how they sample."""

    method: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:JSON]",
            help=f"Preset ({', '.join(METHODS)}) or plugin, with options; repeat for several.",
            show_default="the presets; of rooms every plugin",
            rich_help_panel=NAMED,
        ),
    ] = None
    inversion: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:JSON]",
            help=f"Preset ({', '.join(INVERSIONS)}) or plugin; repeat for several.",
            show_default="direct",
            rich_help_panel=NAMED,
        ),
    ] = None
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, help="DDIM steps.", show_default="50; of rooms 20", rich_help_panel=NAMED
        ),
    ] = None
    guidance: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Classifier-free guidance scale.",
            show_default="7.5",
            rich_help_panel=NAMED,
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Of every edit.", show_default="1234", rich_help_panel=NAMED),
    ] = None


@dataclass(frozen=True, slots=True)
class Doing:
    """Where it runs, and where its results go."""

    out: Annotated[
        Path,
        typer.Option(
            help="Folder of rows, pictures and tables; a run goes on there.", rich_help_panel=DOING
        ),
    ] = Path("out/eval")
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Do the I-th of N shares.", rich_help_panel=DOING),
    ] = None
    merge: Annotated[
        bool,
        typer.Option(
            "--merge", help="Run nothing: put together what is there.", rich_help_panel=DOING
        ),
    ] = False
    runner: Annotated[
        str, typer.Option(metavar="|".join(RUNNERS), help="What runs it.", rich_help_panel=DOING)
    ] = "local"
    workers: Annotated[
        int, typer.Option(min=1, help="Of Ray, each with an engine.", rich_help_panel=DOING)
    ] = 1
    gpus_per_worker: Annotated[
        float, typer.Option(min=0, help="Of Ray; 0.5 shares one.", rich_help_panel=DOING)
    ] = 0.0


@dataclass(frozen=True, slots=True)
class Measuring:
    """What is measured on PIE-Bench, and how."""

    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(METRICS),
            help="Repeat for several.",
            show_default="those that need no file, or whose file is given",
            rich_help_panel=MEASURED,
        ),
    ] = None
    clip: Annotated[
        Path | None, typer.Option(help="Folder with a CLIP model.", rich_help_panel=MEASURED)
    ] = None
    lpips: Annotated[
        Path | None,
        typer.Option(help="File with torchvision's SqueezeNet 1.1.", rich_help_panel=MEASURED),
    ] = None
    dino: Annotated[
        Path | None, typer.Option(help="Folder with a DINO ViT-B/8.", rich_help_panel=MEASURED)
    ] = None
    protocol: Annotated[
        str | None,
        typer.Option(
            help="pie-bench, plain, or quirks with commas between them.",
            show_default="pie-bench",
            rich_help_panel=MEASURED,
        ),
    ] = None
    measured_at: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(get_args(Size)),
            help="At 512x512 pixels, or at the model's size.",
            show_default="published",
            rich_help_panel=MEASURED,
        ),
    ] = None

    @property
    def files(self) -> dict[str, str]:
        """What metrics need, of what was given: name -> path."""
        given = {"clip": self.clip, "lpips": self.lpips, "dino": self.dino}
        return {name: str(path) for name, path in given.items() if path is not None}

    def chosen(self) -> list[str]:
        """Return the metrics that are asked for; without a word, those that can be measured.

        Raises:
            OptionError: an unknown one, or one whose file is not given.
        """
        able = [name for name, facts in METRICS.items() if set(facts.needs) <= set(self.files)]
        for name in self.metric or ():
            if name not in METRICS:
                raise OptionError(f"no metric {name!r}; there are: {', '.join(METRICS)}.")
            if name not in able:
                needed = ", ".join(f"--{file}" for file in METRICS[name].needs)
                raise OptionError(f"metric {name!r} needs {needed}; give it.")
        return [name for name in able if not self.metric or name in self.metric]

    def quirks(self) -> str:
        """Return the protocol's name.

        Raises:
            OptionError: an unknown one.
        """
        return read_protocol(self.protocol or "pie-bench").name

    def size(self) -> Size:
        """Return at which size is measured.

        Raises:
            OptionError: an unknown one.
        """
        text = self.measured_at or "published"
        if text not in get_args(Size):
            wanted = " or ".join(get_args(Size))
            raise OptionError(f"--measured-at is {text!r}; write {wanted}.")
        return cast("Size", text)
