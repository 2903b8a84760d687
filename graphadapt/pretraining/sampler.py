"""Which molecules of which store make a pretraining step.

Stateless: a step's draw depends on the seed and the step's number only, so a resumed run sees the
batches that an uninterrupted one would.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError, DataError

__all__ = ["CorpusSampler", "held_out_rows"]

HOLD_OUT_STREAM = 8128
"""Seed of the choice of held-out molecules, the same in all runs."""

SHARE_UNIT = 10**6
"""Given shares are rounded to this part."""


def held_out_rows(count: int, fraction: float) -> NDArray[np.int64]:
    """A fixed random choice of ``fraction`` of ``count`` rows, at least one, ascending."""
    order = np.random.default_rng([HOLD_OUT_STREAM, count]).permutation(count)
    return np.sort(order[: max(1, round(fraction * count))])


class CorpusSampler:
    r"""Walk every store's molecules in permutations of its own, at a speed of its own.

    Up to step s, store c has given :math:`\lfloor s B p_c \rfloor` molecules, with batch size B and
    share :math:`p_c`; so shares hold exactly in the long run, however small, and a batch has B
    molecules give or take one a store. By default :math:`p_c` is the store's part of all training
    molecules, and an epoch shows each of them once.

    Args:
        rows: training rows of every store.
        shares: :math:`p_c` up to a factor; empty is by size.
        batch_size: B.
        seed: at least 0.
        processes: how many will share every batch by :meth:`shard`.

    Raises:
        DataError: if a store has no training molecule.
        ConfigError: if a batch is too small for the processes, or the seed negative.
    """

    def __init__(
        self,
        rows: Sequence[NDArray[np.int64]],
        shares: Sequence[float],
        batch_size: int,
        seed: int,
        processes: int = 1,
    ) -> None:
        self.rows = tuple(rows)
        self.batch_size = batch_size
        self.seed = seed
        sizes = [len(part) for part in rows]
        if min(sizes) == 0:
            raise DataError(
                f"store {sizes.index(0) + 1} of the corpus has no training molecule; lower "
                "corpus.held_out or leave the store out"
            )
        # A batch may miss one molecule a store, and every process needs two.
        least = 2 * processes + (len(sizes) if len(sizes) > 1 else 0)
        if batch_size < least:
            raise ConfigError(
                f"corpus.batch_size={batch_size} is too small for {processes} processes and "
                f"{len(sizes)} stores; use at least {least}"
            )
        if seed < 0:
            raise ConfigError(f"trainer.seed={seed} is negative; use 0 or above")
        total = sum(shares)
        self._parts = [round(SHARE_UNIT * share / total) for share in shares] or sizes
        self._orders: list[dict[int, NDArray[np.int64]]] = [{} for _ in sizes]

    @property
    def steps_per_epoch(self) -> int:
        """Batches that show about as many molecules as there are."""
        return max(1, sum(map(len, self.rows)) // self.batch_size)

    def draw(self, step: int) -> tuple[NDArray[np.int64], ...]:
        """Rows of every store in a step's whole batch, steps counted from 0."""
        return tuple(
            self._between(store, self._given(store, step), self._given(store, step + 1))
            for store in range(len(self.rows))
        )

    @staticmethod
    def shard(
        draw: Sequence[NDArray[np.int64]], rank: int, world: int
    ) -> tuple[NDArray[np.int64], ...]:
        """The part of a batch for process ``rank`` of ``world``: disjoint, sizes alike within 1."""
        shards, passed = [], 0
        for rows in draw:
            shards.append(rows[(rank - passed) % world :: world])
            passed += len(rows)
        return tuple(shards)

    def drawn(self, steps: int) -> tuple[NDArray[np.int64], ...]:
        """Rows of every store that the first ``steps`` steps show at least once."""
        return tuple(
            np.unique(self._between(store, 0, min(self._given(store, steps), len(rows))))
            for store, rows in enumerate(self.rows)
        )

    def _given(self, store: int, steps: int) -> int:
        """Molecules that a store has given before step ``steps``."""
        return steps * self.batch_size * self._parts[store] // sum(self._parts)

    def _between(self, store: int, first: int, end: int) -> NDArray[np.int64]:
        """Places ``first`` to ``end`` of the store's endless walk."""
        size = len(self.rows[store])
        pieces = [self.rows[store][:0]]
        while first < end:
            walk, place = divmod(first, size)
            piece = self._order(store, walk)[place : place + end - first]
            pieces.append(piece)
            first += len(piece)
        return np.concatenate(pieces)

    def _order(self, store: int, walk: int) -> NDArray[np.int64]:
        """A walk's permutation; a store's last two are kept."""
        orders = self._orders[store]
        if walk not in orders:
            if len(orders) == 2:
                del orders[next(iter(orders))]
            random = np.random.default_rng([self.seed, store, walk])
            orders[walk] = random.permutation(self.rows[store])
        return orders[walk]
