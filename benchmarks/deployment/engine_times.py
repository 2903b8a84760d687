"""Several settings of several engines, timed on one piece of work; each at its best."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from evidence.timing import Ratio, Timing, ratio

__all__ = ["Found", "Way", "peers_of", "thread_setting", "times_row", "timing_rows"]


class Way(NamedTuple):
    """How something was done."""

    engine: str
    setting: str


Found = Mapping[Way, Timing]
"""Timings of whole calls, each over all batches."""


def thread_setting(threads: int) -> str:
    """As tables name it."""
    return "1 thread" if threads == 1 else f"{threads} threads"


def best_ways(found: Found) -> dict[str, Way]:
    """The fastest setting of each engine."""
    best: dict[str, Way] = {}
    for way, timing in found.items():
        if way.engine not in best or timing.median < found[best[way.engine]].median:
            best[way.engine] = way
    return best


def peers_of(found: Found, *own: str) -> list[str]:
    """The other engines."""
    return [engine for engine in best_ways(found) if engine not in own]


def timing_rows(found: Found, batches: int, **place: Any) -> Iterator[dict[str, Any]]:
    """Milliseconds a batch of every way.

    Args:
        found: each call of a way works on all batches.
        batches: how many there are.
        place: columns that say what was timed.
    """
    best = set(best_ways(found).values())
    for way, timing in found.items():
        low, high = timing.quartiles
        yield {
            **place,
            **way._asdict(),
            "n": len(timing.calls) * batches,
            "ms": 1e3 * timing.median / batches,
            "ms_low": 1e3 * low / batches,
            "ms_high": 1e3 * high / batches,
            "best": way in best,
        }


def times_row(found: Found, peer: str, own: str, **place: Any) -> dict[str, Any]:
    """How many times longer a peer takes, both at their better settings."""
    best = best_ways(found)
    times: Ratio = ratio(found[best[peer]], found[best[own]])
    settings = {"peer_setting": best[peer].setting, "own_setting": best[own].setting}
    return {
        **place,
        "engine": "times faster",
        "peer": peer,
        "own": own,
        **settings,
        **times.row("times"),
    }
