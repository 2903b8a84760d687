"""Names of a run folder's files, and its metrics as JSON lines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from graphadapt.trainer.checkpoint import write_text

__all__ = ["BEST", "LAST", "METRICS", "append_metrics", "drop_metrics_after", "read_metrics"]

LAST: Final = "last.safetensors"
"""Everything that resuming needs."""

BEST: Final = "best.safetensors"
"""The model of the best validation."""

METRICS: Final = "metrics.jsonl"
"""One line an epoch."""


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
