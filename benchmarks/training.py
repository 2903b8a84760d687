"""Train or resume one run for a benchmark and return its scores.

Every script here that trains goes through :func:`trained`, so that a stopped benchmark goes on
where it was: finished runs are read back, an unfinished one is resumed from its last checkpoint.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphadapt.config import RunConfig
from graphadapt.run import Run
from graphadapt.trainer.checkpoint import load_tensors
from graphadapt.trainer.loop import LAST

__all__ = ["scores", "trained"]


def trained(config: RunConfig, folder: Path) -> Run:
    """The run of these settings in this folder, trained to its end."""
    if (folder / LAST).exists():
        run = Run.open(folder, "none")
        precision = {"trainer.precision": run.config.trainer.precision}  # the run decides `auto`
        if run.config != config.with_settings(precision):
            raise SystemExit(f"{folder} holds a run of other settings; remove it or choose --runs")
        _, state = load_tensors(folder / LAST)
        if not state["finished"]:
            run.train(resume=True)
    else:
        (folder / "config.json").unlink(missing_ok=True)  # stopped before its first checkpoint
        Run.create(config, folder).train()
    return Run.open(folder)


def scores(run: Run, parts: tuple[str, ...] = ("valid", "test")) -> dict[str, Any]:
    """Settings, time, and metrics per task on the given parts."""
    _, state = load_tensors(run.folder / LAST)
    found: Mapping[str, Any] = {part: run.evaluate(part).to_dict() for part in parts}
    return {
        "config": run.config.to_dict(),
        "seconds": round(state["seconds"], 1),
        "epochs": run.config.trainer.epochs,
        "best_epoch": state["best_epoch"],
        "parameters": sum(p.numel() for p in run.model.parameters()),
        **found,
    }
