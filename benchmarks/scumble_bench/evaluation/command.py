"""`scumble eval`: methods and inversions, measured on PIE-Bench and on held-out rooms."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from scumble.cli.flags import Loading, Output, grouped
from scumble.cli.output import print_json, print_table, remark
from scumble.cli.reporting import MISUSED, shown
from scumble.errors import EngineError, OptionError
from scumble_bench.evaluation import methods, pie_bench
from scumble_bench.evaluation.datasets import load_entries
from scumble_bench.evaluation.flags import Doing, Measuring, Named, Picked
from scumble_bench.evaluation.made_set import write_set
from scumble_bench.evaluation.methods import DIRECT, INVERSIONS, METHODS, crossed, read_named
from scumble_bench.evaluation.running import run_job, what_is_there
from scumble_bench.evaluation.shards import read_shard, shard_of
from scumble_bench.evaluation.tables import Lines, overall
from scumble_bench.reports.files import write_all
from scumble_bench.work.pieces import Job

__all__ = ["evaluate"]

ROOMS = "rooms"
EDITS = 24
PLOT = "pareto.png"


@grouped
def evaluate(
    picked: Picked,
    named: Named,
    doing: Doing,
    measuring: Measuring,
    loading: Loading,
    output: Output,
) -> None:
    """Measure methods and inversions on PIE-Bench, or on held-out rooms."""
    if picked.make_set is not None:
        made = {layout: str(path) for layout, path in write_set(picked.make_set).items()}
        if output.as_json:
            print_json(made)
        for layout, path in made.items():
            remark(output, f"{layout}: {path}")
    elif picked.data is None:
        raise OptionError(
            "--data is missing; name the folder of PIE-Bench, or 'rooms', or make a set of its "
            "shape first: scumble eval --make-set FOLDER."
        )
    elif picked.data == ROOMS:
        _refuse("held-out rooms", measuring, ("guidance", named.guidance), ("seed", named.seed))
        _rooms(picked, named, doing, loading, output)
    else:
        _refuse("PIE-Bench", None, ("task", picked.task), ("edits", picked.edits))
        _pie(picked.data, named, doing, measuring, loading, output)


def _pie(
    data: str,
    named: Named,
    doing: Doing,
    measuring: Measuring,
    loading: Loading,
    output: Output,
) -> None:
    """Measure on PIE-Bench, or what is laid out like it."""
    wanted = [read_named(one, METHODS, "method") for one in named.method or METHODS]
    sampling: dict[str, Any] = {
        "steps": named.steps,
        "guidance": named.guidance,
        "seed": named.seed,
    }
    asked = pie_bench.Asked(
        data=Path(data),
        out=doing.out,
        methods=crossed(wanted, _inversions(named)),
        metrics=measuring.chosen(),
        files=measuring.files,
        protocol=measuring.quirks(),
        measured_at=measuring.size(),
        model=loading.fields(),
        **{name: value for name, value in sampling.items() if value is not None},
    )
    entries = load_entries(asked.data)
    job = pie_bench.job_of(asked, entries)
    rows = _done(job, doing, output)
    summary = pie_bench.summary_of(asked, entries, job, rows)
    write_all(doing.out, pie_bench.files_of(asked, job, rows, summary), ())
    _tell(output, summary, {data: overall(summary)}, [summary["note"]], doing)


def _rooms(picked: Picked, named: Named, doing: Doing, loading: Loading, output: Output) -> None:
    """Measure on held-out rooms, with the judge and the world's ground truth."""
    # Here and not above: help must not need a runtime.
    try:
        from scumble_bench.evaluation import rooms_bench, rooms_rows, rooms_summary
    except ImportError as error:
        raise EngineError(
            f"the judge needs {error.name}, which is not installed: "
            "pip install 'scumble[onnxruntime]'."
        ) from error
    fields = loading.fields()
    unused = sorted(set(fields) - {"model", "engine", "threads"})
    if unused:
        raise OptionError(f"--{unused[0].replace('_', '-')} is not for rooms; leave it out.")
    wanted = [read_named(one, {}, "method") for one in named.method or ()]
    tasks = rooms_rows.read_tasks(picked.task or ())
    rows = rooms_rows.rows_for(wanted, _inversions(named), tasks)
    sets = rooms_bench.drawn_for(rows, picked.edits or EDITS)
    if named.steps is not None:
        fields["steps"] = named.steps
    asked = rooms_bench.AskedRooms(doing.out, rows, sets, **fields)
    job = rooms_bench.job_of(asked)
    summary = rooms_bench.summary_of(asked, job, _done(job, doing, output))
    notes: list[str] = []
    try:
        files = rooms_bench.files_of(summary)
    except ImportError as error:
        files = rooms_bench.files_of(summary, drawn=False)
        notes.append(f"{PLOT} needs {error.name}: pip install 'scumble[eval]'.")
    write_all(doing.out, files, (PLOT,))
    kinds = dict.fromkeys(row["task"] for row in summary["rows"])
    tables = {task: rooms_summary.task_table(summary["rows"], task) for task in kinds}
    _tell(output, summary, tables, notes, doing)


def _inversions(named: Named) -> list[methods.Named]:
    return [read_named(one, INVERSIONS, "inversion") for one in named.inversion or [DIRECT]]


def _done(job: Job, doing: Doing, output: Output) -> list[dict[str, Any]]:
    """Run the job, or this share of it, or nothing; and return every row that there is."""
    if doing.merge:
        if doing.shard is not None:
            raise OptionError("--merge and --shard are given; --merge runs nothing, so leave one.")
        return what_is_there(job)
    share = job
    if doing.shard is not None:
        pieces = shard_of(job.pieces, *read_shard(doing.shard))
        share = Job(pieces, job.worker, job.folder, job.settings)
    run_job(
        share,
        doing.runner,
        workers=doing.workers,
        gpus=doing.gpus_per_worker,
        shown=not (output.quiet or output.as_json),
    )
    return what_is_there(job)


def _refuse(what: str, measuring: Measuring | None, *given: tuple[str, object]) -> None:
    """Raise OptionError for a flag that would have no effect."""
    flags = dict(given)
    if measuring is not None:
        flags |= {"metric": measuring.metric, "protocol": measuring.protocol, **measuring.files}
        flags["measured-at"] = measuring.measured_at
    for name, value in flags.items():
        if value is not None:
            raise OptionError(f"--{name} has no effect on {what}; leave it out.")


def _tell(
    output: Output,
    summary: Mapping[str, Any],
    tables: Mapping[str, Lines],
    notes: Sequence[str],
    doing: Doing,
) -> None:
    failures = {cause for row in summary["rows"] for cause in row["failures"]}
    told = [*notes, *(f"failed: {cause}" for cause in sorted(failures))]
    if output.as_json:
        print_json(summary)
    elif not output.quiet:
        for title, lines in tables.items():
            print(f"{shown(title)}:")
            print_table(lines[0], lines[1:])
            print()
    for sentence in (*told, f"rows, pictures and tables are in '{doing.out}'."):
        remark(output, sentence)
    # The others are measured and written; who runs this in a script has to know all the same.
    if failures:
        raise typer.Exit(MISUSED)
