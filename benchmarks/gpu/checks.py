"""The GPU suite's figures held against what was asked of a card of H200's class."""

from collections.abc import Sequence
from typing import Any

from evidence.checks import Check, Results, spread
from gpu.arrays import MOLPCBA
from gpu.compiled import CAPTURED
from gpu.steps import EXAMPLE, PEER
from gpu.training import OURS

__all__ = ["gpu_suite"]

EPOCH_S, PEAK_GB = 3.0, 8.0
"""Most seconds of an epoch at ogbg-molpcba's sizes, and most memory of it in 10^9 bytes."""

WRITTEN, BEST = 10.0, 3.0
"""How many times as fast as OGB's example, and as the library at its best."""

MOLECULES, BATCH = 350_343, 512
"""Of an epoch of ogbg-molpcba, and of a step."""


def gpu_suite(results: Sequence[Results]) -> list[Check]:
    """Rows that were not timed on a GPU count for nothing."""
    rows = [row for result in results if on_gpu(result) for row in result.rows]
    return [*kernels(rows), *epoch(rows), *beside(rows), *captured(rows)]


def on_gpu(result: Results) -> bool:
    return bool(result.document.get("machine", {}).get("gpus"))


def kernels(rows: Sequence[dict[str, Any]]) -> list[Check]:
    asked = "every kernel within its bound of a float64 reference, captured steps equal to eager"
    checked = [row for row in rows if "kernel" in row or "replayed" in row]
    if not checked:
        return [Check(asked)]
    wrong = sum(not row["holds"] for row in checked)
    return [Check(asked, f"{wrong} of {len(checked)} do not hold", not wrong)]


def epoch(rows: Sequence[dict[str, Any]]) -> list[Check]:
    own = epochs_of(OURS, rows)
    time = (
        f"an epoch of {MOLECULES:,} molecules of {MOLPCBA}'s sizes, batch {BATCH}, adapters "
        f"everywhere: at most {EPOCH_S:g} s"
    )
    memory = f"peak memory of that at most {PEAK_GB:g} GB"
    if not own:
        return [Check(time), Check(memory)]
    seconds, peak = own[0]["epoch_s"], own[0]["peak_gb"]
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
    best = fastest(f"a step at least {BEST:g} times as fast as {PEER} at its best", tuned, BEST)
    own, example = epochs_of(OURS, rows), epochs_of(EXAMPLE, rows)
    if not own or not example:
        return [Check(written), best]
    ours, theirs = (row["epoch_s"] / row["molecules"] for row in (own[0], example[0]))
    times = theirs / ours
    return [Check(written, f"{times:.1f}", times >= WRITTEN), best]


def captured(rows: Sequence[dict[str, Any]]) -> list[Check]:
    pairs = [row for row in rows if "times" in row and row["ours"] == CAPTURED]
    return [fastest("a captured step at least as fast as a compiled one", pairs, 1.0)]


def fastest(asked: str, pairs: Sequence[dict[str, Any]], least: float) -> Check:
    """Against the peer that comes closest."""
    if not pairs:
        return Check(asked)
    closest = min(pairs, key=lambda row: row["times"])
    return Check(asked, f"{spread(closest, 'times')}, {closest['peer']}", closest["times"] >= least)
