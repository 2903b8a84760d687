"""ogb's own Evaluator, loaded without the rest of ogb.

Axes: G molecules, T tasks.
"""

import csv
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.names import require_name
from graphadapt.errors import DependencyError

__all__ = ["official_mean"]


def official_mean(
    ogb_set: str, predictions_GT: NDArray[Any], labels_GT: NDArray[Any]
) -> dict[str, float]:
    """The mean that ``ogb.graphproppred.Evaluator`` reports, under its metric's name.

    Empty if only some of the set's tasks are given, or if no task holds both classes: ogb
    reports nothing then.

    Args:
        ogb_set: such as ``ogbg-molpcba``.
        predictions_GT: one score per cell.
        labels_GT: labels, NaN where missing or not to be scored.

    Raises:
        DataError: if ogb has no graph-property set of that name.
        DependencyError: if ogb, or a package it evaluates with, is missing.
    """
    module = _evaluator_module()
    _check_set(ogb_set, Path(str(module.__file__)).with_name("master.csv"))
    evaluator = module.Evaluator(ogb_set)
    if evaluator.num_tasks != labels_GT.shape[1] or not _has_both_classes(labels_GT):
        return {}
    scores = evaluator.eval({"y_true": labels_GT, "y_pred": predictions_GT})
    return {name: float(value) for name, value in scores.items()}


@cache
def _evaluator_module() -> ModuleType:
    """``ogb.graphproppred.evaluate`` as a module of its own.

    Importing it through its packages would import DGL unrepaired and start ogb's version check
    over the network; the file itself needs neither.
    """
    package = importlib.util.find_spec("ogb")
    if package is None or package.origin is None:
        raise DependencyError("ogb is not installed; pip install 'graphadapt[train]'")
    path = Path(package.origin).parent / "graphproppred" / "evaluate.py"
    spec = importlib.util.spec_from_file_location("graphadapt_ogb_evaluate", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DependencyError(f"ogb has no file {path}; install ogb 1.3.6 or newer")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise DependencyError(f"ogb's Evaluator cannot be loaded: {error}") from error
    return module


def _check_set(ogb_set: str, master: Path) -> None:
    with master.open(encoding="utf-8", newline="") as file:
        known = next(csv.reader(file))[1:]
    require_name(ogb_set, known, "graph-property set of ogb")


def _has_both_classes(labels_GT: NDArray[Any]) -> bool:
    both_T = (labels_GT == 1).any(axis=0) & (labels_GT == 0).any(axis=0)
    return bool(np.any(both_T))
