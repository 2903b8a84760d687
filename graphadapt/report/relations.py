"""A relation matrix in a few figures: how many edges, which pairs are strongest.

Shapes: T tasks.
"""

from typing import Any

import numpy as np

from graphadapt.relation.matrix import Relation
from graphadapt.report.table import Cell, format_table

__all__ = ["describe_relation", "pair_table"]


def describe_relation(relation: Relation, pairs: int = 10) -> dict[str, Any]:
    """Plain figures for JSON.

    Args:
        relation: any construction.
        pairs: how many of the strongest related, and of the most opposed, to list.

    Returns:
        ``kind``, ``tasks``, ``edges`` (pairs of tasks), ``isolated`` tasks, the mean and largest
        number of ``neighbours``, ``mean_weight`` of an edge, ``strongest`` and ``opposed`` pairs
        with their weight, signed value and overlap. Opposed pairs carry no edge.
    """
    upper = np.triu_indices(len(relation.task_names), k=1)
    weight_P, signed_P = relation.weights[upper], relation.signed[upper]
    degree_T = (relation.weights > 0).sum(axis=1)
    related = int((weight_P > 0).sum())
    strongest = np.argsort(-weight_P, kind="stable")[: min(pairs, related)]
    opposed = np.argsort(signed_P, kind="stable")[: min(pairs, int((signed_P < 0).sum()))]
    return {
        "kind": relation.kind,
        "tasks": len(relation.task_names),
        "edges": related,
        "isolated": int((degree_T == 0).sum()),
        "mean_neighbours": float(degree_T.mean()),
        "most_neighbours": int(degree_T.max()),
        "mean_weight": float(weight_P[weight_P > 0].mean()) if related else None,
        "strongest": [_pair(relation, upper, index) for index in strongest],
        "opposed": [_pair(relation, upper, index) for index in opposed],
    }


def pair_table(pairs: list[dict[str, Any]]) -> str:
    """One row a pair of tasks."""
    rows: list[list[Cell]] = [
        [*pair["tasks"], pair["weight"], pair["signed"], pair["overlap"]] for pair in pairs
    ]
    return format_table(["task", "task", "weight", "signed", "overlap"], rows)


def _pair(relation: Relation, upper: tuple[Any, Any], index: int) -> dict[str, Any]:
    a, b = int(upper[0][index]), int(upper[1][index])
    return {
        "tasks": [relation.task_names[a], relation.task_names[b]],
        "weight": round(float(relation.weights[a, b]), 6),
        "signed": round(float(relation.signed[a, b]), 6),
        "overlap": int(relation.overlap[a, b]),
    }
