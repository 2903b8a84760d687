"""What ``graphadapt export`` says of the bundle that it has written."""

import shlex
from pathlib import Path

from graphadapt.export.bundle_summary import loss_text
from graphadapt.export.calibration_summary import calibration_lines, calibration_records
from graphadapt.export.contract import BundleContract

__all__ = ["summary_of"]


def summary_of(bundle: Path, contract: BundleContract) -> str:
    """What was written, how exact it is, what it costs and where to go on; a line each."""
    parity = contract.parity
    size = sum(info.size for info in contract.files.values()) / 1e6
    sizes, threads = (", ".join(map(str, each)) for each in (parity.batch_sizes, parity.threads))
    return "\n".join(
        [
            f"{bundle}: {_counted(len(contract.tasks), 'task')}, {size:.1f} MB",
            f"largest error {parity.largest_error:.1e} of the answers' scale against float64, "
            f"{parity.repeats} runs at each of batch {sizes} on {threads} threads",
            *_gap(contract),
            *_extras(contract),
            f"next: {_trial(bundle, contract)}",
        ]
    )


def _gap(contract: BundleContract) -> list[str]:
    gaps = contract.metrics.get("freeze_gaps", {"": contract.metrics.get("freeze_gap", {})})
    lines = []
    for name, gap in gaps.items():
        means = ", ".join(f"{metric} {value:+.4f}" for metric, value in gap.get("gap", {}).items())
        what = f" of {name}" if name else ""
        lines.append(f"freeze gap{what} on validation: {means or gap.get('missing', 'no metric')}")
    return lines


def _extras(contract: BundleContract) -> list[str]:
    """Precision, calibration and applicability, where there are any."""
    lines = []
    if contract.precision.name != "fp32":
        lines.append(f"{contract.precision.name} {loss_text(contract.precision)}")
    lines += _calibration(contract)
    return lines + _applicability(contract)


def _applicability(contract: BundleContract) -> list[str]:
    """What it comes from, and how typical validation is, a mean over compositions."""
    figures = [each for each in contract.applicabilities if each.measure != "none"]
    if not figures:
        return []
    below = sum(each.valid_below_5_percent for each in figures) / len(figures)
    return [
        f"applicability from {figures[0].molecules:,} training molecules; "
        f"{100 * below:.1f} % of validation is below 0.05"
    ]


def _calibration(contract: BundleContract) -> list[str]:
    """Means over tasks, and over compositions where there are several; then what is left out."""
    several = contract.compositions.values() or [contract]
    maps = [part for each in several for part in each.calibration.values()]
    if not maps:
        return [*_uncalibrated(contract), *calibration_lines(contract)]

    def means(*fields: str) -> str:
        found = ([getattr(part, name) for part in maps] for name in fields)
        before, after, held_out = (sum(values) / len(maps) for values in found)
        return f"{before:.4f} before, {after:.4f} after, {held_out:.4f} on cells left out"

    binary = sum(task.kind == "binary" for task in contract.tasks)
    count = len({name for each in several for name in each.calibration})
    return [
        f"calibration by {maps[0].method} of {count} of {_counted(binary, 'binary task')}, on "
        f"validation: error {means('before', 'after', 'held_out')}; log loss "
        + means("log_loss_before", "log_loss_after", "log_loss_held_out"),
        *calibration_lines(contract),
    ]


def _uncalibrated(contract: BundleContract) -> list[str]:
    """That no task is calibrated, where it was asked for, and what a task needs."""
    binary = sum(task.kind == "binary" for task in contract.tasks)
    return [
        f"calibration by {record['method']} of 0 of {_counted(binary, 'binary task')} (needs "
        f"{record['fewest_cells']} cells, {record['fewest_of_a_class']} of each class)"
        for record in list(calibration_records(contract).values())[:1]
    ]


def _trial(bundle: Path, contract: BundleContract) -> str:
    """A command that answers something."""
    place = shlex.quote(str(bundle))
    if contract.own_columns:
        columns = ", ".join(contract.own_columns)
        return f"graphadapt predict {place} TABLE, with SMILES and the columns {columns}"
    return f'echo "CCO" | graphadapt predict {place}'


def _counted(count: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
