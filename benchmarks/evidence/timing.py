"""Time several ways of doing one thing fairly."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

__all__ = ["Ratio", "Timing", "alternate", "alternate_turns", "ratio", "timing_options"]


@dataclass(frozen=True)
class Timing:
    """Seconds of every timed call, block by block."""

    blocks: tuple[tuple[float, ...], ...]

    @property
    def calls(self) -> list[float]:
        return [seconds for block in self.blocks for seconds in block]

    @property
    def median(self) -> float:
        return statistics.median(self.calls)

    @property
    def quartiles(self) -> tuple[float, float]:
        """First and third; their distance is the spread."""
        return _quartiles(self.calls)

    def row(self, pieces: int = 1) -> dict[str, float]:
        """Columns for a table of results; ``pieces`` of work were done by each call."""
        low, high = self.quartiles
        return {
            "n": len(self.calls),
            "median_s": self.median,
            "iqr_s": high - low,
            "per_second": pieces / self.median,
        }


@dataclass(frozen=True)
class Ratio:
    """How many times longer one thing takes than another, with quartiles over blocks."""

    median: float
    low: float
    high: float

    def row(self, name: str) -> dict[str, float]:
        """Columns for a table of results."""
        return {name: self.median, f"{name}_low": self.low, f"{name}_high": self.high}

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def alternate(
    work: Mapping[str, Callable[[], object]],
    *,
    blocks: int = 5,
    repeats: int = 3,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time each piece of work in turn, in blocks, so that a slow spell meets all of them.

    Every block starts with another one. Each turn is ``warmup`` untimed calls, then ``repeats``
    timed ones.
    """
    return alternate_turns(
        {name: partial(_turn, each, repeats, warmup, clock) for name, each in work.items()}, blocks
    )


def alternate_turns(
    turns: Mapping[str, Callable[[], Sequence[float]]], blocks: int
) -> dict[str, Timing]:
    """As :func:`alternate`, of work that says itself how long each of its calls took."""
    names = list(turns)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in names}
    for block in range(blocks):
        first = block % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(tuple(turns[name]()))
    return {name: Timing(tuple(timed)) for name, timed in found.items()}


def ratio(slow: Timing, fast: Timing) -> Ratio:
    """Block medians of ``slow`` over those of ``fast``, each pair from the same block."""
    pairs = zip(slow.blocks, fast.blocks, strict=True)
    ratios = [statistics.median(a) / statistics.median(b) for a, b in pairs]
    return Ratio(statistics.median(ratios), *_quartiles(ratios))


def timing_options(
    parser: argparse.ArgumentParser,
    *,
    blocks: int,
    output: Path | None = None,
    small: str = "a tiny network, one block",
) -> None:
    """Add what every benchmark that times in blocks can be told.

    Args:
        parser: of its command line.
        blocks: by default.
        output: of the results; None where it follows from other options.
        small: what the small mode is.
    """
    parser.add_argument("--blocks", type=int, default=blocks)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small", action="store_true", help=small)
    parser.add_argument("--output", type=Path, default=output, help="a JSON file")


def _turn(
    work: Callable[[], object], repeats: int, warmup: int, clock: Callable[[], float]
) -> list[float]:
    for _ in range(warmup):
        work()
    return [_seconds(work, clock) for _ in range(repeats)]


def _seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return clock() - start


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high
