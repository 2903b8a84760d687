"""The GPU suite's rows as tables, beside what the card can do."""

from collections.abc import Mapping, Sequence
from typing import Any

from evidence.tables import markdown_table

__all__ = ["table"]

Rows = Sequence[Mapping[str, Any]]

YES = {True: "yes", False: "NO"}


def table(rows: Rows) -> str:
    """All rows in Markdown, one table for each kind that there is."""
    found = [lines for lines in (make(rows) for make in TABLES) if lines]
    return "\n\n".join(markdown_table(lines) for lines in found)


def epoch_lines(rows: Rows) -> list[dict[str, Any]]:
    own = [row["epoch_s"] for row in rows if str(row.get("epoch_of", "")).startswith("graphadapt,")]
    return [
        {
            "epoch of": row["epoch_of"],
            "precision": row["precision"],
            "molecules": row["molecules"],
            "epochs": f"{row['epochs']:.3g}",
            "s": f"{row['epoch_s']:.3g}",
            "least and most": f"{row['epoch_s_low']:.3g} to {row['epoch_s_high']:.3g}"
            if "epoch_s_low" in row
            else "",
            "with checkpoint, s": f"{row['epoch_with_checkpoint_s']:.3g}"
            if "epoch_with_checkpoint_s" in row
            else "",
            "times ours": f"{row['epoch_s'] / own[0]:.1f}" if own else "",
            "steps replayed": row.get("replays", ""),
            "peak GB": f"{row['peak_gb']:.2f}" if "peak_gb" in row else "",
            "reserved GB": f"{row['reserved_gb']:.2f}" if "reserved_gb" in row else "",
        }
        for row in rows
        if "epoch_of" in row
    ]


def step_lines(rows: Rows) -> list[dict[str, Any]]:
    return [
        {
            "a step of": row["way"],
            "ms": f"{1e3 * row['median_s']:.3g}" if "median_s" in row else row["skipped"],
            "spread, %": f"{100 * row['iqr_s'] / row['median_s']:.1f}" if "iqr_s" in row else "",
            "molecules/s": f"{row['per_second']:.0f}" if "per_second" in row else "",
        }
        for row in rows
        if "way" in row
    ]


def ratio_lines(rows: Rows) -> list[dict[str, Any]]:
    return [
        {
            "ours": row["ours"],
            "peer": row["peer"],
            "times faster (quartiles)": (
                f"{row['times']:.1f} ({row['times_low']:.1f} to {row['times_high']:.1f})"
            ),
        }
        for row in rows
        if "times" in row
    ]


def work_lines(rows: Rows) -> list[dict[str, Any]]:
    """What a step computes and moves, in the time it takes, beside what the card can do."""
    most = {row["ceiling"]: row for row in rows if "ceiling" in row}
    flop_most = most.get("bfloat16 product", {}).get("flop_per_s")
    byte_most = most.get("copy", {}).get("bytes_per_s")
    seconds = {row["way"]: row["median_s"] for row in rows if "way" in row and "median_s" in row}
    lines = []
    for row in (row for row in rows if "work_of" in row):
        took = seconds.get(row["work_of"])
        lines.append(
            {
                "a step of": row["work_of"],
                "kernels": row["kernels"],
                "GFLOP": f"{row['flop'] / 1e9:.3g}",
                "GB": f"{row['bytes'] / 1e9:.3g}",
                "TFLOP/s": f"{row['flop'] / took / 1e12:.3g}" if took else "",
                "of bf16 ceiling, %": _share(row["flop"], took, flop_most),
                "GB/s": f"{row['bytes'] / took / 1e9:.0f}" if took else "",
                "of copy ceiling, %": _share(row["bytes"], took, byte_most),
            }
        )
    return lines


def ceiling_lines(rows: Rows) -> list[dict[str, Any]]:
    return [
        {
            "the card": row["ceiling"],
            "TFLOP/s": f"{row['flop_per_s'] / 1e12:.3g}" if "flop_per_s" in row else "",
            "GB/s": f"{row['bytes_per_s'] / 1e9:.0f}" if "bytes_per_s" in row else "",
        }
        for row in rows
        if "ceiling" in row
    ]


def kernel_lines(rows: Rows) -> list[dict[str, Any]]:
    most = next((row["bytes_per_s"] for row in rows if row.get("ceiling") == "copy"), None)
    return [
        {
            "kernel": row["kernel"],
            "by": row["kernels"],
            "precision": row["precision"],
            "error": f"{row['error']:.1e}",
            "allowed": f"{row['allowed']:.0e}",
            "holds": "yes" if row["holds"] else f"NO: {row['worst']}",
            "µs there and back": f"{1e6 * row['seconds']:.0f}",
            "of copy ceiling, %": _share(row["bytes_per_s"], 1, most),
        }
        for row in rows
        if "kernel" in row
    ]


def replay_lines(rows: Rows) -> list[dict[str, Any]]:
    return [
        {
            "captured steps": row["steps"],
            "replays": row["replays"],
            "shapes": row["shapes"],
            "error": f"{row['error']:.1e}",
            "allowed": f"{row['allowed']:.0e}",
            "holds": "yes" if row["holds"] else "NO",
            "obstacle": row["obstacle"],
        }
        for row in rows
        if "replayed" in row
    ]


def provider_lines(rows: Rows) -> list[dict[str, Any]]:
    return [
        {
            "ONNX Runtime": row["provider"],
            "form": f"{row['form']} {row['precision']}" if "form" in row else "",
            "by": row.get("by", ""),
            "molecules": row.get("molecules", ""),
            "in a run": row.get("batch", ""),
            "copies": row.get("copies", ""),
            "CUDA graph": YES[row["graph"]] if "graph" in row else "",
            "ms": f"{1e3 * row['median_s']:.3g}" if "median_s" in row else row["skipped"],
            "spread, %": f"{100 * row['iqr_s'] / row['median_s']:.1f}" if "iqr_s" in row else "",
            "molecules/s": f"{row['per_second']:.0f}" if "per_second" in row else "",
            "error": f"{row['error']:.1e}" if "error" in row else "",
            "allowed": f"{row['allowed']:.0e}" if "allowed" in row else "",
            "holds": YES[row["holds"]] if "holds" in row else "",
        }
        for row in rows
        if "provider" in row
    ]


def part_lines(rows: Rows) -> list[dict[str, Any]]:
    failed = {row["part"]: row["failed"] for row in rows if "failed" in row}
    return [
        {
            "part": row["part"],
            "s": f"{row['part_s']:.0f}",
            "at most": row["budget_s"],
            "outcome": failed.get(row["part"], "done"),
        }
        for row in rows
        if "part_s" in row
    ]


def _share(amount: float, seconds: float | None, most: float | None) -> str:
    return f"{100 * amount / seconds / most:.0f}" if seconds and most else ""


TABLES = (
    epoch_lines,
    step_lines,
    ratio_lines,
    work_lines,
    ceiling_lines,
    kernel_lines,
    replay_lines,
    provider_lines,
    part_lines,
)
