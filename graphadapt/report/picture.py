"""The relation matrix and the routing of every site, drawn into one picture.

Shapes: T tasks, K adapters.
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError, DependencyError
from graphadapt.relation.matrix import Relation
from graphadapt.report.sheet import LETTER, Place, Sheet, lay_out, shortened, wrapped

__all__ = ["PLAIN", "draw_run", "figure_class", "save_figure", "task_order"]

Floats = NDArray[np.floating[Any]]

MOST_NAMES = 80
"""Tasks above which rows carry no name."""

MOST_NUMBERS = 32
"""Adapters above which columns carry no number."""

FORMATS = {".pdf": b"%PDF", ".png": b"\x89PNG", ".svg": b"<svg"}
"""What stands near the beginning of a picture, by its ending."""

PLAIN = {"parse_math": False}
"""A dollar sign in a name is a dollar sign."""


@dataclass(frozen=True, slots=True)
class _Panel:
    """A square of relations, or the routes at one site."""

    title: str
    values: Floats
    width: float
    """In inches."""

    highest: float
    """The value of the darkest colour."""

    numbers: tuple[int, ...] | None = None
    """Adapters in the order of the columns; None of a square."""

    @property
    def lines(self) -> list[str]:
        """The title, broken to the width."""
        return wrapped(self.title, self.width, LETTER * 8 / 7)


def draw_run(
    path: Path, relations: Mapping[str, Relation], gates: Mapping[str, Floats], title: str
) -> None:
    """Write the picture: one square for each different relation, one panel for each site.

    Tasks stand in one order everywhere, related ones close together; the adapters of a site stand
    in the order of the tasks that use them, numbered as they are.

    Args:
        path: ends in ``.png``, ``.svg`` or ``.pdf``; it appears once it is complete.
        relations: by who uses them, such as ``prior``; the first orders the tasks.
        gates: by site, ``(T, K)``.
        title: of the whole.

    Raises:
        ConfigError: if the path has another ending, or is a file that is no such picture.
        DependencyError: if matplotlib is missing.
    """
    figure_of = figure_class(path)
    first = next(iter(relations.values()))
    order_T = task_order(first.weights)
    names = [shortened(first.task_names[task]) for task in order_T]
    side = _side(len(names))
    panels = [*_squares(relations, order_T, side), *_routes(gates, order_T, side)]
    room = 0.3 if len(names) > MOST_NAMES else LETTER * max(map(len, names)) + 0.1
    sheet = lay_out([p.width for p in panels], side, [len(p.lines) for p in panels], room)
    figure = figure_of(figsize=(sheet.width, sheet.height))
    images = [
        _draw(figure, sheet, place, panel, names)
        for place, panel in zip(sheet.places, panels, strict=True)
    ]
    _explain(figure, sheet, panels, images)
    heading = shortened(title, int(8 * sheet.width))
    figure.text(0.01, 1 - 0.1 / sheet.height, heading, fontsize=12, va="top", **PLAIN)
    save_figure(figure, path)


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


def figure_class(path: Path) -> Any:
    """Matplotlib's figure, for a picture that can be written to the path.

    Raises:
        ConfigError: if the path has another ending, or is a file that is no such picture.
        DependencyError: if matplotlib is missing.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"{path} is no picture that can be drawn; end it in {', '.join(FORMATS)}")
    if path.exists() and not _is_replaceable(path, FORMATS[ending]):
        raise ConfigError(f"{path} exists and is not a {ending} picture; choose another file")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise DependencyError(
            "a picture needs matplotlib; pip install 'graphadapt[train]'"
        ) from None
    return Figure


def _is_replaceable(path: Path, mark: bytes) -> bool:
    """Whether a file is a picture with this mark, or empty."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(1024)
    return not head or mark in head


def _squares(
    relations: Mapping[str, Relation], order_T: NDArray[np.int64], side: float
) -> Iterator[_Panel]:
    for title, relation in _by_content(relations).items():
        values_TT = relation.weights[np.ix_(order_T, order_T)]
        yield _Panel(f"relation: {title}", values_TT, side, float(values_TT.max()) or 1.0)


def _routes(
    gates: Mapping[str, Floats], order_T: NDArray[np.int64], side: float
) -> Iterator[_Panel]:
    highest = max((float(gate_TK.max()) for gate_TK in gates.values()), default=1.0)
    for site, gate_TK in gates.items():
        order_K = _adapter_order(gate_TK[order_T])
        width = float(np.clip(0.14 * len(order_K), 1.2, side))
        values_TK = gate_TK[np.ix_(order_T, order_K)]
        yield _Panel(site, values_TK, width, highest, tuple(order_K.tolist()))


def _by_content(relations: Mapping[str, Relation]) -> dict[str, Relation]:
    """Relations that differ, each under its kind and the names of those that use it."""
    users: list[tuple[list[str], Relation]] = []
    for name, relation in relations.items():
        for held, other in users:
            if other.kind == relation.kind and np.array_equal(other.weights, relation.weights):
                held.append(name)
                break
        else:
            users.append(([name], relation))
    return {_titled(relation.kind, held): relation for held, relation in users}


def _titled(kind: str, users: Sequence[str]) -> str:
    """The kind, and who uses it where that says more."""
    others = [name for name in users if name != kind]
    return f"{kind} ({', '.join(others)})" if others else kind


def _side(count: int) -> float:
    """Inches of the matrix: names stay readable, many tasks stay on a screen."""
    return float(np.clip(0.14 * count, 3.0, 9.0 if count > MOST_NAMES else 12.0))


def _draw(figure: Any, sheet: Sheet, place: Place, panel: _Panel, names: list[str]) -> Any:
    axis = figure.add_axes(sheet.share(place.x, place.y, place.width, place.height))
    image = axis.imshow(
        panel.values,
        cmap="Blues" if panel.numbers is None else "Oranges",
        vmin=0.0,
        vmax=panel.highest,
        aspect="auto",
        interpolation="nearest",
    )
    axis.set_title("\n".join(panel.lines), fontsize=8, pad=4, **PLAIN)
    axis.set_xticks([])
    axis.set_yticks([])
    if place.first and len(names) <= MOST_NAMES:
        axis.set_yticks(range(len(names)), names, fontsize=7, **PLAIN)
    elif place.first:
        axis.set_ylabel(f"{len(names)} tasks, related ones side by side", fontsize=8)
    if panel.numbers is not None:
        if len(panel.numbers) <= MOST_NUMBERS:
            axis.set_xticks(range(len(panel.numbers)), panel.numbers, fontsize=6)
        axis.set_xlabel("adapter", fontsize=8)
    return image


def _adapter_order(gate_TK: Floats) -> NDArray[np.int64]:
    """Adapters by the place of the tasks that weigh them most; those never used last."""
    weight_TK = gate_TK.astype(np.float64) ** 3
    load_K = weight_TK.sum(axis=0)
    centre_K = np.arange(len(gate_TK)) @ weight_TK / np.where(load_K > 0, load_K, 1.0)
    return np.argsort(np.where(load_K > 0, centre_K, np.inf), kind="stable")


def _explain(figure: Any, sheet: Sheet, panels: Sequence[_Panel], images: Sequence[Any]) -> None:
    """A bar of colours under every square, and under the routes of every row."""
    from matplotlib.ticker import MaxNLocator

    def scale(index: int) -> tuple[int, int]:
        return sheet.places[index].row, index if panels[index].numbers is None else -1

    for (_, square), members in groupby(range(len(panels)), scale):
        indices = list(members)
        start, end = sheet.places[indices[0]], sheet.places[indices[-1]]
        width = min(4.0, end.x + end.width - start.x - 0.3)
        axis = figure.add_axes(sheet.share(start.x, start.y - 0.6, width, 0.1))
        label = "routing weight" if square < 0 else "weight of the edge"
        ticks = MaxNLocator(max(2, int(2.5 * width)), steps=[1, 2, 5, 10])
        image = images[indices[0]]
        bar = figure.colorbar(image, cax=axis, orientation="horizontal", ticks=ticks)
        bar.set_label(label, fontsize=8)
        bar.ax.tick_params(labelsize=7)


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure; it appears under its name once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font")  # shows as a box
            figure.savefig(beside, dpi=150)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
