"""What the stages of a training run share: options, time, scenes, memory."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import gc
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from scumble_bench.rooms import dataset, warm_start
from scumble_bench.rooms.batches import Shelf
from scumble_bench.rooms.progress import Clock, RunState
from scumble_bench.rooms.replicas import Replicas


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; see `train.py` for the meaning of each."""

    out: Path
    work: Path
    minutes: float
    planned_minutes: float | None = None
    stage: str = "all"
    resume: bool = False
    scenes: int = 300_000
    batch: int | None = None
    seed: int = 0
    start: Path | None = None
    steps: int | None = None
    workers: int | None = None
    device: str | None = None
    compile: bool | None = None
    graph: bool = True
    further: Sequence[Path] = ()
    replicas: int = 0


class Workspace:
    """The work folder of a run, and one call's share of its time."""

    def __init__(self, options: Options, console: Console | None = None) -> None:
        self.options = options
        self.console = console or Console(width=None if sys.stdout.isatty() else 160)
        name = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.device = torch.device(name)
        self.on_gpu = self.device.type == "cuda"
        if self.on_gpu and options.replicas:
            raise ValueError("replicas are for CPUs: leave --replicas out")
        self.work = options.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.state = self._open_state()
        reserve = min(0.25, 0.1 * options.minutes)
        self.clock = Clock(self.state, options.minutes - reserve)
        self.tokenizer = self.work / "tokenizer"
        self.children: list[subprocess.Popen[bytes]] = []
        self.renderer: dataset.Renderer | None = None
        self.replicas: Replicas | None = None
        self._shelf: Shelf | None = None
        torch.manual_seed(options.seed + 1000 * self.state.calls)
        if self.on_gpu:
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")

    def _open_state(self) -> RunState:
        path = self.work / "state.json"
        options = self.options
        if not path.exists():
            planned = 60 * (options.planned_minutes or options.minutes)
            state = RunState(planned, options.seed, options.scenes)
            if options.start is not None:
                state.deviation = warm_start.prepare(options.start, self.work)
                state.done = ["vae"]
                state.started_from = warm_start.history(options.start)
            return state
        if not options.resume:
            raise FileExistsError(f"{self.work} holds a run: add --resume, or name another folder")
        state = RunState.load(path)
        state.calls += 1
        if options.planned_minutes:
            state.planned = 60 * options.planned_minutes
        return state

    def is_done(self, stage: str) -> bool:
        """Tells whether a stage is over, and not asked for more steps than it took."""
        # A stage that a warm start took over has no steps of its own.
        taken = self.state.figures.get(stage, {}).get("steps", self.options.steps)
        return stage in self.state.done and (self.options.steps or 0) <= (taken or 0)

    def finish(self, stage: str) -> None:
        """Marks a stage as over."""
        if stage not in self.state.done:
            self.state.done.append(stage)
        self.remember()

    def remember(self) -> None:
        """Writes the state, with the time of this call counted."""
        before, self.state.spent = self.state.spent, self.clock.elapsed()
        self.state.save(self.work / "state.json")
        self.state.spent = before

    def left(self, reserve: float) -> float:
        """Seconds left to a stage: all but a share of the run, or the call if it is alone."""
        if self.options.stage != "all":
            return self.clock.call_left()
        return self.clock.run_left() - reserve * self.state.planned

    def start_rendering(self) -> None:
        """Starts the processes that render what is missing, and on a GPU one that compiles."""
        dataset.ensure_tokenizer(self.tokenizer)
        self.cache = dataset.SceneCache(
            self.work / "scenes", self.state.scenes, self.state.seed * 10_000_000
        )
        if self.on_gpu and self.compiles and "diffusion" not in self.state.done:
            # Fills the compiler's cache beside the stages that do not need it.
            command = [sys.executable, "-m", "scumble_bench.rooms.train", "--stage", "compile"]
            command += ["--out", os.devnull, "--work", os.devnull, "--minutes", "5"]
            command += ["--batch", str(self.batch(512, 32))]
            if self.state.calls == 0 and self.options.stage == "all":
                self.children.append(subprocess.Popen(command))
        if len(self.cache.ready()) < self.cache.chunks and "encode" not in self.state.done:
            workers = self.options.workers or max(1, (os.cpu_count() or 1) - 1)
            self.renderer = dataset.Renderer(self.cache, self.tokenizer, workers)

    def await_rendering(self, until: float, chunks: int | None = None) -> bool:
        """Waits for some chunks, at most until a second of the run; tells whether they came."""
        wanted = self.cache.chunks if chunks is None else min(chunks, self.cache.chunks)
        while (ready := len(self.cache.ready())) < wanted:
            if self.renderer is None or not self.renderer.running():
                break
            if self.clock.call_left() <= 0 or self.clock.elapsed() > until:
                break
            time.sleep(0.5)
        return ready >= wanted

    def shelf(self) -> Shelf:
        """Returns the scenes' tensors, which the stages share."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
        if self._shelf is None:
            self._shelf = Shelf(self.cache, self.device, ("images", "labels", "things"))
        return self._shelf

    def start_replicas(self, module: nn.Module, make: Any, losses: int) -> Replicas | None:
        """Starts the processes that were asked for to take a batch of each step, if any."""
        count = self.options.replicas
        if count:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) - count))
            self.replicas = Replicas(count, module, make, losses, torch.initial_seed())
        return self.replicas

    @property
    def compiles(self) -> bool:
        """Whether the denoiser is compiled: as asked, else where the compiler pays at once."""
        return self.on_gpu if self.options.compile is None else self.options.compile

    def batch(self, gpu: int, cpu: int) -> int:
        """Returns the batch asked for, or the device's own."""
        return self.options.batch or (gpu if self.on_gpu else cpu)

    def close(self) -> None:
        """Writes the state and ends all processes."""
        self.remember()
        if self.renderer is not None:
            self.renderer.stop()
        if self.replicas is not None:
            self.replicas.close()
        for child in self.children:
            child.terminate()
