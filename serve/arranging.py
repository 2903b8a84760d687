"""Molecules to the arrays of each run, in the form that a bundle takes.

Shapes: G molecules, M molecule features.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.export.collate import Inputs, inputs_for, largest_degree
from graphadapt.export.contract import BundleContract
from graphadapt.export.contract_parts import Bucket
from graphadapt.export.padding import PADDED, pad
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.serve.batches import (
    FEWEST_ATOMS,
    batches_by_size,
    batches_in_buckets,
    batches_of_like_size,
)

__all__ = ["Arranged", "Arranger"]


class Arranged(NamedTuple):
    """One batch, ready to run."""

    rows: NDArray[np.int64]
    """Positions of its molecules; the arrays may hold more, which stand for nothing."""

    inputs: Inputs
    alone: bool
    """Whether there is no other batch to share the threads with."""

    is_last: bool
    """Whether no other batch follows."""

    recurs: bool = False
    """Whether its arrays have the shape of one of the bundle's buckets."""


class _Batch(NamedTuple):
    rows: NDArray[np.int64]
    """Positions of the molecules."""

    make: Callable[[Sequence[MoleculeArrays], NDArray[np.float32] | None], Inputs]
    """Arranges them, with their features."""

    recurs: bool = False


@dataclass(frozen=True, slots=True)
class Arranger:
    """Makes the arrays of a bundle's runs."""

    contract: BundleContract
    atoms_per_run: int
    shares: int
    """Runs that are made side by side."""

    keeps_shapes: bool = False
    """Whether every run has to take the shape of one of the bundle's buckets, where one holds its
    molecules."""

    def arrange(
        self, molecules: Sequence[MoleculeArrays], features_GM: NDArray[np.float32] | None
    ) -> Iterator[Arranged]:
        """The arrays of each batch, made as they are asked for.

        Args:
            molecules: none has more bonds at an atom than the bundle takes.
            features_GM: one row a molecule, if the model reads features.

        Raises:
            DataError: if the features are missing or of another shape.
        """
        self._check_features(len(molecules), features_GM)
        is_padded = not set(PADDED).isdisjoint(self.contract.reads)
        batches = self._padded(molecules) if is_padded else self._merged(molecules)
        count = len(batches)
        for number, (rows, make, recurs) in enumerate(batches, start=1):
            features = None if features_GM is None else features_GM[rows]
            inputs = make([molecules[row] for row in rows.tolist()], features)
            yield Arranged(rows, inputs, count == 1, number == count, recurs)

    def _check_features(self, count: int, features_GM: NDArray[np.float32] | None) -> None:
        if "features" not in self.contract.reads:
            return
        wanted = count, sum(block.width for block in self.contract.feature_blocks)
        if features_GM is None or features_GM.shape != wanted:
            given = "none" if features_GM is None else f"an array of {list(features_GM.shape)}"
            raise DataError(
                f"the model reads features of shape {list(wanted)} with {count} molecules; "
                f"{given} was given"
            )

    def _merged(self, molecules: Sequence[MoleculeArrays]) -> list[_Batch]:
        sizes = [len(each.atoms) for each in molecules]
        found: list[_Batch] = []
        for rows in batches_by_size(sizes, self.atoms_per_run, self.shares):
            merge = sum(sizes[row] for row in rows.tolist()) >= self.contract.merge_from
            found.append(_Batch(rows, partial(inputs_for, self.contract.reads, merge=merge)))
        return found

    def _padded(self, molecules: Sequence[MoleculeArrays]) -> list[_Batch]:
        sizes = [len(each.atoms) for each in molecules]
        slots = [largest_degree(each) for each in molecules]
        if self.keeps_shapes:
            batches = batches_in_buckets(sizes, slots, self.contract.buckets)
        else:
            batches = batches_of_like_size(sizes, slots, self._share_of(sum(sizes)))
        return [_Batch(each.rows, partial(self._pad, each.shape), each.recurs) for each in batches]

    def _share_of(self, atoms: int) -> int:
        """Atoms of a batch, such that every thread gets one."""
        return min(self.atoms_per_run, max(FEWEST_ATOMS, -(-atoms // self.shares)))

    def _pad(
        self,
        shape: Bucket,
        molecules: Sequence[MoleculeArrays],
        features_GM: NDArray[np.float32] | None,
    ) -> Inputs:
        arrays = pad(molecules, features_GM, **asdict(shape))
        return {name: arrays[name] for name in self.contract.reads}
