"""From a frozen model to a bundle on disk, written whole or not at all."""

import os
import platform
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from graphadapt.errors import BundleError, ConfigError
from graphadapt.export.collate import MAX_SLOTS, collate
from graphadapt.export.contract import (
    CONTRACT_FILE,
    MODEL_FILE,
    BundleContract,
    FileInfo,
    is_bundle,
)
from graphadapt.export.onnx_file import write_onnx
from graphadapt.export.parity import ParityPlan, Probes, prove_parity
from graphadapt.export.restate import restate
from graphadapt.freeze import FrozenModel
from graphadapt.molecules.features import FeatureBlock

__all__ = ["check_target", "write_bundle"]

_PACKAGES = ("graphadapt", "torch", "onnx", "onnxscript", "onnxruntime", "rdkit", "numpy")


def write_bundle(
    frozen: FrozenModel,
    folder: str | Path,
    *,
    feature_blocks: Sequence[FeatureBlock] = (),
    selection: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    origin: Mapping[str, Any] | None = None,
    plan: ParityPlan | None = None,
    shown: bool = False,
) -> BundleContract:
    """Export a frozen model, prove the file equal to it and write the bundle.

    A bundle that is there already is replaced, and only once the new one is complete.

    Args:
        frozen: on any device; left as it is.
        folder: where the bundle goes.
        feature_blocks: molecule-level features that the model reads.
        selection: rule by which adapters were kept, for the record.
        metrics: figures of the model, for the record.
        origin: run and settings it came from, for the record.
        plan: how thoroughly the file is compared with the model.
        shown: whether progress is shown.

    Returns:
        What the bundle says of itself.

    Raises:
        BundleError: if ``folder`` holds something else, or the file is not equal to the model.
        ConfigError: if the model cannot be exported or reads other features.
    """
    folder = Path(folder)
    check_target(folder)
    _check_features(frozen, feature_blocks)
    plain = restate(frozen)
    probes = Probes(feature_blocks)
    example = collate(*probes.take(np.arange(24)))
    model = write_onnx(plain, example)
    contract = BundleContract(
        tasks=frozen.tasks,
        composition=frozen.composition,
        kept=frozen.kept,
        selection=selection or {},
        reads=plain.reads,
        feature_blocks=tuple(feature_blocks),
        most_bonds=MAX_SLOTS,
        merge_from=plain.merge_from,
        parity=prove_parity(frozen, model, plain.reads, probes, plan, shown=shown),
        metrics=metrics or {},
        origin=origin or {},
        versions=_versions(),
        files={MODEL_FILE: FileInfo.of(model)},
    )
    _write_whole(folder, {MODEL_FILE: model, CONTRACT_FILE: contract.to_text().encode()})
    return contract


def check_target(folder: Path) -> None:
    """Refuse to write over anything that is not a bundle, or where nothing can be written.

    Raises:
        BundleError: if ``folder`` is a file, a folder of something else, the one that this process
            works in, or in a place that is not writable.
    """
    whole = folder.resolve()
    place = next(parent for parent in whole.parents if parent.exists())
    if not place.is_dir():
        raise BundleError(f"{folder} cannot be written: {place} is a file")
    if not os.access(place, os.W_OK):
        raise BundleError(f"{folder} cannot be written: {place} is read-only for this user")
    if whole == Path.cwd() or whole in Path.cwd().parents:
        raise BundleError(f"{folder} is the folder that you are in; name one for the bundle")
    if not folder.exists() or is_bundle(folder):
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is a file; give a folder for the bundle")
    if any(folder.iterdir()):
        raise BundleError(f"{folder} holds something other than a bundle; choose another folder")


def _check_features(frozen: FrozenModel, blocks: Sequence[FeatureBlock]) -> None:
    read = 0 if frozen.features is None else len(frozen.features.is_count)
    given = sum(block.width for block in blocks)
    if read != given:
        raise ConfigError(
            f"the model reads {read} molecule-level features, the feature blocks make {given}"
        )


def _write_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write beside the target, then put the new folder in its place; the old one is never lost."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    old = beside / "old"
    try:
        fresh = beside / "new"
        fresh.mkdir()
        for name, content in files.items():
            with (fresh / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.replace(old)
        _put_in_place(fresh, folder, old)
    finally:
        if folder.exists() or not old.exists():
            shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(fresh: Path, folder: Path, old: Path) -> None:
    """Move the new folder, or put the old one back."""
    try:
        fresh.replace(folder)
    except OSError as error:
        if not old.exists():
            raise
        try:
            old.replace(folder)
        except OSError:
            raise BundleError(
                f"{folder} cannot be written ({error.strerror}); what was there is kept in {old}"
            ) from error
        raise


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # onnxruntime-gpu goes by another name
            found[name] = "unknown"
    return found
