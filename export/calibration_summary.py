"""What a bundle says of tasks left without calibration, and of calibrated answers. No torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from graphadapt.export.contract import BundleContract

__all__ = ["calibration_lines", "calibration_records"]

_NAMED = 5
"""Tasks that are named in one line; the contract names all."""


def calibration_records(contract: BundleContract) -> dict[str, Mapping[str, Any]]:
    """What :func:`~graphadapt.export.calibration.calibration_record` made, by composition.

    The one of a bundle of one network has an empty name. Nothing is there where no calibration was
    asked for, or no task is binary.
    """
    several = contract.metrics.get("calibrations", {"": contract.metrics.get("calibration")})
    named = several if isinstance(several, Mapping) else {}
    return {name: each for name, each in named.items() if isinstance(each, Mapping)}


def calibration_lines(contract: BundleContract) -> list[str]:
    """Which tasks have no map and why, and metrics of the answers that tables changed; a line each.

    Empty where every task has its map and the order of answers stays.
    """
    records = calibration_records(contract)
    left_out = _left_out(list(records.values()))
    lines = [f"not calibrated: {left_out}"] if left_out else []
    for name, record in records.items():
        means = ", ".join(f"{metric} {value:.4f}" for metric, value in _table(record, "after"))
        if means:
            what = f" of {name}" if name else ""
            lines.append(f"calibrated answers{what} on validation: {means}")
    return lines


def _left_out(records: Sequence[Mapping[str, Any]]) -> str:
    """Tasks with the reason of the first composition that leaves them out."""
    reasons: dict[str, list[str]] = {}
    for record in records:
        for task, reason in _table(record, "left_out"):
            reasons.setdefault(task, []).append(reason)
    named = [
        f"{task}{_of_several(len(why), len(records))} ({why[0]})" for task, why in reasons.items()
    ]
    more = len(named) - _NAMED
    rest = f", and {more} more that the contract names" if more > 0 else ""
    return ", ".join(named[:_NAMED]) + rest


def _of_several(count: int, total: int) -> str:
    return "" if count == total else f" in {count} of {total} compositions"


def _table(record: Mapping[str, Any], name: str) -> list[tuple[str, Any]]:
    """Entries of a table within a record; none where another version holds something else."""
    found = record.get(name)
    return list(found.items()) if isinstance(found, Mapping) else []
