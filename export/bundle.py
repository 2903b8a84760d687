"""From a frozen model to a bundle on disk, proven equal first.

Shapes: P probe molecules, T columns of answers.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx

from graphadapt.errors import ConfigError
from graphadapt.export.bundle_folder import check_target, write_whole
from graphadapt.export.collate import inputs_for
from graphadapt.export.contract import (
    CONTRACT_FILE,
    MODEL_FILE,
    PROBES_FILE,
    BundleContract,
    FileInfo,
)
from graphadapt.export.contract_parts import Applicability, Bucket, Calibration, Precision
from graphadapt.export.joined_graphs import MAX_SLOTS
from graphadapt.export.network import PlainModel
from graphadapt.export.onnx_check import check_model, count_numbers, metadata_of
from graphadapt.export.onnx_file import write_onnx
from graphadapt.export.padding import BUCKETS
from graphadapt.export.parity import prove_parity
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import ParityPlan, opener
from graphadapt.export.restate import restate
from graphadapt.export.witness import ALONE, Witness
from graphadapt.freeze import FrozenModel
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION

__all__ = ["BundleNotes", "Lower", "check_features", "put_together", "trace", "write_bundle"]

_PACKAGES = ("graphadapt", "torch", "onnx", "onnxscript", "onnxruntime", "rdkit", "numpy")

_TRACED = 24
"""Probe molecules in the batch that the exporter traces."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleNotes:
    """What a bundle records beside what its files show."""

    selection: Mapping[str, Any] = field(default_factory=dict)
    """Rule by which adapters were kept."""

    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the model."""

    origin: Mapping[str, Any] = field(default_factory=dict)
    """Run and settings it came from."""

    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    """Maps that the model answers by already, by task."""

    applicability: Applicability = field(default_factory=Applicability)
    """How the model's second output came to be, where it has one."""


Lower = Callable[[bytes, tuple[str, ...], tuple[str, ...]], tuple[bytes, Precision]]
"""From a float32 file, its inputs and its outputs to one of lower precision."""


def write_bundle(
    frozen: FrozenModel,
    folder: str | Path,
    *,
    feature_blocks: Sequence[FeatureBlock] = (),
    form: Literal["merged", "padded"] = "merged",
    buckets: Sequence[Bucket] = BUCKETS,
    lower: Lower | None = None,
    force: bool = False,
    notes: BundleNotes | None = None,
    plan: ParityPlan | None = None,
    shown: bool = False,
) -> BundleContract:
    """Export a frozen model, prove the file equal to it, write the bundle and say what it is.

    A bundle that is there already is replaced, and only once the new one is complete.

    Args:
        frozen: on any device; left as it is.
        folder: where the bundle goes.
        feature_blocks: molecule-level features that the model reads.
        form: how molecules lie in the arrays that it reads.
        buckets: shapes of the padded form, the smallest first.
        lower: makes the file one of lower precision, and says what that costs.
        force: whether such a file may be further off than its precision is allowed to.
        notes: for the record.
        plan: how thoroughly the file is compared with the model.
        shown: whether progress is shown.

    Raises:
        BundleError: if ``folder`` holds something else, or the file is not equal to the model.
        ConfigError: if the model cannot be exported or reads other features.
    """
    folder, notes = Path(folder), notes or BundleNotes()
    check_target(folder)
    check_features(frozen, feature_blocks)
    plain = restate(frozen, padded=form == "padded")
    probes = Probes(feature_blocks)
    model = trace(plain, frozen, probes, form)
    precision = Precision()
    if lower is not None:
        model, precision = lower(model, plain.reads, plain.outputs)
        check_model(onnx.load_from_string(model), plain.reads, plain.outputs, form)
    open_file, kind = opener(model, plain.outputs), precision.name
    parity, truth = prove_parity(
        frozen, open_file, plain.reads, probes, plan, precision=kind, force=force, shown=shown
    )
    witness = Witness.of(probes, {ALONE: truth.answers})
    return put_together(
        folder,
        {MODEL_FILE: model, PROBES_FILE: witness.to_bytes()},
        frozen,
        plain,
        notes,
        feature_blocks=tuple(feature_blocks),
        form=form,
        buckets=tuple(buckets) if form == "padded" else (),
        precision=replace(precision, forced=precision.forced or not parity.holds),
        parity=parity,
    )


def put_together(
    folder: Path,
    files: Mapping[str, bytes],
    frozen: FrozenModel,
    plain: PlainModel,
    notes: BundleNotes,
    **parts: Any,
) -> BundleContract:
    """State what files hold, and write them with their contract.

    Args:
        folder: where the bundle goes.
        files: content by name.
        frozen: what the model file was made from.
        plain: the network in it.
        notes: for the record.
        parts: of the contract, that only the caller knows.
    """
    contract = BundleContract(
        tasks=frozen.tasks,
        composition=frozen.composition,
        kept=frozen.kept,
        reads=plain.reads,
        outputs=plain.outputs,
        most_bonds=MAX_SLOTS,
        merge_from=plain.merge_from,
        parameters=count_numbers(onnx.load_from_string(files[MODEL_FILE])),
        **{item.name: getattr(notes, item.name) for item in fields(notes)},
        versions=_package_versions(),
        files={name: FileInfo.of(content) for name, content in files.items()},
        **parts,
    )
    write_whole(folder, {**files, CONTRACT_FILE: contract.to_text().encode()})
    return contract


def trace(plain: PlainModel, frozen: FrozenModel, probes: Probes, form: str = "merged") -> bytes:
    """The ONNX file of a plain network, which says whose it is."""
    example = inputs_for(plain.reads, *probes.take(np.arange(_TRACED)))
    return write_onnx(plain, example, metadata_of(frozen.tasks, form, FEATURISATION_VERSION))


def check_features(frozen: FrozenModel, blocks: Sequence[FeatureBlock]) -> None:
    """Refuse feature blocks of another width than the model reads.

    Raises:
        ConfigError: with both widths.
    """
    read = 0 if frozen.features is None else len(frozen.features.is_count)
    given = sum(block.width for block in blocks)
    if read != given:
        raise ConfigError(
            f"the model reads {read} molecule-level features, the feature blocks make {given}"
        )


def _package_versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # onnxruntime-gpu goes by another name
            found[name] = "unknown"
    return found
