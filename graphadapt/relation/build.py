"""One call from relation settings to the matrix, whatever its construction.

Axes: G graphs (molecules), T tasks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphadapt.config import RelationConfig
from graphadapt.relation.controls import identity_relation, shuffled_relation, uniform_relation
from graphadapt.relation.estimate import label_relation
from graphadapt.relation.file import read_relation
from graphadapt.relation.matrix import Relation

__all__ = ["build_relation"]


def build_relation(
    config: RelationConfig,
    labels_GT: NDArray[np.float32],
    train_mask_GT: NDArray[np.bool_],
    task_names: Sequence[str],
    seed: int,
) -> Relation:
    """Make the relation that ``config.kind`` names.

    Args:
        config: the construction and its settings.
        labels_GT: labels, NaN where missing; read by ``labels`` and ``shuffled`` only.
        train_mask_GT: the training cells; no other cell is read.
        task_names: T names; their kinds do not matter, φ and Pearson's ρ are one formula.
        seed: of the ``shuffled`` relabelling, at least 0.
    """
    if config.kind == "identity":
        return identity_relation(task_names)
    if config.kind == "uniform":
        return uniform_relation(task_names)
    if config.kind == "file":
        return read_relation(Path(config.file), task_names)
    relation = label_relation(
        labels_GT,
        train_mask_GT,
        task_names,
        shrinkage=config.shrinkage,
        minimum_overlap=config.minimum_overlap,
        neighbours=config.neighbours,
    )
    return shuffled_relation(relation, seed) if config.kind == "shuffled" else relation
