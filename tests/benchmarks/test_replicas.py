import os
import signal
from collections.abc import Iterator
from functools import partial
from io import StringIO
from typing import Any

import pytest
import torch
from rich.console import Console

from scumble_bench.rooms.replicas import Replicas
from scumble_bench.rooms.stepper import Stepper

# Replicas import this module: what they build has to be found here by name.


def squares(module: Any, toward: float) -> Any:
    """Losses whose gradient is the weight less `toward`; the bias has none."""

    def losses() -> Any:
        error = (module.weight - toward).square().sum() / 2
        return torch.stack([error, torch.tensor(toward)])

    return losses


def drawn(module: Any) -> Any:
    """Losses that tell what was drawn."""

    def losses() -> Any:
        return torch.stack([module.weight.sum(), torch.rand(())])

    return losses


def broken(module: Any) -> Any:
    """Losses that fail when they are asked for."""

    def losses() -> Any:
        raise ValueError("no such batch")

    return losses


@pytest.fixture
def module() -> Any:
    made = torch.nn.Linear(2, 3)
    torch.nn.init.constant_(made.weight, 1.0)
    return made


@pytest.fixture
def started() -> Iterator[list[Replicas]]:
    running: list[Replicas] = []
    yield running
    for replicas in running:
        replicas.close()


def test_gradients_and_losses_are_means_over_all_batches(module: Any, started: list[Replicas]):
    replicas = Replicas(2, module, partial(squares, toward=4.0), 2, 0)
    started.append(replicas)
    for weight in (1.0, 3.0):
        with torch.no_grad():
            module.weight.fill_(weight)  # which the replicas see
        replicas.begin()
        module.zero_grad()
        own = squares(module, 1.0)()
        own[0].backward()
        losses = replicas.join(own)
        assert losses.tolist() == pytest.approx(
            [(3 * (weight - 1) ** 2 + 6 * (weight - 4) ** 2) / 3, 3.0]
        )
        assert module.weight.grad.flatten().tolist() == pytest.approx([weight - 3] * 6)
        assert not module.bias.grad.any()


def test_replicas_draw_each_for_itself(module: Any, started: list[Replicas]):
    found: list[float] = []
    for seed in (0, 0, 7):
        replicas = Replicas(1, module, drawn, 2, seed)
        started.append(replicas)
        replicas.begin()
        found.append(float(replicas.join(torch.zeros(2))[1]))
    assert found[0] == found[1] != found[2]


def test_a_stepper_steps_along_the_mean(module: Any, started: list[Replicas]):
    replicas = Replicas(1, module, partial(squares, toward=0.0), 2, 0)
    started.append(replicas)
    losses = squares(module, 2.0)
    stepper = Stepper(
        module, losses, ("loss", "toward"), 4, Console(file=StringIO()), replicas=replicas
    )
    assert stepper.batch == 8
    for _ in range(3):
        stepper.step(0.1)
    # At 1 the two pull against each other, and nothing moves.
    assert module.weight.flatten().tolist() == pytest.approx([1.0] * 6, rel=1e-2)
    assert stepper.means() == pytest.approx({"loss": 3.0, "toward": 1.0}, rel=1e-2)


def test_a_replica_that_fails_says_why(module: Any, started: list[Replicas]):
    replicas = Replicas(1, module, broken, 2, 0)
    started.append(replicas)
    replicas.begin()
    with pytest.raises(RuntimeError, match=r"(?s)replica failed.*no such batch"):
        replicas.join(torch.zeros(2))


def test_a_replica_that_is_gone_does_not_keep_the_run_waiting(module: Any, started: list[Replicas]):
    replicas = Replicas(1, module, drawn, 2, 0)
    started.append(replicas)
    process = replicas._processes[0]  # pyright: ignore[reportPrivateUsage]
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    replicas.begin()
    with pytest.raises(RuntimeError, match="ended unasked"):
        replicas.join(torch.zeros(2))
