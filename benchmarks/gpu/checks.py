"""The GPU suite's figures held against what was asked of a card of H200's class."""

from collections.abc import Sequence
from typing import Any

from evidence.checks import Check, Results, spread
from gpu.steps import EXAMPLE, PEER
from gpu.training import OURS

__all__ = ["gpu_suite"]

EPOCH_S, PEAK_GB = 3.0, 8.0
"""Most seconds of an epoch at ogbg-molpcba's sizes, and most memory of it in 10^9 bytes."""

WRITTEN, BEST = 10.0, 3.0
"""How many times as fast as OGB's example, and as the library at its best."""


def gpu_suite(results: Sequence[Results]) -> list[Check]:
    """Rows that were not timed on a GPU count for nothing."""
    rows = [row for result in results if on_gpu(result) for row in result.rows]
    return [*kernels(rows), *epoch(rows), *beside(rows)]


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
    own = [row for row in rows if row.get("epoch_of") == OURS]
    time = f"an epoch of 350,343 molecules, batch 512, adapters everywhere: at most {EPOCH_S:g} s"
    memory = f"peak memory of that at most {PEAK_GB:g} GB"
    if not own:
        return [Check(time), Check(memory)]
    seconds, peak = own[0]["epoch_s"], own[0]["peak_gb"]
    return [
        Check(time, f"{seconds:.2f} s", seconds <= EPOCH_S),
        Check(memory, f"{peak:.2f} GB", peak <= PEAK_GB),
    ]


def beside(rows: Sequence[dict[str, Any]]) -> list[Check]:
    pairs = [row for row in rows if "times" in row and row["ours"] == OURS]
    written = [row for row in pairs if row["peer"] == EXAMPLE]
    tuned = [row for row in pairs if row["peer"] != EXAMPLE]
    return [
        fastest(f"a step at least {WRITTEN:g} times as fast as OGB's example", written, WRITTEN),
        fastest(f"a step at least {BEST:g} times as fast as {PEER} at its best", tuned, BEST),
    ]


def fastest(asked: str, pairs: Sequence[dict[str, Any]], least: float) -> Check:
    """Against the peer that comes closest."""
    if not pairs:
        return Check(asked)
    closest = min(pairs, key=lambda row: row["times"])
    return Check(asked, f"{spread(closest, 'times')}, {closest['peer']}", closest["times"] >= least)
