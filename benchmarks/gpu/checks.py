"""The GPU suite's figures held against what was asked of a card of H200's class."""

from collections.abc import Sequence
from typing import Any

from evidence.checks import Check, Results, spread
from gpu.arrays import MOLPCBA
from gpu.compiled import CAPTURED, COMPILED
from gpu.steps import EXAMPLE, PEER, TUNED
from gpu.training import OURS

__all__ = ["gpu_suite"]

EPOCH_S, PEAK_GB = 3.0, 8.0
"""Most seconds of an epoch at ogbg-molpcba's sizes, and most memory of it in 10^9 bytes."""

WRITTEN, BEST = 10.0, 3.0
"""How many times as fast as OGB's example, and as the library at its best."""

MOLECULES, BATCH = 350_343, 512
"""Of an epoch of ogbg-molpcba, and of a step."""


def gpu_suite(results: Sequence[Results]) -> list[Check]:
    """Rows that were not timed on a GPU, or at other sizes, count for nothing."""
    rows = [row for result in results if on_gpu(result) for row in result.rows]
    return [*kernels(rows), *epoch(rows), *beside(rows), *captured(rows)]


def on_gpu(result: Results) -> bool:
    suite = {"device": "cuda", "batch": BATCH}
    return any(suite.items() <= row.items() for row in result.rows)


def kernels(rows: Sequence[dict[str, Any]]) -> list[Check]:
    """Both kinds of kernels, in parts that ran to their end."""
    asked = (
        "every kernel within its bound of a float64 reference, losses of captured steps within "
        "theirs of steps taken one kernel at a time"
    )
    checked = [row for row in rows if "kernel" in row or "replayed" in row]
    by = {row["kernels"] for row in checked if "kernel" in row}
    unfinished = {row["part"] for row in rows if "failed" in row} & {"kernels", "replay"}
    is_whole = by >= {"tensor", "triton"} and any("replayed" in row for row in checked)
    if unfinished or not is_whole:
        return [Check(asked)]
    wrong = sum(not row["holds"] for row in checked)
    return [Check(asked, f"{wrong} of {len(checked)} do not hold", not wrong)]


def epoch(rows: Sequence[dict[str, Any]]) -> list[Check]:
    own = epochs_of(OURS, rows)
    time = (
        f"an epoch of {MOLECULES:,} molecules of {MOLPCBA}'s sizes, batch {BATCH}, adapters "
        f"everywhere: at most {EPOCH_S:g} s"
    )
    memory = f"peak memory of that, reserved, at most {PEAK_GB:g} GB"
    if not own:
        return [Check(time), Check(memory)]
    seconds = max(row["epoch_s"] for row in own)
    peak = max(row["reserved_gb"] for row in own)
    return [
        Check(time, f"{seconds:.2f} s", seconds <= EPOCH_S),
        Check(memory, f"{peak:.2f} GB", peak <= PEAK_GB),
    ]


def epochs_of(name: str, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those over as many molecules as were asked for, but for a last batch, of their sizes."""
    asked = {"epoch_of": name, "sizes": MOLPCBA}
    own = [row for row in rows if asked.items() <= row.items()]
    return [row for row in own if 0 <= MOLECULES - row["molecules"] < BATCH]


def beside(rows: Sequence[dict[str, Any]]) -> list[Check]:
    """The example by epochs, as its batches are made in between; the library's best by steps."""
    written = f"such an epoch at least {WRITTEN:g} times as fast as OGB's example"
    pairs = [row for row in rows if "times" in row and row["ours"] == OURS]
    tuned = [row for row in pairs if row["peer"].startswith(PEER) and row["peer"] != EXAMPLE]
    at_best = f"a step at least {BEST:g} times as fast as {PEER} at its best"
    has_best = any(row["peer"] == TUNED for row in tuned)
    best = beside_closest(at_best, tuned, BEST) if has_best else Check(at_best)
    own, example = epochs_of(OURS, rows), epochs_of(EXAMPLE, rows)
    if not own or not example:
        return [Check(written), best]
    ours = max(row["epoch_s"] / row["molecules"] for row in own)
    fastest = min(example, key=lambda row: row["epoch_s"])
    times = fastest["epoch_s"] / fastest["molecules"] / ours
    text = f"{times:.1f}, {min(1, fastest['epochs']):.0%} of its epoch timed"
    return [Check(written, text, times >= WRITTEN), best]


def captured(rows: Sequence[dict[str, Any]]) -> list[Check]:
    """Only where steps were indeed replayed, and the compiler had a way of its own."""
    asked = "a captured step at least as fast as one with its network compiled"
    pairs = [row for row in rows if "times" in row and row["ours"] == CAPTURED]
    replays = sum(row["replays"] for row in rows if row.get("recorded_of") == CAPTURED)
    if not replays or not any(row["peer"] == COMPILED for row in pairs):
        return [Check(asked)]
    return [beside_closest(asked, pairs, 1.0)]


def beside_closest(asked: str, pairs: Sequence[dict[str, Any]], least: float) -> Check:
    """Against the peer that comes closest."""
    if not pairs:
        return Check(asked)
    closest = min(pairs, key=lambda row: row["times"])
    return Check(asked, f"{spread(closest, 'times')}, {closest['peer']}", closest["times"] >= least)
