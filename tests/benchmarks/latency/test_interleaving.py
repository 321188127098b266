"""Statistics on a clock that is wound by hand."""

from collections.abc import Callable

import pytest

from scumble_bench.latency.interleaving import REST, Cell, Comparison, Spread, Timing, interleave


class Clock:
    """Time goes on only when a cell says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        assert seconds == REST
        self.order.append("-")
        self.now += 64

    def cell(self, name: str, *seconds: float | Exception, prepare: float | None = None) -> Cell:
        """A cell that takes so long each time; an exception is raised in its place."""
        left = iter(seconds)

        def spend(amount: float | Exception) -> None:
            if isinstance(amount, Exception):
                raise amount
            self.now += amount

        def run() -> None:
            self.order.append(name)
            spend(next(left))

        return Cell(name, run, None if prepare is None else lambda: spend(prepare))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def run(clock: Clock, *cells: Cell, rounds: int = 3, warmup: int = 0) -> Comparison:
    return interleave(*cells, rounds=rounds, warmup=warmup, clock=clock, rest=clock.rest)


def numbers(spread: Spread | None) -> tuple[float, float, float]:
    assert spread is not None
    return spread.median, spread.p10, spread.p90


def test_seconds_are_those_of_each_round_and_warmup_is_not_counted(clock: Clock):
    done = run(clock, clock.cell("a", 9, 1, 2, 3), clock.cell("b", 9, 4, 5, 6), warmup=1)
    assert done.timings["a"] == Timing("a", (1, 2, 3))
    assert done.timings["b"] == Timing("b", (4, 5, 6))
    assert (done.rounds, done.warmup) == (3, 1)


def test_threads_come_to_rest_before_each_turn_and_that_is_not_timed(clock: Clock):
    done = run(clock, clock.cell("a", 9, 1, 2), clock.cell("b", 9, 4, 5), rounds=2, warmup=1)
    assert "".join(clock.order) == "-b-a-a-b-b-a"
    assert done.timings["b"].seconds == (4, 5)
    assert clock.now == 30 + 6 * 64


def test_cells_alternate_and_every_second_round_is_reversed(clock: Clock):
    cells = [clock.cell(name, *[1] * 5) for name in "abc"]
    run(clock, *cells, rounds=4, warmup=1)
    assert "".join(clock.order).replace("-", "") == "cbaabccbaabccba"


def test_preparing_is_not_timed(clock: Clock):
    done = run(clock, clock.cell("a", 1, 2, prepare=50), rounds=2)
    assert done.timings["a"].seconds == (1, 2)
    assert clock.now == 103 + 2 * 64


def test_a_ratio_is_the_median_of_those_within_each_round(clock: Clock):
    """Not the ratio of medians, which here is 4 / 2."""
    done = run(clock, clock.cell("a", 1, 10, 4), clock.cell("b", 1, 2, 4))
    assert numbers(done.ratio("a", "b")) == pytest.approx((1, 1, 4.2))
    assert numbers(done.ratio("b", "a")) == pytest.approx((1, 0.36, 1))


def test_percentiles_are_interpolated():
    assert Spread.of(tuple(range(11))) == Spread(5, 1, 9)
    assert numbers(Spread.of((1, 2))) == pytest.approx((1.5, 1.1, 1.9))
    assert Spread.of((3,)) == Spread(3, 3, 3)
    assert Spread.of(()) is None


def test_a_composed_time_is_added_up_within_each_round(clock: Clock):
    seconds = {"a": (1, 2, 3), "b": (10, 20, 30), "c": (5, 5, 5)}
    done = run(clock, *(clock.cell(name, *spent) for name, spent in seconds.items()))
    assert done.composed({"a": 5, "b": 2}) == (25, 50, 75)
    ratio = done.ratio({"a": 5, "b": 2}, "c")
    assert ratio is not None
    assert ratio.median == 10


def failing(name: str) -> Callable[[Clock], Cell]:
    return {
        "run": lambda clock: clock.cell("b", 1, OSError("no\n  disk"), 3),
        "prepare": lambda clock: Cell("b", lambda: None, lambda: [][0]),
    }[name]


def test_a_cell_that_fails_says_why_and_the_others_go_on(clock: Clock):
    done = run(clock, clock.cell("a", 1, 2, 3), failing("run")(clock), clock.cell("c", 1, 1, 1))
    assert done.timings["a"].seconds == (1, 2, 3)
    assert done.timings["b"] == Timing("b", (1,), "OSError: no disk")
    assert done.failure("a", "b") == "b: OSError: no disk"
    assert done.failure("a", "c") == ""
    ratio = done.ratio("a", "b")
    assert ratio == Spread(1, 1, 1), "the round that both have"
    assert done.as_json()["cells"]["b"]["failure"] == "OSError: no disk"


def test_a_cell_that_never_ran_has_no_ratio(clock: Clock):
    done = run(clock, clock.cell("a", 1, 2, 3), failing("prepare")(clock))
    assert done.timings["b"].seconds == ()
    assert done.timings["b"].failure == "IndexError: list index out of range"
    assert done.ratio("a", "b") is None
    shown = done.as_json()["cells"]["b"]
    assert shown == {"seconds": [], "failure": "IndexError: list index out of range"}


def test_what_fails_in_the_warmup_is_not_run_again(clock: Clock):
    done = run(clock, clock.cell("a", ValueError(), 1), clock.cell("b", 1, 1), rounds=1, warmup=1)
    assert done.timings["a"] == Timing("a", (), "ValueError")
    assert clock.order.count("a") == 1


def test_an_interrupt_is_no_failure_of_a_cell(clock: Clock):
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(clock, Cell("a", interrupted))


@pytest.mark.parametrize(
    ("names", "rounds", "warmup"), [("", 1, 0), ("aa", 1, 0), ("ab", 0, 0), ("ab", 1, -1)]
)
def test_what_cannot_be_run_is_refused(clock: Clock, names: str, rounds: int, warmup: int):
    with pytest.raises(ValueError, match="at least one round"):
        run(clock, *(clock.cell(name, 1) for name in names), rounds=rounds, warmup=warmup)


def test_the_real_clock_counts_seconds():
    done = interleave(Cell("a", lambda: sum(range(10000))), rounds=2)
    assert all(0 < second < 5 for second in done.timings["a"].seconds)


def test_every_turn_is_told_also_of_a_cell_that_failed(clock: Clock):
    told: list[str] = []
    cells = clock.cell("a", 1, ValueError(), 1), clock.cell("b", 1, 1, 1)
    interleave(*cells, rounds=2, warmup=1, clock=clock, tell=told.append)
    assert told == ["b", "a", "a", "b", "b", "a"]
