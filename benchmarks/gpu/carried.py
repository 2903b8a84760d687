"""Molecules and exported bundles as arrays of the file that the GPU benchmark takes along.

Shapes: G molecules, P probe molecules, M molecule features, W columns of answers: one a task, and
one more for each further output of the model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.ragged import GraphColumns, offsets_of

__all__ = ["CarriedBundle", "bundles_from", "columns_from", "pack_bundle", "pack_columns"]

Packed = Mapping[str, NDArray[Any]]


def pack_columns(columns: GraphColumns, prefix: str = "") -> dict[str, NDArray[Any]]:
    """Molecules, by names that start alike."""
    return {
        f"{prefix}atoms": columns.atoms,
        f"{prefix}bonds": columns.bonds,
        f"{prefix}bond_features": columns.bond_features,
        f"{prefix}atom_counts": np.diff(columns.atom_offsets).astype(np.int16),
        f"{prefix}bond_counts": np.diff(columns.bond_offsets).astype(np.int16),
    }


def columns_from(packed: Packed, prefix: str = "") -> GraphColumns:
    """What :func:`pack_columns` gave."""
    return GraphColumns(
        packed[f"{prefix}atoms"],
        packed[f"{prefix}bonds"],
        packed[f"{prefix}bond_features"],
        offsets_of(packed[f"{prefix}atom_counts"]),
        offsets_of(packed[f"{prefix}bond_counts"]),
    )


@dataclass(frozen=True)
class CarriedBundle:
    """A bundle, its probe molecules, and what PyTorch answers to them in float64."""

    contract: str
    """Content of ``bundle.json``."""

    model: bytes
    """Content of the ONNX file."""

    probes: GraphColumns
    features: NDArray[np.float32]
    """(P, M) of the probes; M is 0 where the model reads none."""

    answers: NDArray[np.float64]
    """(P, W)."""

    scale: NDArray[np.float64]
    """(P, W): a difference counts as a share of it."""


def pack_bundle(folder: Path, number: int) -> dict[str, NDArray[Any]]:
    """A bundle that answers by one composition; this needs RDKit, and what it gives does not.

    Args:
        folder: of the bundle.
        number: of the bundle in the file, from 0 on.
    """
    from graphadapt.export.bundle_files import read_bundle_files
    from graphadapt.export.contract import MODEL_FILE
    from graphadapt.export.verify import probe_cases

    contract, contents = read_bundle_files(folder)
    (case,) = probe_cases(folder, contract, contents, {})
    none = np.zeros((len(case.probes.molecules), 0), np.float32)
    packed = {
        "contract": np.array(contract.to_text()),
        "model": np.frombuffer(contents[MODEL_FILE], np.uint8),
        "features": none if case.probes.features is None else case.probes.features,
        "answers": case.truth.answers,
        "scale": case.truth.scale,
        **pack_columns(GraphColumns.from_molecules(case.probes.molecules)),
    }
    return {f"bundle/{number}/{name}": array for name, array in packed.items()}


def bundles_from(packed: Packed) -> tuple[CarriedBundle, ...]:
    """Every bundle in the file, in order."""
    found = []
    while f"bundle/{len(found)}/model" in packed:
        prefix = f"bundle/{len(found)}/"
        found.append(
            CarriedBundle(
                str(packed[f"{prefix}contract"]),
                packed[f"{prefix}model"].tobytes(),
                columns_from(packed, prefix),
                packed[f"{prefix}features"],
                packed[f"{prefix}answers"],
                packed[f"{prefix}scale"],
            )
        )
    return tuple(found)
