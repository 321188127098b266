import math
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from scumble_bench.rooms.muon import matrices_of
from scumble_bench.rooms.progress import Clock, RunState
from scumble_bench.rooms.stepper import Stage, Stepper, cosine_rate


def test_the_stepper_minimises_and_averages():
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 1.0)
    stepper = Stepper(
        module, lambda: module.weight.square().sum()[None], ("loss",), 1, Console(), decay=0.5
    )
    averages = [1.0]
    for _ in range(5):
        stepper.step(0.1)
        rate = 1 - min(0.5, stepper.steps / (9 + stepper.steps))
        averages.append(averages[-1] + rate * (module.weight.item() - averages[-1]))
    assert module.weight.item() < 0.6
    assert stepper.averaged().weight.item() == pytest.approx(averages[-1], abs=1e-6)
    assert stepper.means()["loss"] < 1
    assert stepper.means()["loss"] == 0


def test_a_loaded_stepper_goes_on_as_if_it_had_never_stopped(tmp_path: Path):
    def stepper() -> tuple[Any, Stepper]:
        module = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(module.weight, 1.0)

        def losses() -> Any:
            return 0.1 * module.weight.square().sum()[None]  # too small to be clipped

        return module, Stepper(module, losses, ("loss",), 1, Console())

    straight, one = stepper()
    for rate in (0.1, 0.3, 0.2):
        one.step(rate)
    _, first = stepper()
    first.step(0.1)
    first.step(0.3)
    first.save(tmp_path / "state.pt", seconds=7.0)
    resumed, second = stepper()
    assert second.load(tmp_path / "state.pt")["seconds"] == 7
    assert second.steps == 2
    second.step(0.2)
    assert resumed.weight.item() == straight.weight.item()
    assert second.averaged().weight.item() == one.averaged().weight.item()


def test_muon_trains_the_matrices_and_adamw_the_rest(tmp_path: Path):
    def stepper() -> tuple[Any, Stepper]:
        torch.manual_seed(0)
        module = torch.nn.Linear(20, 20)
        points = torch.randn(8, 20)

        def losses() -> Any:
            return 0.001 * (module(points) - 1).square().sum()[None]

        return module, Stepper(
            module, losses, ("loss",), 1, Console(), weight_decay=0.0, matrices=matrices_of(module)
        )

    straight, one = stepper()
    before = straight.weight.detach().clone(), straight.bias.detach().clone()
    one.step(0.01)
    # AdamW's first step moves each number by the rate; Muon's, all of a matrix's directions alike.
    assert torch.allclose((straight.bias - before[1]).abs(), torch.tensor(0.01), rtol=1e-3)
    moved = torch.linalg.svdvals(straight.weight.detach() - before[0]) / (0.01 * 0.2 * 20**0.5)
    assert float(moved[:8].min()) > 0.6  # the points span eight
    assert float(moved[0]) < 1.25
    one.step(0.02)
    _, first = stepper()
    first.step(0.01)
    first.save(tmp_path / "state.pt")
    resumed, second = stepper()
    second.load(tmp_path / "state.pt")
    second.step(0.02)
    assert torch.equal(resumed.weight, straight.weight)
    assert torch.equal(resumed.bias, straight.bias)


@pytest.mark.gpu
def test_a_graph_takes_the_same_steps_as_plain_calls():
    found: list[float] = []
    for graph in (False, True):
        module = torch.nn.Linear(1, 1, bias=False).cuda()
        torch.nn.init.constant_(module.weight, 1.0)
        stepper = Stepper(
            module,
            lambda own=module: own.weight.square().sum()[None],
            ("loss",),
            1,
            Console(),
            graph=graph,
        )
        while stepper.steps < 8:
            stepper.step(0.1)
        found.append(module.weight.item())
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_rates_rise_then_fall_with_the_time():
    assert cosine_rate(0, 0, 1.0, 10) == pytest.approx(0.1)
    assert cosine_rate(0, 10, 1.0, 10) == 1
    assert cosine_rate(0.5, 99, 1.0, 10) == pytest.approx(0.51)
    assert cosine_rate(1, 99, 1.0, 10) == pytest.approx(0.02)


def stage(path: Path, loss: float, steps: int | None) -> Stage:
    """A stage that minimises `loss` times the square of one weight."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(module.weight, 1.0)

    def losses() -> Any:
        return loss * module.weight.square().sum()[None]

    stepper = Stepper(module, losses, ("loss",), 4, Console(quiet=True))
    state = RunState(60, 0, 1)
    clock = Clock(state, minutes=1)
    return Stage("one", stepper, state, clock, path, peak=0.1, warmup=1, steps=steps)


def test_a_stage_ends_with_its_steps_and_goes_on_from_its_file(tmp_path: Path):
    first = stage(tmp_path / "one.pt", 1.0, 3)
    first.resume()
    assert first.run(lambda: 60) is True
    assert first.state.figures["one"]["steps"] == first.stepper.steps == 3
    assert first.state.figures["one"]["batch"] == 4
    second = stage(tmp_path / "one.pt", 1.0, 5)
    second.resume()
    assert second.stepper.steps == 3
    assert second.seconds == first.seconds > 0
    assert second.run(lambda: 60) is True
    assert second.stepper.steps == 5
    assert [point[0] for point in second.state.curves["one"]] == [5]


def test_a_stage_ends_when_its_time_or_that_of_the_call_is_over(tmp_path: Path):
    out_of_time = stage(tmp_path / "one.pt", 1.0, None)
    assert out_of_time.run(lambda: 0) is True
    assert out_of_time.stepper.steps == 0
    interrupted = stage(tmp_path / "one.pt", 1.0, None)
    interrupted.clock.stopped = True
    assert interrupted.run(lambda: 60) is False
    assert (tmp_path / "one.pt").exists()


def test_a_loss_that_is_no_number_ends_the_stage_and_keeps_the_last_file(tmp_path: Path):
    broken = stage(tmp_path / "one.pt", math.nan, 2)
    with pytest.raises(FloatingPointError, match="one: the loss is"):
        broken.run(lambda: 60)
    assert not (tmp_path / "one.pt").exists()
