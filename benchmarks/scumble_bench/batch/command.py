"""`scumble batch`: a list of edits, made by one process or many, and taken up after a crash."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from scumble.cli.files import check_folder
from scumble.cli.flags import Loading, Output, grouped
from scumble.cli.output import print_json, remark
from scumble.cli.reporting import MISUSED, hushed, one_line, report, shown
from scumble.errors import OptionError
from scumble.models import find_checkpoint
from scumble.options import check_options
from scumble.plugins import list_entries
from scumble.requests import EngineRequest
from scumble.words import Tokenizer
from scumble_bench.batch.edits import Edit, check_lines
from scumble_bench.batch.jobs import job_of
from scumble_bench.batch.lines import Problem, read_list
from scumble_bench.batch.tables import joined, write_tables
from scumble_bench.work import local
from scumble_bench.work.pieces import Job
from scumble_bench.work.shelf import FAILURE, Row, open_shelf

__all__ = ["batch"]

RUNNERS = ("ray", "local")


@grouped
def batch(
    *,
    edits: Annotated[
        Path, typer.Argument(metavar="LIST", help="A .jsonl or .csv with an edit a line.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for pictures and rows; made if missing.")],
    runner: Annotated[
        str, typer.Option(metavar="ray|local", help="Ray Data, or this process alone.")
    ] = "ray",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes with an engine each, on Ray.", show_default="2"),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            min=0, help="GPUs of each, such as 0.5 for two on one; on Ray.", show_default="none"
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster that runs.", show_default="Ray is started here"),
    ] = None,
    loading: Loading,
    output: Output,
) -> None:
    """Make a list of edits, on one machine or a cluster; a second call goes on where one ended.

    A worker has one CPU thread unless --threads says more: the same number of threads makes the
    same pictures, whatever runs beside.
    """
    alone = {"--workers": workers, "--gpus-per-worker": gpus_per_worker, "--address": address}
    if runner not in RUNNERS:
        raise OptionError(f"no runner {runner!r}; there are: {', '.join(RUNNERS)}.")
    odd = [flag for flag, value in alone.items() if value is not None]
    if runner == "local" and odd:
        raise OptionError(f"{odd[0]} is for --runner ray; leave it out.")
    check_folder("--out", out)
    begun = time.perf_counter()
    asked, job = _read(edits, out, loading)
    out.mkdir(exist_ok=True)
    _forget_lost(job, out)
    with hushed(), _shown(output) as told:
        if runner == "local":
            rows = local.run(job, told)
        else:
            from scumble_bench.work import on_ray

            threads = int(job.settings["model"]["threads"])
            actors = on_ray.Actors(workers or 2, threads, gpus_per_worker or 0.0, address)
            rows = on_ray.run(job, told, actors)
    table = joined(asked, rows)
    written = write_tables(table, out)
    _tell(output, table, written, time.perf_counter() - begun)
    if any(FAILURE in row for row in table):
        raise typer.Exit(MISUSED)


def _read(path: Path, out: Path, loading: Loading) -> tuple[list[Edit], Job]:
    """Return a list's edits and their job, with every line and setting looked over.

    Raises:
        OptionError: some lines cannot be used; each was told.
    """
    lines, problems = read_list(path)
    # One thread: the same pictures whatever the machine has, and however many work beside.
    model = check_options(EngineRequest, {"threads": 1, **loading.fields()}, "scumble batch")
    engines = list_entries("scumble.engines")
    for name in (model.engine, model.gradient_engine):
        if name is not None and name not in engines:
            raise OptionError(f"no engine {name!r}; installed: {', '.join(engines)}.")
    with hushed():
        checkpoint = find_checkpoint(
            model.model, revision=model.revision, local_files_only=model.local_files_only
        )
    tokenizer = Tokenizer.load(checkpoint.tokenizer)
    asked, more = check_lines(lines, path.parent, out, tokenizer.encode)
    problems = sorted([*problems, *more], key=lambda one: one.number)
    if problems:
        for problem in problems:
            report(f"{path}, line {problem.number}: {problem.said}")
        raise OptionError(_count(problems, len(asked)))
    return asked, job_of(asked, out, model.model_dump(mode="json"), checkpoint.fingerprint())


def _count(problems: Sequence[Problem], good: int) -> str:
    bad = len({problem.number for problem in problems})
    return f"{bad} of {bad + good} lines cannot be used, and nothing was run; mend them."


def _forget_lost(job: Job, out: Path) -> None:
    """Let what was made and is gone be made again."""
    shelf = open_shelf(job)
    for piece in job.pieces:
        row = shelf.get(piece)
        if row is not None and not all((out / name).is_file() for name in row.get("images", ())):
            shelf.forget(piece)


@contextmanager
def _shown(output: Output) -> Generator[local.Progress]:
    """Give what is told of each row: a bar on a terminal, and the failures as they come."""
    columns: Any = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True, soft_wrap=True)
    visible = console.is_terminal and not output.quiet and not output.as_json
    with Bars(*columns, console=console, transient=True, disable=not visible) as bars:
        task = bars.add_task("edits")

        def tell(done: int, of: int, row: Row | None) -> None:
            bars.update(task, completed=done, total=of)
            if row is not None and FAILURE in row and not output.quiet:
                report(f"'{row['key']}' failed: {row[FAILURE]}")

        yield tell


def _tell(output: Output, rows: Sequence[Row], written: Sequence[Path], seconds: float) -> None:
    failed = [row for row in rows if FAILURE in row]
    if output.as_json:
        print_json(
            {
                "edits": len(rows),
                "failed": len(failed),
                "seconds": round(seconds, 3),
                "tables": [str(path) for path in written],
                "rows": rows,
            }
        )
    elif not output.quiet:
        done = len(rows) - len(failed)
        print(f"edits    {done} of {len(rows)} made; {seconds:.1f} s")
        for path in written:
            print(f"wrote    {shown(str(path))}")
    if failed:
        remark(output, one_line(f"{len(failed)} failed; the same command tries them again."))
