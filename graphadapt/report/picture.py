"""The relation matrix and the routing of every site, drawn into one picture.

Shapes: T tasks, K adapters.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError, DependencyError
from graphadapt.relation.matrix import Relation

__all__ = ["draw_run", "task_order"]

Floats = NDArray[np.floating[Any]]

MOST_NAMES = 80
"""Tasks above which rows carry no name."""

MOST_NUMBERS = 32
"""Adapters above which columns carry no number."""

FORMATS = (".pdf", ".png", ".svg")
RELATION_COLOURS, ROUTING_COLOURS = "Blues", "Oranges"


def draw_run(
    path: Path, relations: Mapping[str, Relation], gates: Mapping[str, Floats], title: str
) -> None:
    """Write the picture: one square for each different relation, one panel for each site.

    Tasks stand in one order everywhere, related ones close together; the adapters of a site stand
    in the order of the tasks that use them, numbered as they are.

    Args:
        path: ends in ``.png``, ``.svg`` or ``.pdf``.
        relations: by who uses them, such as ``prior``; the first orders the tasks.
        gates: by site, ``(T, K)``.
        title: of the whole.

    Raises:
        ConfigError: if the path has another ending.
        DependencyError: if matplotlib is missing.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"{path} is no picture that can be drawn; end it in {', '.join(FORMATS)}")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError(
            "a picture needs matplotlib; pip install 'graphadapt[train]'"
        ) from None
    first = next(iter(relations.values()))
    order_T = task_order(first.weights)
    names = [first.task_names[task] for task in order_T]
    squares = _by_content(relations)
    side = _side(len(names))
    figure = Figure(figsize=(_width(side, squares, gates), side + 1.5), layout="constrained")
    widths = [side] * len(squares) + [_panel_width(side, gate.shape[1]) for gate in gates.values()]
    axes = figure.subplots(1, len(widths), width_ratios=widths, squeeze=False)[0]
    _draw_squares(figure, axes[: len(squares)], squares, order_T, names)
    _draw_routing(figure, axes[len(squares) :], gates, order_T)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def task_order(weights_TT: Floats) -> NDArray[np.int64]:
    """An order that puts related tasks side by side.

    By the leaves of average-linkage clustering on ``1 - weight``; groups are turned so that the
    ends that meet are the more related ones. Unrelated tasks keep their own order.
    """
    groups = [[task] for task in range(len(weights_TT))]
    between = np.array(weights_TT, np.float64)
    np.fill_diagonal(between, -1.0)
    while len(groups) > 1 and between.max() > 0:
        a, b = sorted(int(i) for i in np.unravel_index(between.argmax(), between.shape))
        size_a, size_b = len(groups[a]), len(groups[b])
        joined = (size_a * between[a] + size_b * between[b]) / (size_a + size_b)
        between[a], between[:, a] = joined, joined
        between[a, a] = -1.0
        between = np.delete(np.delete(between, b, axis=0), b, axis=1)
        groups[a] = _facing(groups[a], groups.pop(b), weights_TT)
    return np.array([task for group in groups for task in group], np.int64)


def _facing(left: list[int], right: list[int], weights_TT: Floats) -> list[int]:
    """Join two runs of tasks by those of their ends that are most related."""
    ways = [(one, other) for one in (left, left[::-1]) for other in (right, right[::-1])]
    one, other = max(ways, key=lambda way: float(weights_TT[way[0][-1], way[1][0]]))
    return one + other


def _by_content(relations: Mapping[str, Relation]) -> dict[str, Relation]:
    """Relations that differ, under the names of all that use them."""
    users: list[tuple[list[str], Relation]] = []
    for name, relation in relations.items():
        for held, other in users:
            if other.kind == relation.kind and np.array_equal(other.weights, relation.weights):
                held.append(name)
                break
        else:
            users.append(([name], relation))
    return {f"{relation.kind} ({', '.join(held)})": relation for held, relation in users}


def _side(count: int) -> float:
    """Inches of the matrix: names stay readable, many tasks stay on a screen."""
    return float(np.clip(0.2 * count, 4.0, 9.0 if count > MOST_NAMES else 16.0))


def _panel_width(side: float, count: int) -> float:
    return float(np.clip(0.14 * count, 1.2, side))


def _width(side: float, squares: Mapping[str, Relation], gates: Mapping[str, Floats]) -> float:
    panels = sum(_panel_width(side, gate.shape[1]) + 0.3 for gate in gates.values())
    return (side + 1.2) * len(squares) + panels + 0.5


def _draw_squares(
    figure: Any,
    axes: Any,
    squares: Mapping[str, Relation],
    order_T: NDArray[np.int64],
    names: list[str],
) -> None:
    for axis, (title, relation) in zip(axes, squares.items(), strict=True):
        image = axis.imshow(
            relation.weights[np.ix_(order_T, order_T)],
            cmap=RELATION_COLOURS,
            vmin=0.0,
            vmax=max(float(relation.weights.max()), 1e-6),
            aspect="equal",
        )
        axis.set_title(f"relation: {title}", fontsize=10)
        _name_rows(axis, names, first=axis is axes[0])
        _explain(figure, image, [axis], "weight of the edge")


def _name_rows(axis: Any, names: list[str], *, first: bool) -> None:
    if len(names) > MOST_NAMES:
        axis.set_xlabel(f"{len(names)} tasks, related ones side by side")
        return
    axis.set_xticks([])
    axis.set_yticks(range(len(names)), names if first else [], fontsize=7)


def _draw_routing(
    figure: Any, axes: Any, gates: Mapping[str, Floats], order_T: NDArray[np.int64]
) -> None:
    if not gates:
        return
    highest = max(float(gate.max()) for gate in gates.values())
    for axis, (site, gate_TK) in zip(axes, gates.items(), strict=True):
        order_K = _adapter_order(gate_TK[order_T])
        image = axis.imshow(
            gate_TK[np.ix_(order_T, order_K)],
            cmap=ROUTING_COLOURS,
            vmin=0.0,
            vmax=highest,
            aspect="auto",
        )
        axis.set_title(site, fontsize=8)
        axis.set_yticks([])
        numbers = order_K.tolist() if gate_TK.shape[1] <= MOST_NUMBERS else []
        axis.set_xticks(range(len(numbers)), numbers, fontsize=6)
        axis.set_xlabel("adapter", fontsize=8)
    _explain(figure, image, list(axes), "routing weight")


def _adapter_order(gate_TK: Floats) -> NDArray[np.int64]:
    """Adapters by the place of the tasks that weigh them most; those never used last."""
    weight_TK = gate_TK.astype(np.float64) ** 3
    load_K = weight_TK.sum(axis=0)
    centre_K = np.arange(len(gate_TK)) @ weight_TK / np.where(load_K > 0, load_K, 1.0)
    return np.argsort(np.where(load_K > 0, centre_K, np.inf), kind="stable")


def _explain(figure: Any, image: Any, axes: list[Any], label: str) -> None:
    figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02, aspect=40, location="bottom", label=label)
