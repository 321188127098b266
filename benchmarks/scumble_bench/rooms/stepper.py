"""One optimiser step after another: a moving average of the weights, CUDA graphs."""

# torch, diffusers and transformers leave parts of their signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import copy
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from scumble_bench.rooms.muon import Muon
from scumble_bench.rooms.progress import Clock, Reporter, RunState, thin
from scumble_bench.rooms.replicas import Replicas

SAVE_EVERY = 60.0


def cosine_rate(share: float, step: int, peak: float, warmup: int, floor: float = 0.02) -> float:
    """Returns the learning rate after `share` (0 to 1) of the time and `step` steps."""
    rising = min(1.0, (step + 1) / warmup)
    falling = floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0)))
    return peak * rising * falling


class Stepper:
    """Minimises the first of several losses over the parameters of a module.

    Attributes:
        module: What is trained.
        steps: Steps taken, those before a resume included.
        batch: Samples of a step, those of the replicas included.

    Args:
        matrices: Parameters of the module that Muon trains; AdamW trains the others.
        replicas: Processes that draw as many samples each, on a CPU.
    """

    def __init__(
        self,
        module: nn.Module,
        losses: Callable[[], Tensor],
        names: Sequence[str],
        batch: int,
        console: Console,
        *,
        graph: bool = True,
        decay: float = 0.9995,
        weight_decay: float = 0.01,
        matrices: Sequence[nn.Parameter] = (),
        replicas: Replicas | None = None,
    ) -> None:
        self.module = module
        self.losses = losses
        self.names = names
        self.batch = batch * (1 if replicas is None else 1 + len(replicas))
        self.replicas = replicas
        self.console = console
        self.steps = 0
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        self.average = [p.detach().clone() for p in self.parameters]
        self.decay = decay
        on_gpu = self.device.type == "cuda"
        self._rate = torch.zeros((), device=self.device)
        self._toward = torch.zeros((), device=self.device)
        self._totals = torch.zeros(len(names) + 1, device=self.device)
        self._wants_graph = graph and on_gpu
        self._graph: Any = None
        chosen = set(matrices)
        rate: Any = self._rate if on_gpu else 0.0
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(
                [p for p in self.parameters if p not in chosen],
                lr=rate,
                betas=(0.9, 0.99),
                weight_decay=weight_decay,
                fused=True,
                capturable=on_gpu,
            )
        ]
        if chosen:
            self.optimisers.append(Muon(matrices, lr=rate, weight_decay=weight_decay))

    def _step(self) -> None:
        self._forget_gradients()
        if self.replicas is not None:
            self.replicas.begin()
        losses = self.losses()
        losses[0].backward()
        if self.replicas is not None:
            losses = self.replicas.join(losses)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        with torch.no_grad():
            differences = torch._foreach_sub(self.parameters, self.average)  # pyright: ignore
            torch._foreach_mul_(differences, self._toward)  # pyright: ignore
            torch._foreach_add_(self.average, differences)  # pyright: ignore
            self._totals[:-1] += losses.detach()
            self._totals[-1] += 1

    def _forget_gradients(self) -> None:
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

    def _use_rate(self, rate: Any) -> None:
        for optimiser in self.optimisers:
            optimiser.param_groups[0]["lr"] = rate

    def step(self, rate: float) -> None:
        """Takes one step at a learning rate."""
        if self.device.type == "cuda":
            self._rate.fill_(rate)
        else:
            self._use_rate(rate)
        self._toward.fill_(1 - min(self.decay, (1 + self.steps) / (10 + self.steps)))
        self.steps += 1
        if self._graph is not None:
            self._graph.replay()
        elif self._wants_graph:
            self._warm_up_and_capture()
        else:
            self._step()

    def _warm_up_and_capture(self) -> None:
        """Takes the step, and records another one that later calls replay."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._step()
        self.steps += 2
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        self._forget_gradients()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._step()
        except RuntimeError as problem:
            self._wants_graph = False
            torch.cuda.synchronize()
            self.console.print(f"WARNING: no CUDA graph, steps run one kernel a time: {problem}")
        else:
            self._graph = graph
            self.console.print("the step is a CUDA graph")

    def means(self) -> dict[str, float]:
        """Returns the mean losses since the last call, and waits for the device."""
        totals = self._totals.tolist()
        self._totals.zero_()
        count = max(totals[-1], 1)
        return {name: total / count for name, total in zip(self.names, totals, strict=False)}

    def averaged(self) -> Any:
        """Returns a copy of the module that has the averaged weights."""
        twin = copy.deepcopy(self.module)
        trained = (p for p in twin.parameters() if p.requires_grad)
        with torch.no_grad():
            for parameter, average in zip(trained, self.average, strict=True):
                parameter.copy_(average)
        return twin.eval().requires_grad_(False)

    def save(self, path: Path, **extra: Any) -> None:
        """Writes weights, averages, optimiser and step count in one move."""
        content = {
            "module": self.module.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "steps": self.steps,
            **extra,
        }
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)

    def load(self, path: Path) -> dict[str, Any]:
        """Reads what `save` wrote; returns all of it."""
        content: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        self.module.load_state_dict(content["module"])
        with torch.no_grad():
            for own, saved in zip(self.average, content["average"], strict=True):
                own.copy_(saved)
        for optimiser, state in zip(self.optimisers, content["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        if self.device.type == "cuda":
            self._use_rate(self._rate)
        self.steps = content["steps"]
        return content


class Stage:
    """Runs a stepper until its stage's time, this call's time, or a number of steps is over.

    Attributes:
        seconds: Time spent stepping, earlier calls included.
    """

    def __init__(
        self,
        name: str,
        stepper: Stepper,
        state: RunState,
        clock: Clock,
        path: Path,
        *,
        peak: float,
        warmup: int,
        steps: int | None = None,
        every: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.stepper = stepper
        self.state = state
        self.clock = clock
        self.path = path
        self.peak = peak
        self.warmup = warmup
        self.limit = steps
        self.every = every
        self.seconds = 0.0

    def resume(self) -> None:
        """Goes on from the file of an earlier call, if there is one."""
        if self.path.exists():
            self.seconds = self.stepper.load(self.path)["seconds"]
            self.stepper.console.print(
                f"{self.name}: going on from step {self.stepper.steps}, {self.seconds:.0f} s"
            )

    def save(self) -> None:
        """Writes the stepper's file."""
        self.stepper.save(self.path, seconds=self.seconds)

    def run(self, left: Callable[[], float]) -> bool:
        """Steps while `left`, the seconds left to the stage over all calls, is positive.

        Returns:
            Whether the stage is over, rather than only this call's time.
        """
        curve = self.state.curves.setdefault(self.name, [])
        saved = shown = begun = time.monotonic()
        before, steps_before = self.seconds, self.stepper.steps
        steps_shown = steps_before
        over = self._over(left())
        with Reporter(self.stepper.console, self.name) as reporter:
            while not over and self.clock.call_left() > 0:
                share = self.seconds / max(self.seconds + left(), 1e-6)
                if self.limit is not None:
                    share = self.stepper.steps / self.limit
                self.stepper.step(cosine_rate(share, self.stepper.steps, self.peak, self.warmup))
                self._wait_sometimes()
                now = time.monotonic()
                self.seconds = before + now - begun
                over = self._over(left())
                if now - shown > 5 or over:
                    means = self.stepper.means()
                    now = time.monotonic()
                    speed = self.stepper.batch * (self.stepper.steps - steps_shown) / (now - shown)
                    shown, steps_shown = now, self.stepper.steps
                    if not all(math.isfinite(mean) for mean in means.values()):
                        raise FloatingPointError(f"{self.name}: the loss is {means}")
                    curve.append([self.stepper.steps, round(self.seconds, 1), *means.values()])
                    thin(curve)
                    said = " ".join(f"{name} {mean:.4f}" for name, mean in means.items())
                    reporter.show(
                        share, lambda n=said, v=speed: f"step {self.stepper.steps} {n} {v:.0f}/s"
                    )
                    self.every()
                if now - saved > SAVE_EVERY:
                    saved = now
                    self.save()
        self.save()
        spent = max(time.monotonic() - begun, 1e-6)
        figures: dict[str, Any] = self.state.figures.setdefault(self.name, {})
        figures["steps"] = self.stepper.steps
        figures["seconds"] = round(self.seconds, 1)
        figures["batch"] = self.stepper.batch
        rate = (self.stepper.steps - steps_before) * self.stepper.batch / spent
        figures["samples_per_second"] = round(rate, 1)
        return over

    def _over(self, left: float) -> bool:
        return left <= 0 or (self.limit is not None and self.stepper.steps >= self.limit)

    def _wait_sometimes(self) -> None:
        # Launches run ahead of the device: without a wait the clock would not see the work.
        if self.stepper.device.type == "cuda" and self.stepper.steps % 8 == 0:
            torch.cuda.synchronize()
