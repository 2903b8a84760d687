"""A bundle held against its contract, its own probe answers and the rules of its format. No torch.

Shapes: P probe molecules, T columns of answers.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from graphadapt.errors import BundleError, DependencyError
from graphadapt.export.adapter_files import adapter_paths, check_adapter_file, run_options
from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.contract import (
    BUNDLE_FORMAT,
    CONTRACT_FILE,
    MODEL_FILE,
    PROBES_FILE,
    BundleContract,
)
from graphadapt.export.parity_record import TOLERANCE
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import (
    OpenFile,
    ParityPlan,
    Truth,
    largest_error,
    opener,
    thread_counts,
    truth_of,
)
from graphadapt.export.witness import ALONE, Witness

__all__ = ["ProbeCase", "Verification", "allowed_error", "probe_cases", "verify_bundle"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was checked, all of it sound."""

    folder: str
    checks: Mapping[str, str]
    """What was looked at, and what was found."""

    largest_error: float
    """Of any answer of any run, as a share of the answers' scale."""

    runs: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folder": self.folder,
            "checks": dict(self.checks),
            "largest_error": self.largest_error,
            "runs": self.runs,
        }


class ProbeCase(NamedTuple):
    """The model file of a bundle under one of its compositions, and what is right."""

    open_file: OpenFile
    probes: Probes
    truth: Truth


def verify_bundle(
    folder: str | Path, plan: ParityPlan | None = None, *, shown: bool = False
) -> Verification:
    """Check a bundle's files, its model and its answers on this machine.

    Args:
        folder: of a bundle.
        plan: how often the probe molecules are answered; its tolerance is that of the bundle.
        shown: whether progress is shown.

    Raises:
        BundleError: naming the first thing that is not as it should be.
        DependencyError: if onnx or ONNX Runtime is missing.
    """
    folder, plan = Path(folder), plan or ParityPlan()
    contract, contents = read_bundle_files(folder)
    proto = _checked_model(contents[MODEL_FILE], contract)
    checks = {
        "files": _listed(folder, contract),
        "model": f"valid, {len(proto.graph.node)} nodes of allowed operators, "
        f"opset {contract.opset}, {contract.parameters:,} numbers",
    }
    with adapter_paths(contract.compositions, contents) as paths:
        for name, each in contract.compositions.items():
            check_adapter_file(paths[name], proto, each)
            checks[f"composition {name}"] = f"{each.file}, {each.parameters:,} numbers"
        checks["tasks"] = f"{len(contract.tasks)} with their units, as the model says"
        worst = _repeated(folder, contract, contents, paths, plan, shown=shown)
    runs = _runs(plan) * max(1, len(contract.compositions))
    checks["answers"] = (
        f"off by at most {worst:.1e} of their scale in {runs:,} runs; "
        f"the bound is {allowed_error(contract)[1]}"
    )
    return Verification(folder=str(folder), checks=checks, largest_error=worst, runs=runs)


def _checked_model(model: bytes, contract: BundleContract) -> Any:
    """The model, as ``onnx`` reads it; anything that the contract does not say is refused."""
    try:
        check_against = importlib.import_module("graphadapt.export.onnx_check").check_against
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"verification needs {error.name}; run: pip install {error.name}"
        ) from error
    return check_against(model, contract)


def _listed(folder: Path, contract: BundleContract) -> str:
    """How many files are intact, and which the contract does not speak of."""
    known = {*contract.files, CONTRACT_FILE}
    others = sorted(path.name for path in folder.iterdir() if path.name not in known)
    beside = f"; not part of it: {', '.join(others)}" if others else ""
    return (
        f"{len(contract.files)} intact by sha256, contract of format {BUNDLE_FORMAT} intact{beside}"
    )


def _repeated(
    folder: Path,
    contract: BundleContract,
    contents: Mapping[str, bytes],
    paths: Mapping[str, Path],
    plan: ParityPlan,
    *,
    shown: bool,
) -> float:
    """The largest error over all compositions; more than the bundle allows is refused."""
    worst = 0.0
    for case in probe_cases(folder, contract, contents, paths):
        error = largest_error(
            case.open_file, contract.reads, case.probes, case.truth, plan, shown=shown
        )
        worst = max(worst, error)
    allowed, bound = allowed_error(contract)
    if not worst <= allowed:
        raise BundleError(
            f"{folder}: answers are off by {worst:.2e} of their scale on this machine, more than "
            f"{bound}; the bundle was made with {_made_with(contract)}"
        )
    return worst


def probe_cases(
    folder: Path,
    contract: BundleContract,
    contents: Mapping[str, bytes],
    paths: Mapping[str, Path],
) -> Iterator[ProbeCase]:
    """Every composition of a bundle with the answers it has to give; one of a bundle without.

    Args:
        folder: what errors speak of.
        contract: of the bundle.
        contents: of its files, by name.
        paths: of adapter files, by composition; they are read when a case opens the model.

    Raises:
        BundleError: if the bundle has no probes, or they do not answer a composition.
    """
    if PROBES_FILE not in contents:
        raise BundleError(f"{folder}: the contract names no {PROBES_FILE}; export again")
    witness = Witness.from_bytes(contents[PROBES_FILE])
    probes = Probes(contract.feature_blocks, witness.smiles, witness.columns)
    width = len(contract.tasks) + len(contract.outputs) - 1
    options: dict[str, Callable[[], Any] | None] = {ALONE: None}
    if paths:
        options = {name: partial(run_options, path) for name, path in paths.items()}
    for name, open_options in options.items():
        answers_PT = witness.answers.get(name, np.empty((0, 0)))
        if answers_PT.shape[1:] != (width,):
            raise BundleError(f"{folder}: {PROBES_FILE} does not answer {name or 'all tasks'}")
        truth = truth_of(contract.tasks, answers_PT, probes)
        open_file = opener(contents[MODEL_FILE], contract.outputs, open_options)
        yield ProbeCase(open_file, probes, truth)


def allowed_error(contract: BundleContract) -> tuple[float, str]:
    """Largest error that a sound bundle may show here, and the same in words.

    In float32 what it was held to when it was written; in lower precision twice what it was off by
    then, and at least the tolerance of float32.
    """
    if contract.precision.name == "fp32":
        return contract.parity.allowed, contract.parity.bound
    allowed = 2 * contract.parity.largest_error
    if allowed <= TOLERANCE:
        return TOLERANCE, f"{TOLERANCE:g}"
    said = f"{allowed:.1e}, twice what it was off by in {contract.precision.name} when written"
    return allowed, said


def _runs(plan: ParityPlan) -> int:
    return plan.repeats * len(plan.batch_sizes) * len(plan.threads or thread_counts())


def _made_with(contract: BundleContract) -> str:
    packages = ("onnxruntime", "rdkit", "numpy")
    return ", ".join(f"{name} {contract.versions.get(name, 'unknown')}" for name in packages)
