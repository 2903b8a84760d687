"""Our own training on a GPU, as ``graphadapt train`` does it.

OGB's GIN with a virtual node, with adapters at every linear layer and at the readout (the row that
counts) and with plain heads (the network that the peers train).
"""

import gc
import json
import statistics
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from gpu.plan import SuitePlan
from gpu.work import work_of
from graphadapt.config import RunConfig
from graphadapt.run import Run
from graphadapt.trainer.recorded_steps import RecordedSteps
from training_speed.own_training import OwnTraining

__all__ = [
    "ADAPTERS",
    "OURS",
    "PLAIN",
    "forget_peak",
    "own_epoch_rows",
    "own_settings",
    "peak",
    "recorded",
    "replay_rows",
    "work_rows",
]

OURS, PLAIN = "graphadapt, adapters everywhere", "graphadapt, plain heads"
ADAPTERS: Mapping[str, Any] = {
    "adapters.count": 12,
    "adapters.rank": 8,
    "adapters.sites": ["*"],
    "adapters.readout": True,
}
WAYS: Mapping[str, Mapping[str, Any]] = {OURS: ADAPTERS, PLAIN: {}}


def own_settings(plan: SuitePlan, store: Path, **more: Any) -> dict[str, Any]:
    """Of a run, over the preset ``ogb``."""
    return {
        "data.store": str(store),
        "backbone.layers": plan.layers,
        "backbone.width": plan.width,
        "sampler.batch_size": plan.batch,
        "trainer.device": plan.device.type,
        "trainer.precision": plan.precision,
        "trainer.seed": plan.seed,
        **more,
    }


def own_epoch_rows(
    plan: SuitePlan, store: Path, folder: Path, sizes: str
) -> Iterator[dict[str, Any]]:
    """Whole epochs of the ordinary run, from its metrics, and the most memory that they take.

    The first epoch compiles and captures, so the median is of the later ones. An epoch's time is
    that of its steps, planning and loss included; beside it stands the time with the checkpoint
    that follows. Validation comes after the last epoch only. ``sizes`` names the set whose
    molecules' sizes those of the store are.
    """
    for number, name in enumerate(WAYS):
        yield {**_own_epochs(plan, store, folder / f"epochs-{number}", name), "sizes": sizes}


def _own_epochs(plan: SuitePlan, store: Path, folder: Path, name: str) -> dict[str, Any]:
    forget_peak(plan.device)
    settings = {"trainer.epochs": plan.epochs, "trainer.evaluate_every": plan.epochs}
    config = RunConfig.from_toml("ogb").with_settings(
        own_settings(plan, store, **settings, **WAYS[name])
    )
    run = Run.create(config, folder)
    trainer = run.trainer(shown=False)
    trainer.fit()
    text = (folder / "metrics.jsonl").read_text("utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    rows = len(run.dataset.rows("train"))
    epochs = [rows / line["molecules_per_second"] for line in lines]
    clock = [line["seconds"] for line in lines[:-1]]  # the last epoch validates
    whole = [end - start for start, end in pairwise(clock)]
    return {
        "epoch_of": name,
        "precision": plan.precision,
        "molecules": rows,
        "epochs": len(epochs) - 1,
        "epoch_s": statistics.median(epochs[1:]),
        "epoch_s_low": min(epochs[1:]),
        "epoch_s_high": max(epochs[1:]),
        "first_epoch_s": epochs[0],
        **({"epoch_with_checkpoint_s": statistics.median(whole)} if whole else {}),
        **recorded(trainer.recorded),
        **peak(plan.device),
    }


def replay_rows(plan: SuitePlan, store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Losses of captured steps beside those of the same steps taken one kernel at a time."""
    losses, found = {}, {}
    for captured in (False, True):
        more = {"trainer.capture": captured, "trainer.precision": "float32", **ADAPTERS}
        training = OwnTraining(own_settings(plan, store, **more), folder / f"replay-{captured}")
        steps = range(min(plan.compared, training.learner.steps_per_epoch))
        losses[captured] = torch.stack([training.trainer.take_step(step)[0] for step in steps])
        found = recorded(training.trainer.recorded)
    difference = (losses[True] - losses[False]).abs() / losses[False].abs()
    yield {
        "replayed": "losses of captured steps against the same steps one kernel at a time",
        "steps": len(difference),
        **found,
        "error": float(difference.max()),
        "allowed": plan.replay_error,
        # On a GPU where nothing was replayed, nothing was compared.
        "holds": bool((difference <= plan.replay_error).all())
        and (found["replays"] > 0 or plan.device.type == "cpu"),
    }


def work_rows(plan: SuitePlan, store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """What a step of ours computes and moves, counted with its kernels started one by one."""
    for number, (name, more) in enumerate(WAYS.items()):
        settings = own_settings(plan, store, **{"trainer.capture": False, **more})
        training = OwnTraining(settings, folder / f"work-{number}")
        training.step()
        yield {"work_of": name, **work_of(training.step)}


def recorded(steps: RecordedSteps | None) -> dict[str, Any]:
    """How many steps were replayed, of how many shapes, and what stood in the way if anything."""
    if steps is None:
        return {"replays": 0, "shapes": 0, "obstacle": ""}
    return {"replays": steps.replays, "shapes": len(steps), "obstacle": steps.obstacle}


def forget_peak(device: torch.device) -> None:
    """Let go of what earlier parts left, and count memory from here."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak(device: torch.device) -> dict[str, float]:
    """Most memory that tensors took, and that was reserved for them."""
    if device.type != "cuda":
        return {}
    return {
        "peak_gb": torch.cuda.max_memory_allocated(device) / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved(device) / 1e9,
    }
