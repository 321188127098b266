"""Copies of a training process that draw and differentiate beside it, each on its own core.

Small layers leave a second thread little to do: two processes with a batch each take three steps
where one with two threads takes two. Weights are shared memory, so a replica sees them as they are;
it knows nothing of optimisers.
"""

# torch leaves parts of its signatures untyped.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPrivateImportUsage=false

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor, nn

Losses = Callable[[], Tensor]


class Replicas:
    """Adds gradients of other processes' batches to those of this one.

    Args:
        count: How many processes.
        module: What is trained, on the CPU; its weights become shared memory.
        make: Builds the losses in a replica, from the module there; pickled.
        losses: How many losses there are.
        seed: Of the replicas' draws; each gets one of its own.
    """

    def __init__(
        self,
        count: int,
        module: nn.Module,
        make: Callable[[Any], Losses],
        losses: int,
        seed: int,
    ) -> None:
        module.share_memory()
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        size = sum(p.numel() for p in self._parameters)
        context = torch.multiprocessing.get_context("spawn")
        self._found: list[Tensor] = []
        self._lines: list[Connection] = []
        self._processes: list[Any] = []
        for number in range(count):
            found = torch.zeros(size + losses).share_memory_()
            here, there = multiprocessing.Pipe()
            process = context.Process(
                target=_replicate, args=(module, make, found, there, seed + number + 1), daemon=True
            )
            process.start()
            there.close()
            self._found.append(found)
            self._lines.append(here)
            self._processes.append(process)

    def __len__(self) -> int:
        return len(self._processes)

    def begin(self) -> None:
        """Has every replica draw a batch and differentiate its first loss."""
        for line in self._lines:
            with suppress(ConnectionError):  # `join` tells of it
                line.send(True)

    def join(self, losses: Tensor) -> Tensor:
        """Waits, and makes this process's gradients, and `losses`, the mean over all batches.

        Raises:
            RuntimeError: A replica failed; its traceback is the message.
        """
        whole = torch.zeros_like(self._found[0])
        for line, found in zip(self._lines, self._found, strict=True):
            try:
                problem = line.recv()
            except (EOFError, ConnectionError) as ended:
                raise RuntimeError("a replica ended unasked") from ended
            if problem:
                raise RuntimeError(f"a replica failed:\n{problem}")
            whole += found
        shares = whole.split([p.numel() for p in self._parameters] + [len(losses)])
        everyone = len(self) + 1
        for parameter, share in zip(self._parameters, shares[:-1], strict=True):
            others = share.view_as(parameter)
            own = parameter.grad
            parameter.grad = (others if own is None else others + own) / everyone
        return (losses.detach() + shares[-1]) / everyone

    def close(self) -> None:
        """Ends the processes."""
        for line in self._lines:
            line.close()
        for process in self._processes:
            process.join(10)
            process.kill()


def _replicate(
    module: nn.Module,
    make: Callable[[Any], Losses],
    found: Tensor,
    line: Connection,
    seed: int,
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    parameters = [p for p in module.parameters() if p.requires_grad]
    try:
        losses = make(module)
        # A closed line says that the other side is gone, however it went.
        while line.recv():
            module.zero_grad(set_to_none=True)
            found_losses = losses()
            found_losses[0].backward()
            _write(found, parameters, found_losses.detach())
            line.send("")
    except EOFError:
        return
    except Exception:  # whatever it is, the training process has to hear of it
        line.send(traceback.format_exc())


def _write(found: Tensor, parameters: Sequence[nn.Parameter], losses: Tensor) -> None:
    """Lays gradients, and losses behind them, into one vector."""
    shares = found.split([p.numel() for p in parameters] + [len(losses)])
    for parameter, share in zip(parameters, shares[:-1], strict=True):
        if parameter.grad is None:
            share.zero_()
        else:
            share.copy_(parameter.grad.flatten())
    shares[-1].copy_(losses)
