"""The whole trade-off of selection, with the latency of each rule in the adapters form.

The merged form costs what the backbone costs whatever is kept, so only the adapters form can gain
time. One file serves all rules: each is an adapter file over it.
"""

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from graphadapt.errors import BundleError
from graphadapt.export.adapter_bundle import open_model
from graphadapt.export.adapter_files import run_options, written_adapters
from graphadapt.export.bundle_folder import check_place, write_whole
from graphadapt.export.collate import Inputs, inputs_for
from graphadapt.export.probes import Probes
from graphadapt.export.repeated_runs import ORDINARY_ATOMS
from graphadapt.export.session import onnx_runtime, open_session
from graphadapt.freeze import FrozenModel, Selection
from graphadapt.molecules.features import FeatureBlock
from graphadapt.report.picture import figure_class
from graphadapt.report.trade_off import TradeOff, sweep_selections, task_gap_table, trade_off_table
from graphadapt.report.trade_off_picture import draw_trade_off
from graphadapt.run import Run

__all__ = ["check_sweep_target", "sweep_run", "write_sweep"]

TABLE, PICTURE, NUMBERS = "trade_off.md", "trade_off.png", "trade_off.json"

_BATCHES = (1, 32)
_ROUNDS = 15


def sweep_run(
    run: Run,
    *,
    tasks: Sequence[str] = (),
    composition_T: Tensor | None = None,
    rules: Sequence[Selection] = (),
    shown: bool = True,
) -> list[TradeOff]:
    """Measure every rule of selection; a run without adapters inside has no latency to gain.

    Args:
        run: trained, with adapters.
        tasks: requested task names; empty keeps all.
        composition_T: w; default is uniform over the requested.
        rules: of selection; default is a ladder from one adapter to all.
        shown: whether progress is shown.

    Returns:
        What each rule keeps, costs and, with adapters inside, takes in time.

    Raises:
        ConfigError: if the run has no adapters, or lacks a task.
        DataError: without the run's molecules, on which the freeze gap is measured.
    """
    found, models = [], {}
    for each, frozen in sweep_selections(
        run, tasks=tasks, composition_T=composition_T, rules=rules, shown=shown
    ):
        found.append(each)
        models[each.rule] = frozen
    if not run.model.sites:
        return found
    latency = _latencies(models, run.inputs.blocks)
    return [replace(each, latency=latency[each.rule]) for each in found]


def check_sweep_target(folder: Path) -> None:
    """Refuse, before minutes of work, whatever would keep a sweep from being written after them.

    Raises:
        BundleError: if the folder cannot be written, or holds something other than a sweep.
        DependencyError: if what draws the picture or measures latency is missing.
    """
    check_place(folder)
    held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if held - {TABLE, PICTURE, NUMBERS}:
        raise BundleError(f"{folder} holds something other than a trade-off; choose another folder")
    figure_class(folder / PICTURE)
    onnx_runtime()


def write_sweep(folder: Path, found: Sequence[TradeOff], title: str) -> None:
    """Write the trade-off as tables, means first and then every task, a picture and JSON.

    All of it or nothing; a sweep that is there already is replaced.
    """
    check_sweep_target(folder)
    tables = [
        trade_off_table(found, markdown=True),
        *(task_gap_table(found, metric, markdown=True) for metric in found[0].gap.soft),
    ]
    rows = [each.to_dict() for each in found]
    with tempfile.TemporaryDirectory() as place:
        picture = Path(place) / PICTURE
        draw_trade_off(picture, found, title)
        files = {
            TABLE: ("\n\n".join(tables) + "\n").encode(),
            PICTURE: picture.read_bytes(),
            NUMBERS: json.dumps(rows, indent=1).encode(),
        }
    write_whole(folder, files)


def _latencies(
    models: Mapping[str, FrozenModel], blocks: Sequence[FeatureBlock]
) -> dict[str, dict[str, float]]:
    """Median milliseconds of a run, by rule and batch size."""
    probes = Probes(blocks)
    opened = open_model(models, probes)
    session = open_session(opened.model)
    ordinary = np.flatnonzero([len(each.atoms) <= ORDINARY_ATOMS for each in probes.molecules])
    inputs = {
        str(size): inputs_for(opened.plain.reads, *probes.take(ordinary[-size:]))
        for size in _BATCHES
    }
    with written_adapters(opened.adapters) as paths:
        options = {rule: run_options(path) for rule, path in paths.items()}
        return _medians(session, inputs, options)


def _medians(
    session: Any, inputs: Mapping[str, Inputs], options: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """Of milliseconds; rules take turns in every round, so that a slow spell meets each."""
    times: dict[str, dict[str, list[float]]] = {
        rule: {size: [] for size in inputs} for rule in options
    }
    for _ in range(_ROUNDS):
        for rule, held in times.items():
            for size, found in held.items():
                found.append(1e3 * _seconds(session, inputs[size], options[rule]))
    return {
        rule: {size: statistics.median(found) for size, found in held.items()}
        for rule, held in times.items()
    }


def _seconds(session: Any, inputs: Inputs, options: Any) -> float:
    start = perf_counter()
    session.run(None, inputs, options)
    return perf_counter() - start
