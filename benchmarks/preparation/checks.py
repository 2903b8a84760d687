"""Figures of reading and preparing molecules held against what was asked of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from evidence.checks import Check, Results, every_row, spread
from evidence.straight_line import LARGEST, LINEAR

__all__ = ["PUBLISHED", "TABLE", "featurise_speed", "prepare_speed"]

PREPARED, HOPED = 0.5, 0.6
"""Share of RDKit's parse rate that preparation is to reach, and that it was hoped to reach."""

PUBLISHED, TABLE = "published set", "user's table"
"""Molecules as they stand, and molecules that are first told apart by their canonical SMILES."""


def featurise_speed(results: Sequence[Results]) -> list[Check]:
    """The pooled sample decides; the table shows each set."""
    rows = every_row(results)
    speed = "at least 1.8 times faster than smiles2graph on one core, sets pooled"
    same = "the same arrays as the witness on every molecule of four sets"
    pooled = [row for row in rows if row.get("way") == "graphadapt" and row["set"] == "pooled"]
    found = [Check(speed)]
    if pooled:
        row = pooled[0]
        text = f"{spread(row, 'times_smiles2graph')}; {slowest_set(rows)}"
        found = [Check(speed, text, row["times_smiles2graph"] >= 1.8)]
    checked = [row for row in rows if "different" in row]
    if len(checked) < 4:
        return [*found, Check(same)]
    different = sum(row["different"] for row in checked)
    total = sum(row["molecules"] for row in checked)
    return [*found, Check(same, f"{different} of {total:,} differ", different == 0)]


def slowest_set(rows: Sequence[Mapping[str, Any]]) -> str:
    """The set that gains least, whichever side of the asked figure it is on."""
    timed = [row for row in rows if row.get("way") == "graphadapt"]
    least = min(timed, key=lambda row: row["times_smiles2graph"])
    return f"least for {least['set']}: {spread(least, 'times_smiles2graph')}"


def prepare_speed(results: Sequence[Results]) -> list[Check]:
    """The worst set decides about a rate, the larger distance about the lines."""
    rows = every_row(results)
    linear = f"time and memory of preparing linear up to {LARGEST:,} molecules, within {LINEAR:.0%}"
    same = "a preparation that was killed goes on, and ends in the same bytes"
    far = [row for row in rows if "line" in row and row["largest"] >= LARGEST]
    lines = {row["line"]: row["furthest"] for row in far}
    killed = [row for row in rows if "same_bytes" in row and 0 < row["kept"] < row["molecules"]]
    grows, goes_on = Check(linear), Check(same)
    if len(lines) == 2:
        furthest = max(lines.values())
        grows = Check(linear, f"within {furthest:.1%}", furthest <= LINEAR)
    if killed:
        row = killed[0]
        text = f"killed at {row['kept']:,} of {row['molecules']:,}"
        goes_on = Check(same, text, row["same_bytes"])
    rates = ((PUBLISHED, PREPARED), (PUBLISHED, HOPED), (TABLE, PREPARED))
    return [*(rate(rows, way, least) for way, least in rates), grows, goes_on]


def rate(rows: Sequence[Mapping[str, Any]], way: str, least: float) -> Check:
    """The worst set decides."""
    asked = (
        f"preparation of a {way} at least {least:.0%} of RDKit's bare parse rate, one core each, "
        "any set"
    )
    shares = {row["set"]: row["share_of_parse_rate"] for row in rows if row.get("way") == way}
    if "pooled" not in shares:
        return Check(asked)
    text = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    return Check(asked, text, min(shares.values()) >= least)
