"""What an exported bundle answers, what it was made from, and whether its files are intact."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphadapt.config import RunConfig
from graphadapt.export.calibration_summary import calibration_lines
from graphadapt.export.contract import BundleContract, FileInfo, read_contract
from graphadapt.export.contract_parts import Calibration, Precision
from graphadapt.export.parity_record import Parity
from graphadapt.report.summary import Summary, counted_kinds, listed_settings
from graphadapt.report.table import Cell, format_table

__all__ = ["inspect_bundle", "loss_text"]


def inspect_bundle(folder: Path) -> Summary:
    """The contract of a bundle, and the state of each of its files; needs no torch.

    Raises:
        BundleError: if the contract is missing, damaged, foreign, changed, or of another version.
    """
    contract = read_contract(folder)
    states = {name: _state(folder / name, info) for name, info in contract.files.items()}
    table = json.loads(contract.to_text())
    facts: dict[str, Any] = {"folder": str(folder), **table, "states": states}
    return Summary(
        "bundle",
        facts | {"kind": "bundle"},
        (
            (str(folder), _headline(contract)),
            ("tasks", _tasks(contract)),
            ("files", _files(contract, states)),
            ("metrics", _metrics(contract)),
            ("made from", _origin(contract)),
        ),
    )


def _state(path: Path, info: FileInfo) -> str:
    if not path.is_file():
        return "missing"
    return "intact" if FileInfo.of(path.read_bytes()) == info else "damaged"


def _headline(contract: BundleContract) -> str:
    parity = contract.parity
    blocks = [f"{block.kind} ({block.width})" for block in contract.feature_blocks]
    rule = ", ".join(f"{name} {value}" for name, value in contract.selection.items() if value)
    lines = [
        counted_kinds([task.kind for task in contract.tasks]),
        f"molecule-level features: {', '.join(blocks) or 'none'}",
        f"adapters kept: {rule or 'all'}",
        f"largest error against the float64 reference: {parity.largest_error:.1e} of the scale, "
        f"{_verdict(parity)}; {parity.molecules} molecules, {parity.provider}",
        *_form(contract),
    ]
    return "\n".join(lines)


def _verdict(parity: Parity) -> str:
    """How the largest error lies to the bound that it was held to when the bundle was written."""
    if parity.holds:
        return f"within the bound of {parity.bound}"
    return f"above the bound of {parity.bound}, and forced"


def _form(contract: BundleContract) -> list[str]:
    """Form and precision, and the second output where there is one."""
    compositions = ", ".join(contract.compositions)
    buckets = ", ".join(f"{each.atoms}x{each.slots}" for each in contract.buckets)
    lines = [
        f"form: {contract.form}"
        + (f", compositions {compositions}" if compositions else "")
        + (f", buckets of atoms and bonds {buckets}" if buckets else "")
    ]
    figure = contract.applicabilities[0]
    if contract.precision.name != "fp32":
        lines.append(f"precision: {contract.precision.name}, {loss_text(contract.precision)}")
    if figure.measure != "none":
        lines.append(f"applicability: against {figure.molecules:,} training molecules")
    return lines


def loss_text(precision: Precision) -> str:
    """What a lower precision costs on validation, or that it is unmeasured."""
    loss = ", ".join(f"{metric} {value:+.4f}" for metric, value in precision.loss.items())
    text = f"loses on validation: {loss}" if loss else "is unmeasured"
    apart = len(precision.unmeasured)
    if apart:
        text += f"; {apart} {'task has' if apart == 1 else 'tasks have'} no metric there"
    return text + (" (forced)" if precision.forced else "")


def _tasks(contract: BundleContract) -> str:
    asked = {task.name for task in contract.tasks}
    held = contract.calibration
    rows: list[list[Cell]] = []
    for task in contract.tasks:
        row: list[Cell] = [task.name, task.kind, task.units, contract.composition.get(task.name)]
        rows.append([*row, _calibrated(held.get(task.name))] if held else row)
    others = [
        f"{name} {weight:.3g}" for name, weight in contract.composition.items() if name not in asked
    ]
    header = ["task", "kind", "units", "weight in the mix", *(["calibration"] if held else [])]
    table = format_table(header, rows)
    return table + (f"\nalso in the mix: {', '.join(others)}" if others else "")


def _calibrated(found: Calibration | None) -> str | None:
    if found is None:
        return None
    if found.method == "temperature":
        return f"temperature {found.temperature:.3g}"
    return f"isotonic, {len(found.logits)} knots"


def _files(contract: BundleContract, states: dict[str, str]) -> str:
    rows: list[list[Cell]] = [
        [name, info.size, states[name], info.sha256[:12]] for name, info in contract.files.items()
    ]
    return format_table(["file", "bytes", "state", "sha256"], rows)


def _metrics(contract: BundleContract) -> str:
    """Freeze gaps as tables, one a composition; calibration; whatever else as it stands."""
    gaps = {"freeze gap": contract.metrics.get("freeze_gap")}
    several = contract.metrics.get("freeze_gaps")
    if isinstance(several, Mapping):
        gaps |= {f"freeze gap of {name}": found for name, found in several.items()}
    tables = [_gap(name, found) for name, found in gaps.items() if isinstance(found, Mapping)]
    others = {
        name: value
        for name, value in contract.metrics.items()
        if name not in ("freeze_gap", "freeze_gaps", "calibration", "calibrations")
    }
    return "\n".join([*_listed(others), *calibration_lines(contract), *tables])


def _gap(name: str, found: Mapping[str, Any]) -> str:
    if not {"part", "soft", "frozen", "gap"} <= set(found):
        return f"{name} not measured: {found.get('missing', 'no reason is given')}"
    rows: list[list[Cell]] = [
        [metric, value, found["frozen"].get(metric), found["gap"].get(metric)]
        for metric, value in found["soft"].items()
    ]
    table = format_table(["metric", "composed", "frozen", "gap"], rows, digits=4)
    return f"{name} on {found['part']} cells:\n{table}"


def _origin(contract: BundleContract) -> str:
    """Run and packages, then the settings that differ from the defaults."""
    plain = {name: value for name, value in contract.origin.items() if name != "config"}
    config = contract.origin.get("config", {})
    changed = listed_settings(config, RunConfig().to_dict()) if isinstance(config, Mapping) else []
    packages = ", ".join(f"{name} {version}" for name, version in contract.versions.items())
    return "\n".join([*_listed(plain), packages, *changed])


def _listed(table: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {json.dumps(value)}" for name, value in table.items()]
