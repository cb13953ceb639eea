"""Taking turns, and when to stop: on a clock that the contestants move."""

import itertools

import pytest

from fastconv.bench.timing import LEAST_SAMPLES, time_in_turn


class Machine:
    """A clock, and contestants that take the time they are told to."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def clock(self):
        return self.now

    def rest(self, seconds):
        self.now += seconds

    def contestant(self, name, *seconds):
        durations = itertools.cycle(seconds)

        def call():
            self.order.append(name)
            self.now += next(durations)

        return call


def test_median_and_percentiles_of_constant_calls():
    machine = Machine()
    calls = {"fast": machine.contestant("fast", 0.01), "slow": machine.contestant("slow", 0.04)}
    timings = time_in_turn(calls, seconds=10, clock=machine.clock, rest=machine.rest)
    for name, seconds in (("fast", 0.01), ("slow", 0.04)):
        timing = timings[name]
        assert (timing.median_s, timing.p20_s, timing.p80_s) == pytest.approx((seconds,) * 3)
        assert timing.samples == 2 * LEAST_SAMPLES, "stable calls need no more"


def test_percentiles_of_varying_calls():
    machine = Machine()
    timings = time_in_turn(
        {"a": machine.contestant("a", 1, 2, 3, 4, 5)}, seconds=30.0, clock=machine.clock, rest=machine.rest
    )
    timing = timings["a"]
    assert timing.p20_s < timing.median_s < timing.p80_s
    assert timing.median_s == pytest.approx(3, abs=1)


def test_contestants_take_turns_and_follow_different_ones():
    machine = Machine()
    calls = {name: machine.contestant(name, 0.1) for name in "abc"}
    time_in_turn(calls, seconds=2.0, clock=machine.clock, rest=machine.rest)
    turns = "".join(machine.order[3:])
    rounds = [turns[i : i + 3] for i in range(0, len(turns) - 2, 3)]
    assert all(sorted(turn) == list("abc") for turn in rounds)
    assert len(set(rounds)) > 3


def test_the_budget_ends_an_unstable_contestant():
    machine = Machine()
    timings = time_in_turn(
        {"a": machine.contestant("a", 0.01, 0.2)}, seconds=2.0, clock=machine.clock, rest=machine.rest
    )
    assert timings["a"].samples >= LEAST_SAMPLES
    assert machine.now < 4


def test_a_call_of_the_whole_budget_is_timed_twice():
    machine = Machine()
    assert (
        time_in_turn({"a": machine.contestant("a", 9.0)}, 1.0, clock=machine.clock, rest=machine.rest)["a"].samples == 2
    )


def test_short_calls_are_repeated_within_a_sample():
    machine = Machine()
    timing = time_in_turn({"a": machine.contestant("a", 1e-6)}, 1.0, clock=machine.clock, rest=machine.rest)["a"]
    assert timing.median_s == pytest.approx(1e-6)
    assert len(machine.order) > 1000 * timing.samples


def test_a_device_is_asked_for_its_time_and_nobody_rests():
    machine, counts = Machine(), []

    def measure(call, count):
        counts.append(count)
        machine.now += 1.0  # of the host's time, which does not count
        return 0.002 * count

    timing = time_in_turn(
        {"a": lambda: pytest.fail("only the device calls it")},
        3.0,
        clock=machine.clock,
        rest=lambda seconds: pytest.fail("it rested"),
        measure=measure,
        on_device=True,
    )["a"]
    assert timing.median_s == pytest.approx(0.002)
    assert counts == [1] + [3] * LEAST_SAMPLES


def test_progress_grows_to_one():
    machine, shares = Machine(), []
    time_in_turn({n: machine.contestant(n, 0.1, 0.3) for n in "ab"}, 1.0, shares.append, machine.clock, machine.rest)
    assert shares == sorted(shares) and shares[-1] == 1.0
