"""Trains the demo checkpoint from nothing: `python -m scumble_bench.rooms.train`.

    python -m scumble_bench.rooms.train --out DIR --work DIR --minutes 9 --planned-minutes 18
    python -m scumble_bench.rooms.train --out DIR --work DIR --minutes 9 --resume

Two such calls make one run of 18 minutes: learning rates and stages follow the planned time.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Rendering processes import this module again: torch and diffusers are imported in `main` only.


def parser() -> argparse.ArgumentParser:
    """Builds the command line."""
    made = argparse.ArgumentParser(prog="scumble_bench.rooms.train", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    add = made.add_argument
    add("--out", type=Path, required=True, help="folder of the checkpoint to write")
    add("--work", type=Path, required=True, help="folder for scenes and training states")
    add("--minutes", type=float, required=True, help="time of this call")
    add("--planned-minutes", type=float, help="time of all calls together; default: this one's")
    stages = ("all", "render", "vae", "decoder", "diffusion", "judge", "compile")
    add("--stage", choices=stages, default="all", help="'compile' only warms the compiler's cache")
    add("--resume", action="store_true", help="go on with the run in the work folder")
    add("--scenes", type=int, default=300_000, help="scenes to render (65 kB each on disk)")
    add("--batch", type=int, help="samples a step; default: by stage and device")
    add("--seed", type=int, default=0, help="of scenes and draws; another one shows new scenes")
    add("--start", type=Path, help="checkpoint to go on from; its autoencoder is kept")
    add("--steps", type=int, help="end each stage after this many steps")
    add("--further", type=Path, nargs="+", default=[], help="work folders of more encoded scenes")
    add("--replicas", type=int, default=0, help="processes beside this one that train the UNet")
    add("--workers", type=int, help="rendering processes; default: all cores but one")
    add("--device", help="such as cpu or cuda; default: the GPU if there is one")
    choice = argparse.BooleanOptionalAction
    add("--compile", action=choice, help="torch.compile the UNet; default: on a GPU alone")
    add("--no-graph", dest="graph", action="store_false", help="do without CUDA graphs")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains as the command line says; returns the exit code, 3 if time ran out first."""
    chosen = parser().parse_args(arguments)
    if chosen.minutes <= 0 or chosen.scenes < 1:
        parser().error("--minutes and --scenes must be positive")
    if chosen.stage == "compile":
        from scumble_bench.rooms.diffusion import warm_compiler

        return 0 if warm_compiler(chosen.batch or 512) else 1

    from scumble_bench.rooms.stages import Run
    from scumble_bench.rooms.workspace import Options

    try:
        run = Run(Options(**vars(chosen)))
    except (FileExistsError, ValueError) as problem:
        print(problem, file=sys.stderr)
        return 2
    run.clock.catch_signals()
    return 0 if run() else 3


if __name__ == "__main__":
    sys.exit(main())
