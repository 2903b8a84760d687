r"""Shapes of the padded form, fitted to the sizes of the molecules that a model was trained on.

Shapes: G molecules, U distinct sizes, B buckets, N atoms and E bonds of all molecules.

A molecule stands in the smallest bucket that holds it, and every row of its bucket costs the same
whether it is an atom or not. The fewest buckets are taken with which at most a stated share of the
rows is padding,

.. math:: p = 1 - \frac{\sum_g n_g}{\sum_g a(g)},

where molecule g has :math:`n_g` atoms in a bucket of :math:`a(g)` rows. Where borders lie best for
B buckets follows exactly, from the best borders of B - 1.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.ragged import GraphColumns
from graphadapt.errors import ConfigError
from graphadapt.export.contract_parts import Bucket
from graphadapt.export.padding import BUCKETS, ROWS

__all__ = ["MOST_PADDING", "FittedBuckets", "buckets_for", "fit_buckets", "sizes_and_slots"]

MOST_PADDING: Final = 0.1
"""Share of the rows that may stand for no atom."""

_FEWEST_MOLECULES: Final = 200
"""Fewer do not say how large molecules are."""

_LOOKED_AT: Final = 50_000
"""Molecules, by chance, whose sizes stand for all."""

_MOST_BUCKETS: Final = 12
"""Each is a graph for every batch size on a device, and a model of its own under Triton."""

_USUAL, _RARE = 0.99, 0.999
"""Shares of the molecules: so many find slots enough in every bucket, and so many fit the last."""


class FittedBuckets(NamedTuple):
    """Shapes, and what they mean for the molecules that they were fitted to."""

    buckets: tuple[Bucket, ...]
    """The smallest first."""

    padding: float
    """p, of the molecules that fit; above what was asked for if even the most buckets leave more.
    """

    outside: float
    """Share of the molecules that no bucket holds, which are run in shapes of their own."""

    def to_dict(self) -> dict[str, Any]:
        """Both shares, for the record."""
        return {"padding": self.padding, "outside": self.outside}


def buckets_for(columns: GraphColumns, rows_P: NDArray[np.integer]) -> FittedBuckets:
    """Buckets fitted to some molecules of a store, or those of drug-like ones if they are few.

    Args:
        columns: of the store.
        rows_P: the training molecules, at least one.
    """
    drawn_P = np.random.default_rng(0).permutation(rows_P)[:_LOOKED_AT]
    sizes_P, slots_P = sizes_and_slots(columns.take(np.sort(drawn_P)))
    if len(rows_P) < _FEWEST_MOLECULES:
        return _fitted(BUCKETS, sizes_P, slots_P)
    return fit_buckets(sizes_P, slots_P)


def fit_buckets(
    sizes_G: NDArray[np.integer],
    slots_G: NDArray[np.integer],
    most_padding: float = MOST_PADDING,
    most_buckets: int = _MOST_BUCKETS,
) -> FittedBuckets:
    """The fewest buckets that leave at most so much padding.

    The last holds all but one molecule in a thousand. The others have as many slots as 99 % of the
    molecules need, because each slot costs a share of every run; the rest stands in the last.

    Args:
        sizes_G: atoms of each molecule.
        slots_G: most bonds of one atom of each.
        most_padding: p, in [0, 1).
        most_buckets: at least 1.

    Raises:
        ConfigError: if there are no molecules, or a setting is out of range.

    Example:
        >>> fitted = fit_buckets(np.array([10, 10, 30, 30]), np.array([3, 3, 4, 2]), 0.3)
        >>> [(bucket.atoms, bucket.slots) for bucket in fitted.buckets], fitted.padding
        ([(10, 4), (30, 4)], 0.0)
    """
    if not 0 <= most_padding < 1 or most_buckets < 1:
        raise ConfigError(
            f"most_padding={most_padding} with {most_buckets} buckets cannot be fitted; use a "
            "share of 0 up to below 1 and at least 1 bucket"
        )
    if not len(sizes_G):
        raise ConfigError("no molecules to fit buckets to; give at least one")
    largest, most_slots = _holding(sizes_G, _RARE), max(1, _holding(slots_G, _RARE))
    usual_slots = max(1, _holding(slots_G, _USUAL))
    sizes_U, counts_U = np.unique(sizes_G[sizes_G <= largest], return_counts=True)
    for borders in _best_borders(sizes_U, counts_U, most_buckets):
        slots = [usual_slots] * (len(borders) - 1) + [most_slots]
        fitted = _fitted(list(map(_bucket, borders, slots)), sizes_G, slots_G)
        if fitted.padding <= most_padding:
            break
    return fitted


def sizes_and_slots(columns: GraphColumns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Atoms of each molecule, and the most bonds of one atom of each, ``(G,)``."""
    first_G, sizes_G = columns.atom_offsets[:-1], np.diff(columns.atom_offsets)
    first_E = first_G.repeat(np.diff(columns.bond_offsets))
    ends_E2 = columns.bonds + first_E[:, None]
    degree_N = np.bincount(ends_E2.reshape(-1), minlength=len(columns.atoms))
    return sizes_G, np.maximum.reduceat(degree_N, first_G)


def _holding(values_G: NDArray[np.integer], share: float) -> int:
    """The smallest of the values that is not below so many of them."""
    return int(np.quantile(values_G, share, method="inverted_cdf"))


def _best_borders(
    sizes_U: NDArray[np.integer], counts_U: NDArray[np.integer], most: int
) -> Sequence[list[int]]:
    r"""For one bucket, two, and so on: the atoms of each, such that the fewest rows are needed.

    With :math:`R_b(j)` the fewest rows for the j smallest sizes in b buckets,
    :math:`R_b(j) = \min_i R_{b-1}(i) + a_j \sum_{i<k\le j} c_k`.
    """
    until_V = np.concatenate([[0], np.cumsum(counts_U)])
    # rows of one bucket that holds the sizes after the i-th up to the j-th
    rows_VU = (until_V[None, 1:] - until_V[:-1, None]) * sizes_U.astype(np.float64)
    rows_VU[np.tril_indices(len(sizes_U), -1)] = np.inf
    fewest_U, before, found = rows_VU[0], list[NDArray[np.int64]](), [[int(sizes_U[-1])]]
    for _ in range(1, min(most, len(sizes_U))):
        through_VU = np.concatenate([[0.0], fewest_U[:-1]])[:, None] + rows_VU
        before.append(through_VU.argmin(axis=0))
        fewest_U = through_VU.min(axis=0)
        found.append(_traced(sizes_U, before))
    return found


def _traced(sizes_U: NDArray[np.integer], before: Sequence[NDArray[np.int64]]) -> list[int]:
    """Follow the choices back from the largest size."""
    last, borders = len(sizes_U) - 1, [int(sizes_U[-1])]
    for choice_U in reversed(before):
        last = int(choice_U[last]) - 1
        if last < 0:
            break
        borders.append(int(sizes_U[last]))
    return borders[::-1]


def _bucket(atoms: int, slots: int) -> Bucket:
    return Bucket(atoms=atoms, slots=slots, graphs=max(1, ROWS // atoms))


def _fitted(
    buckets: Sequence[Bucket], sizes_G: NDArray[np.integer], slots_G: NDArray[np.integer]
) -> FittedBuckets:
    """The buckets, and how molecules fare in them: each in the smallest that holds it."""
    rows_G = np.zeros(len(sizes_G), np.int64)
    for bucket in reversed(buckets):
        rows_G[(sizes_G <= bucket.atoms) & (slots_G <= bucket.slots)] = bucket.atoms
    held_G = rows_G > 0
    rows = int(rows_G.sum())
    padding = 1 - float(sizes_G[held_G].sum()) / rows if rows else 0.0
    return FittedBuckets(tuple(buckets), padding, float(np.mean(~held_G)))
