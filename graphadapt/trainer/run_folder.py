"""Names of a run folder's files, and its metrics as JSON lines."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from graphadapt.errors import CheckpointError
from graphadapt.trainer.checkpoint import write_text

__all__ = [
    "BEST",
    "LAST",
    "METRICS",
    "append_metrics",
    "check_new_folder",
    "drop_metrics_after",
    "read_metrics",
]

LAST: Final = "last.safetensors"
"""Everything that resuming needs."""

BEST: Final = "best.safetensors"
"""The model of the best validation."""

METRICS: Final = "metrics.jsonl"
"""One line an epoch."""


def check_new_folder(folder: Path, own: Collection[str]) -> None:
    """Refuse to write over a run that has got anywhere, or among files that are no run's.

    Args:
        folder: where a run is to begin.
        own: what a run of this kind writes before its first checkpoint.

    Raises:
        CheckpointError: if the folder holds a run already, or something else.
    """
    if (folder / LAST).exists():
        raise CheckpointError(f"{folder} holds a run already; resume it or choose another folder")
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; give a folder for the run")
    foreign = {item.name for item in folder.iterdir()} - {*own} if folder.exists() else set()
    if any(not name.startswith(".") for name in foreign):
        raise CheckpointError(f"{folder} holds something other than a run; choose another folder")


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
