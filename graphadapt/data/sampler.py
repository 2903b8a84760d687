"""Which tasks and which molecules make a training step.

Stateless: a step's draw depends on the seed and the step's number only, so a resumed run
sees the batches that an uninterrupted one would. Axes: G molecules, T tasks, S drawn tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from graphadapt.config import SamplerConfig
from graphadapt.errors import ConfigError, DataError

__all__ = ["Draw", "TaskSampler"]

DrawKind = Literal["all", "neighbourhood", "random"]

STEP_STREAM, EPOCH_STREAM = 0, 1  # keep a step's and an epoch's random numbers apart
TRY_SHARE = 8  # trying this part of all molecules costs about as much as listing the labelled


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """One step's molecules, tasks and composition."""

    rows: NDArray[np.int64]
    """Molecules, each in [0, G), none twice."""

    tasks: NDArray[np.int64]
    """(S,) the task set, ascending."""

    composition: NDArray[np.float32]
    """(T,) w: uniform on the task set, 0 elsewhere, sum 1."""

    kind: DrawKind
    """How the task set was chosen."""


class TaskSampler:
    """Draw task sets along the relation graph, and molecules that are labelled in them.

    A share ``neighbourhood`` of the steps takes a random task with its strongest neighbours
    (ties broken at random, random tasks where it has too few), a share ``random`` a uniform random
    set; their molecules are a uniform sample of those with a training cell in the set, all of
    them if they are fewer than a batch. The other steps take all tasks and walk a permutation of
    the training molecules that is new in every epoch. With both shares 0 an epoch is therefore one
    permutation: every molecule with a training cell exactly once.

    A last batch that would leave a process fewer than two molecules is dropped, as batch norm
    needs two; a task set with so few labelled molecules is filled up with others.

    Args:
        train_mask_GT: the training cells.
        relation_TT: weights of the relation graph, at least 0.
        config: batch size, size of a task set and the shares.
        seed: at least 0.
        processes: how many will share every batch by :meth:`shard`.

    Raises:
        DataError: if there are too few training molecules, or the relation has other tasks.
        ConfigError: if the seed is negative or the batch too small for the processes.
    """

    def __init__(
        self,
        train_mask_GT: NDArray[np.bool_],
        relation_TT: NDArray[np.float32],
        config: SamplerConfig,
        seed: int,
        processes: int = 1,
    ) -> None:
        self.config = config
        self.seed = seed
        self._mask_GT = train_mask_GT
        self._tasks = train_mask_GT.shape[1]
        self._relation_TT = relation_TT
        self._least = 2 * processes
        self._molecules = np.flatnonzero(train_mask_GT.any(axis=1))
        self._starts, self._labelled = _labelled_molecules(train_mask_GT)
        self._drawable_T = np.diff(self._starts) > 0
        self._check()
        self._epoch_order = (-1, self._molecules)

    def _check(self) -> None:
        tasks = self._tasks
        if self._relation_TT.shape != (tasks, tasks):
            raise DataError(
                f"the relation is {self._relation_TT.shape}, but there are {tasks} tasks; "
                f"give ({tasks}, {tasks})"
            )
        if len(self._molecules) < self._least:
            raise DataError(
                f"{len(self._molecules)} molecules have a training label; "
                f"a batch needs at least {self._least}"
            )
        if self.config.batch_size < self._least:
            raise ConfigError(
                f"sampler.batch_size={self.config.batch_size} leaves a process fewer than "
                f"2 molecules; use at least {self._least}"
            )
        if self.seed < 0:
            raise ConfigError(f"seed={self.seed} is negative; use 0 or above")

    @property
    def steps_per_epoch(self) -> int:
        """Batches that one walk over the training molecules takes."""
        whole, rest = divmod(len(self._molecules), self.config.batch_size)
        return whole + (rest >= self._least)

    def draw(self, step: int) -> Draw:
        """The global batch of a step, counted from 0 over all epochs."""
        random = np.random.default_rng([self.seed, step, STEP_STREAM])
        kind = self._kind(random.random())
        if kind == "all":
            tasks_S = np.arange(self._tasks)
            rows = self._walk(step)
        else:
            tasks_S = self._task_set(kind, random)
            rows = self._labelled_in(tasks_S, random)
        composition_T = np.zeros(self._tasks, np.float32)
        composition_T[tasks_S] = 1.0 / len(tasks_S)
        return Draw(rows, tasks_S, composition_T, kind)

    @staticmethod
    def shard(rows: NDArray[np.int64], rank: int, world: int) -> NDArray[np.int64]:
        """The part of a batch for process ``rank`` of ``world``: disjoint, sizes alike within 1."""
        if not 0 <= rank < world:
            raise ConfigError(f"rank={rank} is not one of {world} processes; use 0 to {world - 1}")
        return rows[rank::world]

    def _kind(self, chance: float) -> DrawKind:
        if chance < self.config.neighbourhood:
            return "neighbourhood"
        if chance < self.config.neighbourhood + self.config.random:
            return "random"
        return "all"

    def _walk(self, step: int) -> NDArray[np.int64]:
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch_order[0] != epoch:
            random = np.random.default_rng([self.seed, epoch, EPOCH_STREAM])
            self._epoch_order = (epoch, random.permutation(self._molecules))
        start = place * self.config.batch_size
        return self._epoch_order[1][start : start + self.config.batch_size]

    def _task_set(self, kind: DrawKind, random: np.random.Generator) -> NDArray[np.int64]:
        """Tasks with a training cell: the first of an order that begins with the wanted ones."""
        order_T = random.permutation(np.flatnonzero(self._drawable_T))
        if kind == "neighbourhood":
            strength_T = self._relation_TT[order_T[0], order_T].astype(np.float64)
            strength_T[0] = np.inf
            # stable, so equally strong tasks stay in their random order
            order_T = order_T[np.argsort(-strength_T, kind="stable")]
        return np.sort(order_T[: self.config.task_count])

    def _labelled_in(
        self, tasks_S: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.int64]:
        rows = self._first_labelled(tasks_S, random)
        if len(rows) < self.config.batch_size:
            found_G = np.zeros(len(self._mask_GT), np.bool_)
            for task in tasks_S:
                found_G[self._labelled[self._starts[task] : self._starts[task + 1]]] = True
            rows = _sample(np.flatnonzero(found_G), self.config.batch_size, random)
        missing = max(0, self._least - len(rows))
        if not missing:
            return rows
        others = np.setdiff1d(self._molecules, rows)
        return np.concatenate([rows, _sample(others, missing, random)])

    def _first_labelled(
        self, tasks_S: NDArray[np.int64], random: np.random.Generator
    ) -> NDArray[np.int64]:
        """A batch found by trying molecules at random; less than a batch if that fails.

        Just as uniform as sampling from all that are labelled, and much faster where one of the
        tasks has many labels, which is what it is tried for.
        """
        longest = int((self._starts[tasks_S + 1] - self._starts[tasks_S]).max())
        tries = 2 * self.config.batch_size * len(self._molecules) // longest
        if tries > len(self._molecules) // TRY_SHARE:
            return self._molecules[:0]
        tried = _sample(self._molecules, tries, random)
        found = self._mask_GT[tried[:, None], tasks_S].any(axis=1)
        return tried[found][: self.config.batch_size]


def _labelled_molecules(
    mask_GT: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Molecules with a cell, task after task, and where each task's begin, ``(T + 1,)``."""
    mask_TG = np.ascontiguousarray(mask_GT.T)
    lists: Sequence[NDArray[np.int32]] = [
        np.flatnonzero(mask_G).astype(np.int32) for mask_G in mask_TG
    ]
    starts = np.concatenate([[0], np.cumsum([len(rows) for rows in lists], dtype=np.int64)])
    return starts, np.concatenate(lists)


def _sample(rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.int64]:
    """``count`` of the rows without replacement in random order; all if they are no more."""
    if len(rows) <= count:
        return random.permutation(rows)
    return random.choice(rows, count, replace=False)
