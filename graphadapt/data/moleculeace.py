"""The bundled MoleculeACE matrix: 30 targets of bioactivity, read without a network.

Shapes: G = 35,633 molecules, T = 30 targets, 48,714 labelled cells.

Licence and attribution lie beside the files, in ``graphadapt/data/moleculeace``.
"""

import csv
import gzip
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final

import numpy as np

from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import SPLIT_CODES, UNUSED
from graphadapt.data.store import TaskInfo

__all__ = ["MOLECULEACE_UNITS", "moleculeace_source"]

MOLECULEACE_UNITS: Final = "-log10(nmol/L)"
"""Of the labels: the negative decimal logarithm of Ki or EC50 in nmol/L."""


def moleculeace_source(tasks: Sequence[str] = ()) -> MoleculeSource:
    """The matrix with its official split and the flag ``cliff``.

    A molecule may train one target and test another, so the split is per cell. It has no
    validation part.

    Args:
        tasks: targets such as ``CHEMBL204_Ki``; otherwise all 30. With a choice, molecules
            without a label for it are left out.

    Raises:
        DataError: for an unknown target.
    """
    smiles = _lines("molecules.smi.gz")
    rows = list(csv.DictReader(_lines("measurements.csv.gz")))
    names = sorted({row["target"] for row in rows})
    molecule = np.array([int(row["molecule"]) for row in rows])
    target = np.array([names.index(row["target"]) for row in rows])
    shape = (len(smiles), len(names))
    labels_GT = np.full(shape, np.nan, np.float32)
    labels_GT[molecule, target] = -np.log10([float(row["nanomolar"]) for row in rows])
    split_GT = np.full(shape, UNUSED, np.uint8)
    split_GT[molecule, target] = [SPLIT_CODES[row["split"]] for row in rows]
    cliff_GT = np.zeros(shape, np.bool_)
    cliff_GT[molecule, target] = [row["cliff"] == "1" for row in rows]
    source = MoleculeSource(
        name="moleculeace",
        smiles=smiles,
        labels=labels_GT,
        tasks=tuple(TaskInfo(name, "regression", MOLECULEACE_UNITS) for name in names),
        row_numbers=np.arange(1, len(smiles) + 1),
        split=split_GT,
        metric="rmse",
        flags={"cliff": cliff_GT},
        curated=True,
    )
    return _labelled(source.choose_tasks(tasks)) if tasks else source


def _labelled(source: MoleculeSource) -> MoleculeSource:
    return source.take(np.flatnonzero(~np.isnan(source.labels).all(axis=1)))


def _lines(name: str) -> list[str]:
    packed = resources.files("graphadapt.data") / "moleculeace" / name
    text: Iterable[str] = gzip.decompress(packed.read_bytes()).decode("utf-8").splitlines()
    return list(text)
