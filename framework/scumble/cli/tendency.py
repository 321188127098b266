"""`scumble tendency`: where starting noise would put words, before anything is drawn.

The experiment of Mao et al. 2023 (arXiv:2305.03382, section 3.1), with maps in place of pictures:
the same noise under many prompts, and other noise under the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from scumble.arrays import Floats
from scumble.cli.checks import check_prompts, check_request, first_with
from scumble.cli.files import check_folder, check_outputs, slugs, write_beside
from scumble.cli.flags import Loading, Output, grouped, read_size
from scumble.cli.output import Work, print_json, print_table, working
from scumble.editor import Editor
from scumble.errors import OptionError
from scumble.host import Host
from scumble.maps import AttentionMap
from scumble.pipeline import Pipeline
from scumble.requests import GenerateRequest
from scumble.tendency import BlockGrid

__all__ = ["Landing", "agreement", "tendency"]

MOST = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Landing:
    """Where one noise would put one word under one prompt.

    Attributes:
        word: the word.
        prompt: the prompt.
        seed: of the noise.
        field: (rows, columns) tendency.
        cell: (height, width) pixels under one of its values.
    """

    word: str
    prompt: str
    seed: int
    field: Floats
    cell: tuple[float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """The centre of mass, x and y in pixels."""
        places = np.indices(self.field.shape) + 0.5
        y, x = ((places * self.field).sum(axis=(1, 2)) / self.field.sum()).tolist()
        return x * self.cell[1], y * self.cell[0]


def agreement(found: Sequence[Landing], same: str) -> float | None:
    """Return how alike maps are, from -1 to 1: the mean correlation of pairs; None without any.

    Args:
        found: of one word, each seed and prompt once.
        same: what the two of a pair share, `seed` or `prompt`.
    """
    alike = [
        _correlation(one.field, two.field)
        for one, two in combinations(found, 2)
        if getattr(one, same) == getattr(two, same)
    ]
    return float(np.mean(alike)) if alike else None


def _correlation(one: Floats, two: Floats) -> float:
    one, two = one - one.mean(), two - two.mean()
    size = float(np.sqrt((one**2).sum() * (two**2).sum()))
    # A flat map agrees with none.
    return float((one * two).sum()) / size if size > 0 else 0.0


@grouped
def tendency(
    *,
    prompts: Annotated[list[str], typer.Argument(help="Prompts to look under.")],
    words: Annotated[
        list[str],
        typer.Option("--word", metavar="WORD", help="A word of them; repeat for several."),
    ],
    noises: Annotated[int, typer.Option(help="Noises to look at, of this many seeds.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first noise; the next have the next.")] = 0,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Height x width in pixels.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of the runs to come: it decides the first timestep.")
    ] = None,
    map_site: Annotated[
        int | None, typer.Option(help="Cross-attention to look at, in place of the published one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for a heat map of each.")
    ] = None,
    loading: Loading,
    output: Output,
) -> None:
    """Show where starting noise would put words, and whether noise or prompt decides it."""
    if not 1 <= noises <= MOST:
        raise OptionError(f"--noises is {noises}; give 1 to {MOST}.")
    prompts, words = list(dict.fromkeys(prompts)), list(dict.fromkeys(words))
    request: dict[str, Any] = {"seed": seed}
    request |= {} if size is None else {"size": read_size(size)}
    request |= {} if steps is None else {"steps": steps}
    check_request("generate", {"prompt": prompts[0], **request})
    cut = check_prompts(loading, prompts)
    for word in words:
        first_with(word, cut)
    files: dict[tuple[str, str, int], Path] = {}
    if out is not None:
        check_folder("--out", out)
        files = {
            (word, prompt, seed + n): out / f"{slug}-{number}-{seed + n}.png"
            for word, slug in zip(words, slugs(words), strict=True)
            for number, prompt in enumerate(prompts, 1)
            for n in range(noises)
        }
        if out.is_dir():
            check_outputs([("--out", path) for path in files.values()])
    with working(output) as work:
        seeds = range(seed, seed + noises)
        found = _landings(work, loading, prompts, words, seeds, request, map_site)
        if out is not None:
            out.mkdir(exist_ok=True)
            write_beside(_drawn(found, files))
    told = {
        word: {
            "same_noise": agreement(mine, "seed"),
            "same_prompt": agreement(mine, "prompt"),
        }
        for word in words
        for mine in [[one for one in found if one.word == word]]
    }
    if output.as_json:
        print_json({"landings": [_facts(one) for one in found], "agreement": told})
    elif not output.quiet:
        _tell(found, told)


def _landings(
    work: Work,
    loading: Loading,
    prompts: Sequence[str],
    words: Sequence[str],
    seeds: Sequence[int],
    request: dict[str, Any],
    map_site: int | None,
) -> list[Landing]:
    """Return where each noise would put each word under each prompt that has it."""
    work.stage("loading the model")
    found: list[Landing] = []
    with Editor.load(**loading.fields()) as editor:
        session = editor.session
        asked = GenerateRequest(prompt=prompts[0], **request)
        run = Pipeline(session, asked, tuple(prompts), frozenset(), Host(())).view()
        grid = BlockGrid.of(run, map_site)
        cell = tuple(
            side * run.factor / cells for side, cells in zip(run.latent, grid.size, strict=True)
        )
        shape = (session.info.channels, *run.latent)
        for seed in seeds:
            work.stage(f"looking at noise {seed}")
            # What a run of this seed starts from.
            noise = replace(run, seed=seed).random().standard_normal(shape)
            for prompt in (run.source, *run.targets):
                held = [word for word in words if prompt.has(word)]
                fields = grid.tendency(noise, prompt, held) if held else ()
                for word, field in zip(held, fields, strict=True):
                    found.append(Landing(word, prompt.text, seed, field, (cell[0], cell[1])))
    return found


def _drawn(
    found: Sequence[Landing], files: Mapping[tuple[str, str, int], Path]
) -> dict[Path, Image.Image]:
    """Return the heat map of each landing."""
    return {
        files[one.word, one.prompt, one.seed]: AttentionMap(one.word, one.field, "source").heat(
            (round(one.field.shape[0] * one.cell[0]), round(one.field.shape[1] * one.cell[1]))
        )
        for one in found
    }


def _facts(one: Landing) -> dict[str, Any]:
    return {
        "word": one.word,
        "seed": one.seed,
        "prompt": one.prompt,
        "centre": [round(place, 1) for place in one.centre],
        "map": [[round(float(value), 6) for value in row] for row in one.field],
    }


def _tell(found: Sequence[Landing], told: Mapping[str, Mapping[str, float | None]]) -> None:
    places = (f"{one.centre[0]:.0f}, {one.centre[1]:.0f}" for one in found)
    rows = [(o.word, str(o.seed), o.prompt, at) for o, at in zip(found, places, strict=True)]
    print_table(("word", "seed", "prompt", "centre (x, y)"), rows)
    print()
    shares = [
        (word, *("-" if share is None else f"{share:.2f}" for share in each.values()))
        for word, each in told.items()
    ]
    print_table(("maps agree", "same noise, other prompt", "same prompt, other noise"), shares)
