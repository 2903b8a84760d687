"""Relation matrices that know nothing of the tasks, for comparison.

Axes: T tasks.
"""

from collections.abc import Sequence

import numpy as np

from graphadapt.relation.matrix import Relation

__all__ = ["identity_relation", "shuffled_relation", "uniform_relation"]


def identity_relation(task_names: Sequence[str]) -> Relation:
    """No edge at all: every task for itself."""
    tasks = len(task_names)
    return Relation.from_weights(np.zeros((tasks, tasks), np.float32), "identity", task_names)


def uniform_relation(task_names: Sequence[str]) -> Relation:
    """Every pair related with weight 1."""
    tasks = len(task_names)
    weights_TT = 1.0 - np.eye(tasks, dtype=np.float32)
    return Relation.from_weights(weights_TT, "uniform", task_names)


def shuffled_relation(relation: Relation, seed: int) -> Relation:
    """The same matrix with its tasks relabelled at random: right structure, wrong tasks.

    Weights, degrees and clusters stay as they are; only which task is which changes.
    """
    order_T = np.random.default_rng(seed).permutation(len(relation.task_names))
    moved = np.ix_(order_T, order_T)
    return Relation(
        weights=relation.weights[moved],
        signed=relation.signed[moved],
        overlap=relation.overlap[moved],
        kind="shuffled",
        task_names=relation.task_names,
    )
