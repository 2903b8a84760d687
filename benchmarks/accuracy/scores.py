"""What a benchmark that trains saves of a run.

Benchmarks train by ``Run.trained``, so that a stopped benchmark goes on where it was:
finished runs are read back, an unfinished one is resumed from its last checkpoint.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_tensors
from graphadapt.trainer.run_folder import LAST

__all__ = ["scores"]


def scores(run: Run, parts: tuple[str, ...] = ("valid", "test")) -> dict[str, Any]:
    """Settings, time, and metrics per task on the given parts."""
    _, state = load_tensors(run.folder / LAST)
    found: Mapping[str, Any] = {part: run.evaluate(part).to_dict() for part in parts}
    return {
        "config": _portable(run.config.to_dict()),
        "seconds": round(state["seconds"], 1),
        "epochs": run.config.trainer.epochs,
        "best_epoch": state["best_epoch"],
        "parameters": sum(p.numel() for p in run.model.parameters()),
        **found,
    }


def _portable(config: dict[str, Any]) -> dict[str, Any]:
    """The settings without where things lay on this machine."""
    for section, key in (("data", "store"), ("backbone", "weights")):
        config[section][key] = Path(config[section][key]).name
    return config
