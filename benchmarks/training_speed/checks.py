"""Speed and growth of training on a CPU held against what was asked of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from evidence.checks import Check, Results, every_row, spread
from evidence.straight_line import LARGEST, LINEAR
from training_speed.adapters import ALL_SITES, READOUT, TOP, TOP_TWO
from training_speed.peers import BEST, FLOAT32, LIBRARIES, REDUCED

__all__ = ["train_speed"]

BESIDE_PEERS = {FLOAT32: 1.0, BEST: 1.0, REDUCED: 1.5}
"""How many times as fast as either library full fine-tuning is to be, by what is held together."""

BESIDE_ALL = {ALL_SITES: 1.1, TOP_TWO: 3.0, TOP: 6.0, READOUT: 50.0}
"""How many times faster than full fine-tuning a step is to be, by what moves."""


def train_speed(results: Sequence[Results]) -> list[Check]:
    rows = every_row(results)
    beside_peers = [beside_libraries(rows, case, least) for case, least in BESIDE_PEERS.items()]
    beside_all = [beside_everything(rows, moves, least) for moves, least in BESIDE_ALL.items()]
    return [*beside_peers, *beside_all, growth(rows)]


def beside_libraries(rows: Sequence[Mapping[str, Any]], case: str, least: float) -> Check:
    """At batch 256, against every way in which either library was trained."""
    asked = (
        f"full fine-tuning on a CPU at batch 256, {case}: at least {least} times as fast as "
        + " and as ".join(LIBRARIES)
    )
    own = [row for row in rows if row.get("case") == case and row["batch"] == 256]
    text = ", ".join(f"{row['peer']} {row['peer_setting']} {spread(row, 'times')}" for row in own)
    if {row["peer"] for row in own} != set(LIBRARIES):
        return Check(asked, text or "-")
    return Check(asked, text, all(row["times"] >= least for row in own))


def beside_everything(rows: Sequence[Mapping[str, Any]], moves: str, least: float) -> Check:
    """In every precision that was measured, each beside full fine-tuning in the same."""
    asked = f"{moves}: a step at least {least} times faster than one of full fine-tuning"
    own = [row for row in rows if row.get("moves") == moves]
    if not own:
        return Check(asked)
    text = ", ".join(f"{row['precision']} {spread(row, 'times')}" for row in own)
    return Check(asked, text, all(row["times"] >= least for row in own))


def growth(rows: Sequence[Mapping[str, Any]]) -> Check:
    asked = (
        "time of an epoch, reckoned from some of its steps, and memory on a straight line up to "
        f"{LARGEST:,} molecules, within {LINEAR:.0%}"
    )
    lines = [row for row in rows if "line" in row and row["largest"] >= LARGEST]
    names = {"epoch_s": "time", "peak_mb": "memory"}
    if {row["line"] for row in lines} != names.keys():
        return Check(asked)
    text = ", ".join(f"{names[row['line']]} within {row['furthest']:.1%}" for row in lines)
    return Check(asked, text, all(row["furthest"] <= LINEAR for row in lines))
