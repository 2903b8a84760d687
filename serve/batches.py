"""Which molecules are answered in one run of the network.

Shapes: G molecules. In the padded form, molecules of one run stand in blocks of one size. In the
others no row stands for nothing, whatever molecules meet in a run; all that is padded there are the
slots for messages, as many as the most bonds of one atom: of drug-like molecules about half.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError
from graphadapt.export.contract_parts import Bucket, bucket_for

__all__ = [
    "FEWEST_ATOMS",
    "MOST_FILLING",
    "MOST_PADDING",
    "PaddedBatch",
    "batches_by_size",
    "batches_in_buckets",
    "batches_of_like_size",
    "padding_share",
]

MOST_PADDING: Final = 0.1
"""Share of a padded batch's rows that may stand for no atom, where its shape is free."""

MOST_FILLING: Final = 0.5
"""Share of a bucket's molecules in one run that may stand for none."""

FEWEST_ATOMS: Final = 128
"""Atoms that are worth a run of their own."""


class PaddedBatch(NamedTuple):
    """Molecules of one run in the padded form."""

    rows: NDArray[np.int64]
    """Positions of the molecules."""

    shape: Bucket
    """Rows and slots of each molecule, and how many molecules the arrays hold."""

    recurs: bool = False
    """Whether the shape is that of a bucket, which other batches will have too."""


def batches_by_size(
    sizes_G: Sequence[int], most_atoms: int, shares: int = 1
) -> list[NDArray[np.int64]]:
    """Split molecules into batches of like size and about equally many atoms.

    Args:
        sizes_G: atoms of each molecule.
        most_atoms: atoms of a batch, about.
        shares: the number of batches is a multiple of this, where there are atoms enough.

    Returns:
        Positions of the molecules of each batch, the largest molecules first.

    Example:
        >>> [batch.tolist() for batch in batches_by_size([30, 90, 40, 20], 90)]
        [[1], [2, 0, 3]]
    """
    if len(sizes_G) < 2:
        return [np.zeros(1, np.int64)] if len(sizes_G) else []
    order_G = np.argsort(-np.asarray(sizes_G, np.int64), kind="stable")
    end_G = np.cumsum(np.asarray(sizes_G, np.int64)[order_G])
    count = _batch_count(int(end_G[-1]), most_atoms, shares)
    # A molecule belongs to the batch that its middle atom falls into.
    middle_G = end_G - np.asarray(sizes_G)[order_G] / 2
    batch_G = (middle_G * count / end_G[-1]).astype(np.int64)
    borders = np.flatnonzero(np.diff(batch_G)) + 1
    return np.split(order_G, borders)


def batches_of_like_size(
    sizes_G: Sequence[int],
    slots_G: Sequence[int],
    most_atoms: int,
    most_padding: float = MOST_PADDING,
) -> list[PaddedBatch]:
    """Split molecules into padded batches of any shape, of each of which little is padding.

    Molecules are taken from the largest on. A batch ends before the molecule with which more than
    ``most_padding`` of its rows, or more than ``most_atoms`` rows, would be there.

    Args:
        sizes_G: atoms of each molecule.
        slots_G: most bonds of one atom of each.
        most_atoms: rows of a batch of several molecules.
        most_padding: p, in [0, 1).

    Raises:
        ConfigError: if ``most_padding`` is out of range.
    """
    if not 0 <= most_padding < 1:
        raise ConfigError(f"most_padding={most_padding} is no share; use 0 up to below 1")
    order = sorted(range(len(sizes_G)), key=lambda row: -sizes_G[row])
    batches: list[list[int]] = []
    atoms = 0
    for row in order:
        if batches:
            rows = sizes_G[batches[-1][0]] * (len(batches[-1]) + 1)
            atoms += sizes_G[row]
            if rows <= most_atoms and rows - atoms <= most_padding * rows:
                batches[-1].append(row)
                continue
        batches.append([row])
        atoms = sizes_G[row]
    return [_tight(batch, sizes_G, slots_G) for batch in batches]


def batches_in_buckets(
    sizes_G: Sequence[int], slots_G: Sequence[int], buckets: Sequence[Bucket]
) -> list[PaddedBatch]:
    """Split molecules into batches of the given shapes, few of them and none half empty.

    Every molecule goes to the smallest bucket that holds it, and fills up whole batches of it. For
    what is left over there are arrays for 1, 4, 16, ... molecules, or for a whole batch where that
    is less. The smallest that hold all of it are taken if at most ``MOST_FILLING`` of them stays
    empty; else the next smaller ones are filled, and what remains is treated alike: 85 molecules
    of a bucket of 256 are run by 64, 16, 4 and 1, which is more runs than one in arrays for 256,
    two thirds of them padding. So a bucket has, beside its whole batches, at most one full run of
    each smaller size, and one that is not full.

    What does not fill a whole batch moves to the unfilled one of a larger bucket, where all of it
    finds room in it: that saves its runs. A molecule that no bucket holds gets a shape of its own.

    Args:
        sizes_G: atoms of each molecule.
        slots_G: most bonds of one atom of each.
        buckets: the shapes.
    """
    shapes, queues, alone = tuple(sorted(buckets)), [list[int]() for _ in buckets], list[int]()
    for row, (atoms, slots) in enumerate(zip(sizes_G, slots_G, strict=True)):
        bucket = bucket_for(shapes, atoms, slots)
        (alone if bucket is None else queues[shapes.index(bucket)]).append(row)
    for place in reversed(range(len(shapes))):
        _fill_up(place, shapes, queues, slots_G)
    batches = [_tight([row], sizes_G, slots_G) for row in alone]
    for shape, rows in zip(shapes, queues, strict=True):
        start = 0
        for count, graphs in _cuts(len(rows), shape):
            some = np.array(rows[start : start + count])
            batches.append(PaddedBatch(some, replace(shape, graphs=graphs), recurs=True))
            start += count
    return batches


def padding_share(sizes_G: Sequence[int], batches: Sequence[PaddedBatch]) -> float:
    """Share of all rows of padded batches that stand for no atom, in [0, 1)."""
    rows = sum(batch.shape.atoms * batch.shape.graphs for batch in batches)
    return 1 - sum(sizes_G) / rows if rows else 0.0


def _batch_count(atoms: int, most_atoms: int, shares: int) -> int:
    needed = -(-atoms // most_atoms)
    shared = -(-needed // shares) * shares
    return shared if atoms >= shared * FEWEST_ATOMS else max(needed, atoms // FEWEST_ATOMS, 1)


def _fill_up(
    place: int, shapes: tuple[Bucket, ...], queues: list[list[int]], slots_G: Sequence[int]
) -> None:
    """Move what is left over in smaller buckets into the places free in this one's last batch."""
    shape, queue = shapes[place], queues[place]
    for smaller in reversed(range(place)):
        held, graphs = _cuts(len(queue), shape)[-1] if queue else (0, 0)
        free = graphs - held
        count = len(queues[smaller]) % shapes[smaller].graphs
        left = queues[smaller][len(queues[smaller]) - count :]
        fitting = all(slots_G[row] <= shape.slots for row in left)
        if shapes[smaller].atoms <= shape.atoms and 0 < count <= free and fitting:
            queue += left
            del queues[smaller][-count:]


def _cuts(count: int, shape: Bucket) -> list[tuple[int, int]]:
    """Molecules of each batch of a bucket, and how many its arrays hold; unfilled ones last.

    Example:
        >>> shape = Bucket(atoms=32, slots=4, graphs=64)
        >>> _cuts(64 + 17, shape), _cuts(9, shape)
        ([(64, 64), (16, 16), (1, 1)], [(9, 16)])
        >>> _cuts(85, replace(shape, graphs=256))
        [(64, 64), (16, 16), (4, 4), (1, 1)]
    """
    full, left = divmod(count, shape.graphs)
    cuts = [(shape.graphs, shape.graphs)] * full
    while left:
        rung = 1
        while rung < left:
            rung *= 4
        held = min(rung, shape.graphs)
        taken = left if left >= (1 - MOST_FILLING) * held else rung // 4
        cuts.append((taken, held if taken == left else taken))
        left -= taken
    return cuts


def _tight(rows: Sequence[int], sizes_G: Sequence[int], slots_G: Sequence[int]) -> PaddedBatch:
    """A batch in the smallest shape that holds it."""
    atoms, slots = (max(counts[row] for row in rows) for counts in (sizes_G, slots_G))
    shape = Bucket(atoms=atoms, slots=max(1, slots), graphs=len(rows))
    return PaddedBatch(np.array(rows), shape)
