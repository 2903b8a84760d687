"""What a run folder, or the settings of a run to come, would be asked about first.

Shapes: T tasks, K adapters.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphadapt.adapters.sites import find_sites
from graphadapt.assemble import ModelInputs, assemble
from graphadapt.backbone.factory import build_backbone
from graphadapt.config import RunConfig
from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.store import GraphStore, is_store
from graphadapt.model import READOUT, ComposedModel
from graphadapt.molecules.features import FeatureBlock
from graphadapt.report.picture import draw_run
from graphadapt.report.relations import describe_relation, pair_table
from graphadapt.report.routing import describe_routing, routing_table
from graphadapt.report.size import backbone_trainable, parameter_counts, size_table
from graphadapt.report.summary import Summary, counted_kinds, listed_settings
from graphadapt.report.table import Cell, format_table
from graphadapt.run import Run
from graphadapt.trainer.run_folder import BEST, LAST, read_metrics

__all__ = ["inspect_run", "inspect_settings"]

MOST_TASKS = 40
"""Tasks above which the text leaves out the rest."""

SITES_A_TABLE = 3
"""Sites side by side, so that a line fits a terminal."""


def inspect_run(folder: Path, picture: Path | None = None) -> Summary:
    """Settings, sizes, relations and routing of a run folder, trained or not.

    Args:
        folder: of the run.
        picture: where to draw the relations and the routing, if anywhere.

    Raises:
        CheckpointError: if the folder holds no run.
    """
    run = Run.open(folder, _newest_weights(folder))
    routing = describe_routing(run.model)
    gates = {site: gate.detach().numpy() for site, gate in run.model.gates().items()}
    if picture is not None:
        draw_run(picture, run.relations, gates, f"{folder}: {len(run.inputs.tasks)} tasks")
    relations = {name: describe_relation(found) for name, found in run.relations.items()}
    facts = {
        "folder": str(folder),
        **_model_facts(run.config, run.model),
        "training": _training(folder),
        "relations": relations,
        "routing": {site: found.to_dict() for site, found in routing.items()},
        "gates": {site: _by_task(run.model, gate_TK) for site, gate_TK in gates.items()},
    }
    return Summary(
        "run",
        facts,
        (
            (str(folder), _headline(facts)),
            *_model_sections(facts),
            *_relation_sections(relations),
            ("routing by site", routing_table(routing) if routing else ""),
            ("routing by task: adapter and weight", _routes(run.model, gates)),
        ),
    )


def inspect_settings(source: str) -> Summary:
    """Settings of a TOML file or preset, and the size of the model that they make.

    The whole model is counted if the store is at hand, because its tasks and features decide; of
    another only the backbone.
    """
    config = RunConfig.from_toml(source)
    inputs = _inputs(config)
    if inputs is not None:
        tasks = len(inputs.tasks)
        facts = _model_facts(config, assemble(config, inputs, np.zeros((tasks, tasks), np.float32)))
        return Summary("settings", facts, ((source, _headline(facts)), *_model_sections(facts)))
    network = None if config.backbone.kind == "none" else build_backbone(config.backbone)
    facts = {"settings": config.to_dict()}
    if network is not None:
        size = sum(parameter.numel() for parameter in network.parameters())
        trainable = backbone_trainable(network, config.backbone)
        facts["parameters"] = {"backbone": {"parameters": size, "trainable": trainable}}
        facts["sites"] = list(find_sites(network, config.adapters.sites))
    text = f"store {config.data.store} is not prepared yet, so only the backbone is counted"
    return Summary("settings", facts, ((source, text), *_model_sections(facts)))


def _newest_weights(folder: Path) -> str | None:
    """The checkpoint that is there: what the run keeps, else the last, else none."""
    if (folder / BEST).exists():
        return None
    return "last" if (folder / LAST).exists() else "none"


def _model_facts(config: RunConfig, model: ComposedModel) -> dict[str, Any]:
    return {
        "settings": config.to_dict(),
        "tasks": [task.to_dict() for task in model.tasks],
        "parameters": parameter_counts(model, config.backbone),
        "sites": {
            site: {
                "in": model.bank(site).in_features,
                "out": model.bank(site).out_features,
                "adapters": model.bank(site).count,
                "rank": model.bank(site).rank,
            }
            for site in (*model.sites, *([READOUT] if model.readout.bank is not None else []))
        },
    }


def _training(folder: Path) -> dict[str, Any]:
    """Last line of the metrics, and how many there are."""
    records = read_metrics(folder)
    return {"epochs": len(records), "last": records[-1] if records else None}


def _by_task(model: ComposedModel, gate_TK: NDArray[np.float32]) -> dict[str, list[float]]:
    rows = gate_TK.astype(np.float64).round(6).tolist()
    return {task.name: row for task, row in zip(model.tasks, rows, strict=True)}


def _headline(facts: dict[str, Any]) -> str:
    settings = facts["settings"]
    lines = [
        counted_kinds([task["kind"] for task in facts["tasks"]])
        + f" of store {settings['data']['store']}"
    ]
    if "training" in facts:
        done, last = facts["training"]["epochs"], facts["training"]["last"]
        lines.append(f"trained {done} of {settings['trainer']['epochs']} epochs")
        if last and last.get("validation"):
            scores = [f"{name} {value:.4f}" for name, value in last["validation"].items()]
            asked = f" ({last['composition']})" if "composition" in last else ""
            lines.append(f"last validation{asked}: {', '.join(scores)}")
    return "\n".join(lines)


def _model_sections(facts: dict[str, Any]) -> list[tuple[str, str]]:
    changed = listed_settings(facts["settings"], RunConfig().to_dict())
    sections = [("settings that differ from the defaults", "\n".join(changed))]
    if "parameters" in facts:
        sections.append(("parameters", size_table(facts["parameters"])))
    if isinstance(facts.get("sites"), dict) and facts["sites"]:
        rows: list[list[Cell]] = [[site, *found.values()] for site, found in facts["sites"].items()]
        table = format_table(["site", "in", "out", "adapters", "rank"], rows)
        sections.append(("adapter sites", table))
    return sections


def _relation_sections(relations: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """One section for each different relation, under the names of those that read it."""
    sections = []
    seen: list[dict[str, Any]] = []
    for found in relations.values():
        if found in seen:
            continue
        seen.append(found)
        readers = ", ".join(name for name, other in relations.items() if other == found)
        line = (
            f"{found['edges']} related pairs, {found['mean_neighbours']:.1f} neighbours a task, "
            f"{found['isolated']} tasks without any"
        )
        tables = [
            f"{title}\n{pair_table(found[key])}"
            for key, title in (("strongest", "most related:"), ("opposed", "opposed, no edge:"))
            if found[key]
        ]
        text = "\n\n".join([line, *tables])
        sections.append((f"relation {found['kind']!r} of {readers}", text))
    return sections


def _routes(model: ComposedModel, gates: dict[str, NDArray[np.float32]]) -> str:
    """The adapters that each task weighs most, at every site."""
    if not gates:
        return ""
    sites = list(gates)
    tables = []
    for start in range(0, len(sites), SITES_A_TABLE):
        shown = sites[start : start + SITES_A_TABLE]
        rows: list[list[Cell]] = [
            [task.name, *(_heaviest(gates[site][index]) for site in shown)]
            for index, task in enumerate(model.tasks[:MOST_TASKS])
        ]
        tables.append(format_table(["task", *shown], rows))
    left = len(model.tasks) - MOST_TASKS
    more = [f"... and {left} more tasks (--json lists all)"] if left > 0 else []
    return "\n\n".join([*tables, *more])


def _heaviest(gate_K: NDArray[np.float32], count: int = 3) -> str:
    order = np.argsort(-gate_K, kind="stable")[:count]
    return " ".join(f"{k}:{gate_K[k]:.2f}" for k in order if gate_K[k] > 0)


def _inputs(config: RunConfig) -> ModelInputs | None:
    """Tasks and features of the store, without preparing it; None if it is not there."""
    if config.data.store == "moleculeace":
        tasks = moleculeace_source(config.data.tasks).tasks
        blocks = (FeatureBlock.from_dict({"kind": kind}) for kind in config.features.blocks)
        return ModelInputs(tasks, tuple(blocks))
    if not is_store(Path(config.data.store)):
        return None
    store = GraphStore(config.data.store)
    wanted = config.data.tasks or store.task_names
    return ModelInputs(
        tuple(task for task in store.tasks if task.name in wanted),
        tuple(store.feature_block(kind) for kind in config.features.blocks),
    )
