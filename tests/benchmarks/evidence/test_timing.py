import argparse
import itertools
from pathlib import Path

import pytest


@pytest.fixture
def ticking():
    """A clock that only moves when work does."""

    class Clock:
        now = 0.0

        def __call__(self):
            return self.now

    return Clock()


def test_work_alternates_in_blocks_that_begin_with_another_each_time(ticking):
    from evidence.timing import alternate

    order = []
    work = {name: lambda name=name: order.append(name) for name in "ab"}
    timings = alternate(work, blocks=3, repeats=2, warmup=1, clock=ticking)
    assert "".join(order) == "aaabbb" + "bbbaaa" + "aaabbb"
    assert [len(block) for block in timings["a"].blocks] == [2, 2, 2]


def test_only_timed_calls_count_and_ratios_pair_blocks(ticking):
    from evidence.timing import alternate, ratio

    seconds = itertools.count(1)

    def slow():
        ticking.now += 10 * next(seconds)

    def fast():
        ticking.now += 5

    timings = alternate({"slow": slow, "fast": fast}, blocks=2, repeats=2, warmup=1, clock=ticking)
    assert timings["slow"].blocks == ((20, 30), (50, 60))
    assert timings["fast"].blocks == ((5, 5), (5, 5))
    assert timings["slow"].median == 40
    assert timings["slow"].quartiles == (27.5, 52.5)
    assert timings["slow"].row(pieces=80) == {
        "n": 4,
        "median_s": 40,
        "iqr_s": 25,
        "per_second": 2,
    }
    found = ratio(timings["slow"], timings["fast"])
    assert (found.low, found.median, found.high) == (6.5, 8, 9.5)
    assert str(found) == "8.00 (6.50 to 9.50)"
    assert found.row("speed") == {"speed": 8, "speed_low": 6.5, "speed_high": 9.5}


def test_turns_that_time_themselves_alternate_too():
    from evidence.timing import alternate_turns, ratio

    order = []

    def turn(name, seconds):
        order.append(name)
        return seconds

    turns = {"a": lambda: turn("a", [4.0, 6.0]), "b": lambda: turn("b", [1.0, 1.0])}
    found = alternate_turns(turns, blocks=2)
    assert "".join(order) == "abba"
    assert found["a"].blocks == ((4.0, 6.0), (4.0, 6.0))
    assert ratio(found["a"], found["b"]).median == 5


def test_what_every_timing_can_be_told_is_asked_for_in_one_place():
    from evidence.timing import timing_options

    parser = argparse.ArgumentParser()
    timing_options(parser, blocks=9, output=Path("results.json"), small="tiny")
    options = vars(parser.parse_args(["--blocks", "3", "--small"]))
    expected = {"blocks": 3, "seed": 0, "small": True, "output": Path("results.json")}
    assert options == expected
