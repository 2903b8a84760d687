"""The relation matrix that training labels imply: shrunk correlations of co-measured cells.

Axes: G graphs (molecules), T tasks.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.relation.matrix import Relation, strongest_neighbours

__all__ = ["label_relation"]

CHUNK = 4096  # molecules a matrix product sees at once, which bounds memory
CONSTANT = 1e-10  # share of the mean square below which a variance is rounding noise

Floats: TypeAlias = NDArray[np.float64]


def label_relation(
    labels_GT: NDArray[np.float32],
    train_mask_GT: NDArray[np.bool_],
    task_names: Sequence[str],
    *,
    shrinkage: float,
    minimum_overlap: int,
    neighbours: int,
) -> Relation:
    r"""Correlate every pair of tasks over the molecules that both were measured on.

    .. math:: A_{ij} = \max\left(0, \frac{n_{ij}}{n_{ij} + n_0} \rho_{ij}\right)

    with :math:`n_{ij}` co-measured training molecules and Pearson's :math:`\rho_{ij}`, which is
    the φ coefficient of two binary tasks and the point-biserial correlation of a mixed pair. A
    pair with fewer than ``minimum_overlap`` molecules, or constant on them, has no edge. Then
    each row keeps its strongest entries and the matrix is symmetrised.

    Args:
        labels_GT: labels, NaN where missing.
        train_mask_GT: the training cells; no other cell is read.
        task_names: T names.
        shrinkage: :math:`n_0`, at least 0.
        minimum_overlap: fewest co-measured molecules of an edge, at least 2.
        neighbours: m, entries kept per row before symmetrising, at least 1.

    Raises:
        DataError: if the shapes differ or a training label is infinite.

    References:
        Shrinkage towards no relation follows Schäfer and Strimmer, 2005, in its simplest form.
    """
    if not labels_GT.shape == train_mask_GT.shape == (len(labels_GT), len(task_names)):
        raise DataError(
            f"labels {labels_GT.shape}, training mask {train_mask_GT.shape} and "
            f"{len(task_names)} task names do not fit; give (molecules, tasks) twice"
        )
    sums = _pair_sums(labels_GT, train_mask_GT)
    shrunk_TT = _correlation(sums) * (sums.cells / (sums.cells + max(shrinkage, 1e-300)))
    shrunk_TT[sums.cells < minimum_overlap] = 0.0
    np.fill_diagonal(shrunk_TT, 0.0)
    weights_TT = strongest_neighbours(np.maximum(shrunk_TT, 0.0), neighbours)
    return Relation(
        weights=weights_TT.astype(np.float32),
        signed=shrunk_TT.astype(np.float32),
        overlap=sums.cells.astype(np.int32),
        kind="labels",
        task_names=tuple(task_names),
    )


class _PairSums(NamedTuple):
    """Sums over co-measured molecules; entry (i, j) is about task i where j is measured too."""

    cells: Floats
    value: Floats
    square: Floats
    product: Floats


def _pair_sums(labels_GT: NDArray[np.float32], mask_GT: NDArray[np.bool_]) -> _PairSums:
    tasks = labels_GT.shape[1]
    centre_T = _task_means(labels_GT, mask_GT)
    sums = _PairSums(*np.zeros((4, tasks, tasks)))
    for value_gT, seen_gT in _observed_chunks(labels_GT, mask_GT):
        centred_gT = (value_gT - centre_T) * seen_gT
        sums.cells[:] += seen_gT.T @ seen_gT
        sums.value[:] += centred_gT.T @ seen_gT
        sums.square[:] += np.square(centred_gT).T @ seen_gT
        sums.product[:] += centred_gT.T @ centred_gT
    return sums


def _task_means(labels_GT: NDArray[np.float32], mask_GT: NDArray[np.bool_]) -> Floats:
    total_T = np.zeros(labels_GT.shape[1])
    count_T = np.zeros(labels_GT.shape[1])
    for value_gT, seen_gT in _observed_chunks(labels_GT, mask_GT):
        total_T += value_gT.sum(axis=0)
        count_T += seen_gT.sum(axis=0)
    if not np.isfinite(total_T).all():
        raise DataError("a training label is infinite; give finite numbers or leave it empty")
    return total_T / np.maximum(count_T, 1.0)


def _observed_chunks(
    labels_GT: NDArray[np.float32], mask_GT: NDArray[np.bool_]
) -> Iterator[tuple[Floats, Floats]]:
    """Labels with 0 where unseen, and 1/0 where seen, some molecules at a time."""
    for start in range(0, len(labels_GT), CHUNK):
        label_gT = labels_GT[start : start + CHUNK]
        seen_gT = mask_GT[start : start + CHUNK] & ~np.isnan(label_gT)
        yield np.where(seen_gT, label_gT, 0.0).astype(np.float64), seen_gT.astype(np.float64)


def _correlation(sums: _PairSums) -> Floats:
    """Pearson correlation of every pair; 0 where either task is constant."""
    cells_TT = np.maximum(sums.cells, 1.0)
    spread_TT = sums.square - np.square(sums.value) / cells_TT
    spread_TT[spread_TT <= CONSTANT * sums.square] = 0.0
    joint_TT = sums.product - sums.value * sums.value.T / cells_TT
    scale_TT = np.sqrt(spread_TT) * np.sqrt(spread_TT.T)
    correlation_TT = np.zeros_like(joint_TT)
    np.divide(joint_TT, scale_TT, out=correlation_TT, where=scale_TT > 0)
    # BLAS may sum (i, j) and (j, i) in another order
    return np.clip((correlation_TT + correlation_TT.T) / 2, -1.0, 1.0)
