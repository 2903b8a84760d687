"""Sections of a model card: what a backbone was trained on, for what, and how."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.pretraining.config import PretrainConfig
from graphadapt.pretraining.corpus import CorpusPart
from graphadapt.pretraining.model import PretrainingModel
from graphadapt.pretraining.run import PretrainRun
from graphadapt.pretraining.structures import ORIGIN_FILE, UNSTATED
from graphadapt.trainer.checkpoint import load_state
from graphadapt.trainer.run_folder import LAST

__all__ = ["data_section", "describe_objectives", "objectives_section", "settings_section"]


def data_section(run: PretrainRun, drawn: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """Stores with their counts and sources, and the licences that they carry together."""
    names = [Path(store).name for store in run.config.corpus.stores]
    stores = [
        _store(name, part, len(rows))
        for name, part, rows in zip(names, run.corpus.parts, drawn, strict=True)
    ]
    licences = [source["licence"] for store in stores for source in store["sources"]]
    return {"licence": " AND ".join(dict.fromkeys(licences)), "stores": stores}


def objectives_section(run: PretrainRun) -> dict[str, Any]:
    """Weight, first line of the description, and the loss that counts as 1."""
    found = describe_objectives(run.config, run.model)
    for name, objective in run.model.named_objectives():
        found[name]["constant_loss"] = float(objective.constant)
    return found


def describe_objectives(
    config: PretrainConfig, model: PretrainingModel
) -> dict[str, dict[str, Any]]:
    """Weight and first line of the description of every objective that takes part."""
    weights = config.objectives.weights()
    return {
        name: {
            "weight": weights[name],
            "what": (inspect.getdoc(type(objective)) or "").splitlines()[0],
        }
        for name, objective in model.named_objectives()
    }


def settings_section(run: PretrainRun) -> dict[str, Any]:
    """Settings without where things lay, and the time that training took."""
    state = load_state(run.folder / LAST)
    settings = run.config.to_dict()
    settings["corpus"]["stores"] = [Path(store).name for store in run.config.corpus.stores]
    supervised = settings["objectives"]["supervised"]
    supervised["store"] = Path(supervised["store"]).name
    settings["backbone"]["weights"] = Path(settings["backbone"]["weights"]).name
    return {"seconds": round(state["seconds"], 1), "settings": settings}


def _store(name: str, part: CorpusPart, trained: int) -> dict[str, Any]:
    return {
        "name": name,
        "molecules": len(part.store),
        "trained_on": trained,
        "held_out": len(part.held_out),
        "sources": _sources(part),
    }


def _sources(part: CorpusPart) -> list[dict[str, Any]]:
    """What the store says of its origin, or its source's name alone."""
    path = part.store.folder / ORIGIN_FILE
    if not path.is_file():
        return [{"name": part.store.source or UNSTATED, "licence": UNSTATED}]
    try:
        sources: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["sources"]
        return [{"licence": UNSTATED, **source} for source in sources]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}; build the corpus again") from error
