"""Names of a run folder's files, its settings as JSON and its metrics as JSON lines."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from graphadapt.errors import CheckpointError, ConfigError
from graphadapt.trainer.checkpoint import write_text

__all__ = [
    "BEST",
    "FINE_TUNING",
    "LAST",
    "METRICS",
    "PRETRAINING",
    "SETTINGS",
    "RunKind",
    "append_metrics",
    "check_new_folder",
    "check_same_data",
    "checkpoint_path",
    "drop_metrics_after",
    "read_metrics",
    "read_table",
]

SETTINGS: Final = "config.json"
"""Every setting of the run, resolved."""

LAST: Final = "last.safetensors"
"""Everything that resuming needs."""

BEST: Final = "best.safetensors"
"""The model of the best validation."""

METRICS: Final = "metrics.jsonl"
"""One line an epoch."""


class RunKind(NamedTuple):
    """What tells the folders of one kind of run from others."""

    name: str
    """In messages."""

    command: str
    """Which of graphadapt's commands makes them."""

    inputs: str
    """File of the tasks and feature blocks that the model was built for."""


FINE_TUNING: Final = RunKind("run folder", "train", "inputs.json")
PRETRAINING: Final = RunKind("pretraining run", "pretrain", "targets.json")


def check_same_data(folder: Path, state: Mapping[str, Any], data: str) -> None:
    """Refuse data that a run was not trained on.

    Args:
        folder: of the run.
        state: of its last checkpoint.
        data: mark of the data that its settings name now; empty where it is not told from others.

    Raises:
        CheckpointError: if both are marked, and the marks differ.
    """
    if data and state.get("data", "") not in ("", data):
        raise CheckpointError(
            f"{folder} was trained on other data than its settings name now: a store was prepared "
            "anew; put the old one back, or train in another folder"
        )


def check_new_folder(folder: Path, kind: RunKind, more: Collection[str] = ()) -> None:
    """Refuse to write over a run that has got anywhere, or among files that are no run's.

    Args:
        folder: where a run is to begin.
        kind: of the run.
        more: what runs of this kind write before their first checkpoint, beside the usual.

    Raises:
        CheckpointError: if the folder holds a run already, or something else.
    """
    if (folder / LAST).exists():
        raise CheckpointError(f"{folder} holds a run already; resume it or choose another folder")
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give a folder for the run")
    own = {SETTINGS, kind.inputs, METRICS, BEST, *more}
    foreign = {item.name for item in folder.iterdir()} - own if folder.exists() else set()
    if any(not name.startswith(".") for name in foreign):
        raise CheckpointError(f"{folder} holds something other than a run; choose another folder")


def read_table(folder: Path, name: str, kind: RunKind) -> dict[str, Any]:
    """The object that one of a run's JSON files holds.

    Raises:
        CheckpointError: if there is no such file, which tells that the folder is no run of this
            kind, or it holds no object.
    """
    try:
        held = json.loads((folder / name).read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} is no {kind.name}: it has no {name}{_other_kind(folder, kind)}"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} is damaged, or no {kind.name}: {name}: {error}") from error
    if not isinstance(held, dict):
        raise CheckpointError(f"{folder} is damaged, or no {kind.name}: {name} holds no object")
    return held


def checkpoint_path(folder: Path, which: str) -> Path:
    """Where a run's ``best`` or ``last`` checkpoint lies.

    Raises:
        CheckpointError: if it is not there.
        ConfigError: if there is none of that name.
    """
    names = {"best": BEST, "last": LAST}
    if which not in names:
        raise ConfigError(f"no checkpoint called {which!r}; use {' or '.join(names)}")
    path = folder / names.pop(which)
    if not path.exists():
        (other,) = names.values()
        hint = f"use its {other}" if (folder / other).exists() else "train the run first"
        raise CheckpointError(f"{folder} has no {path.name} yet; {hint}")
    return path


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """What a run folder says of every finished epoch; a line that a crash cut short is left out."""
    path = folder / METRICS
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


def append_metrics(folder: Path, record: Mapping[str, Any]) -> None:
    """Add an epoch's line."""
    with (folder / METRICS).open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def drop_metrics_after(folder: Path, step: int) -> None:
    """Forget what an earlier sitting wrote for steps after ``step``."""
    if (folder / METRICS).exists():
        kept = [record for record in read_metrics(folder) if record["step"] <= step]
        write_text(folder / METRICS, "".join(json.dumps(record) + "\n" for record in kept))


def _other_kind(folder: Path, kind: RunKind) -> str:
    """What else the folder is, if it is another kind's."""
    for other in (FINE_TUNING, PRETRAINING):
        if other != kind and (folder / other.inputs).exists():
            return f"; it holds a run of `graphadapt {other.command}`"
    return ""
