"""What a pretraining run, or the settings of one to come, would be asked about first."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from graphadapt.data.store import GraphStore, is_store
from graphadapt.pretraining.card import describe_objectives
from graphadapt.pretraining.config import PretrainConfig
from graphadapt.pretraining.model import PretrainingModel
from graphadapt.pretraining.run import PretrainRun
from graphadapt.report.size import size_table
from graphadapt.report.summary import Summary, listed_settings
from graphadapt.report.table import Cell, format_table
from graphadapt.trainer.checkpoint import load_state
from graphadapt.trainer.run_folder import BEST, LAST, read_metrics

__all__ = ["inspect_pretraining", "inspect_pretraining_settings"]


def inspect_pretraining(folder: Path) -> Summary:
    """Settings, corpus, objectives and held-out figures of a run folder, trained or not.

    Raises:
        CheckpointError: if the folder holds no pretraining run.
    """
    run = PretrainRun.untrained(folder)
    config, model = run.config, run.model
    facts = {
        "folder": str(folder),
        **_facts(config),
        "objectives": describe_objectives(config, model),
        "parameters": _parameters(model),
        "training": _training(folder),
    }
    training = facts["training"]
    done = f"trained {training['epochs']} of {config.trainer.epochs} epochs"
    if not training["finished"]:
        again = f"graphadapt pretrain --resume -o {shlex.quote(str(folder))}"
        done += f"; go on with `{again}`"
    headline = [_headline(config), done]
    if training["best_score"] is not None:
        headline.append(f"best held-out score {training['best_score']:.4f}")
    rows: list[list[Cell]] = [
        [name, found["weight"], found["what"]] for name, found in facts["objectives"].items()
    ]
    return Summary(
        "pretraining",
        facts,
        (
            (str(folder), "\n".join(headline)),
            *_sections(facts),
            ("objectives", format_table(["objective", "weight", "what"], rows)),
            ("figures on held-out molecules", _figures(training)),
            ("parameters", size_table(facts["parameters"])),
        ),
    )


def inspect_pretraining_settings(source: str) -> Summary:
    """Settings of a TOML file or pretraining preset, and which of their stores are at hand.

    Raises:
        ConfigError: if it is neither, or holds an unknown or unusable setting.
    """
    config = PretrainConfig.from_toml(source)
    facts = _facts(config)
    return Summary("settings", facts, ((source, _headline(config)), *_sections(facts)))


def _facts(config: PretrainConfig) -> dict[str, Any]:
    stores = [
        {"store": name, "molecules": len(GraphStore(name)) if is_store(Path(name)) else None}
        for name in config.corpus.stores
    ]
    return {"settings": config.to_dict(), "corpus": stores}


def _headline(config: PretrainConfig) -> str:
    backbone = config.backbone
    wanted = ", ".join(config.objectives.weights())
    return (
        f"pretraining of {backbone.kind}, {backbone.layers} layers of {backbone.width}, on {wanted}"
    )


def _sections(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    changed = listed_settings(facts["settings"], PretrainConfig().to_dict())
    rows: list[list[Cell]] = [[part["store"], part["molecules"]] for part in facts["corpus"]]
    corpus = format_table(["store", "molecules"], rows) if rows else "none named yet"
    return [("settings that differ from the defaults", "\n".join(changed)), ("corpus", corpus)]


def _parameters(model: PretrainingModel) -> dict[str, dict[str, int]]:
    parts: dict[str, nn.Module] = {"backbone": model.backbone}
    parts |= {f"head of {name}": objective for name, objective in model.named_objectives()}
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    sizes["all"] = sum(sizes.values())
    return {name: {"parameters": size, "trainable": size} for name, size in sizes.items()}


def _training(folder: Path) -> dict[str, Any]:
    """How far it got, and the figures of the last validation and of the best one."""
    records = read_metrics(folder)
    state = load_state(folder / LAST) if (folder / LAST).exists() else {}
    best = load_state(folder / BEST) if (folder / BEST).exists() else {}
    validated = [record for record in records if "validation" in record]
    return {
        "epochs": len(records),
        "finished": bool(state.get("finished")),
        "best_score": state.get("best_score"),
        "best": best if "validation" in best else None,
        "last": validated[-1] if validated else None,
    }


def _figures(training: Mapping[str, Any]) -> str:
    """One row a figure, for the best epoch and the last."""
    shown = {name: training[name] for name in ("best", "last") if training[name]}
    if not shown:
        return ""
    header = ["figure", *(f"{name}: epoch {each['epoch'] + 1}" for name, each in shown.items())]
    names = dict.fromkeys(name for each in shown.values() for name in each["validation"])
    rows: list[list[Cell]] = [
        [name, *(each["validation"].get(name) for each in shown.values())] for name in names
    ]
    return format_table(header, rows, digits=4)
