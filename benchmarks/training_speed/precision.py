"""How far training in less than float32 strays from it: on the same weights and molecules.

Shapes: P molecules of a batch, T tasks, W weights.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphadapt.data.store import GraphStore
from graphadapt.trainer.distributed import Workers
from training_speed.own_training import OwnTraining
from training_speed.plan import Plan

__all__ = ["accuracy_rows", "off"]


class Pass(NamedTuple):
    """What one batch comes to."""

    answers: Tensor
    """``(P, T)`` logits, norms by their running statistics."""

    gradient: Tensor
    """``(W,)`` of the step's loss, norms by the batch's own."""


def accuracy_rows(plan: Plan, store: GraphStore) -> Iterator[dict[str, Any]]:
    """A row for each precision below float32, on weights that float32 has fine-tuned some steps.

    There is no dropout, as each precision would draw a mask of its own.
    """
    reduced = [precision for precision in plan.precisions if precision != "float32"]
    if not reduced:
        return
    batch = plan.batches[0]
    with tempfile.TemporaryDirectory() as folder:
        whole = training(plan, store, "float32", Path(folder))
        for _ in range(plan.fitted):
            whole.step()
        exact = first_batch(whole)
        for precision in reduced:
            other = training(plan, store, precision, Path(folder))
            other.run.model.load_state_dict(whole.run.model.state_dict())
            found = first_batch(other)
            yield {
                "accuracy_of": precision,
                "batch": batch,
                "steps_before": plan.fitted,
                "answers_off": off(found.answers, exact.answers),
                "gradient_off": off(found.gradient, exact.gradient),
            }


def training(plan: Plan, store: GraphStore, precision: str, folder: Path) -> OwnTraining:
    settings = {"data.store": str(store.folder), "backbone.dropout": 0.0}
    settings |= plan.settings(plan.batches[0], precision)
    return OwnTraining(settings, folder / precision, plan.cycle)


def first_batch(training: OwnTraining) -> Pass:
    """Answers for the molecules of the first step, and its gradient."""
    model, (rows_P,) = training.run.model, training.batches(1)
    answers_PT = training.logits(rows_P)
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.zero_grad(set_to_none=True)
    training.learner.loss(0, Workers()).loss.backward()
    parts = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    model.load_state_dict(statistics, strict=False)  # the batch has moved the norms'
    return Pass(answers_PT.float(), torch.cat(parts))


def off(found: Tensor, exact: Tensor) -> float:
    """Root mean square of the difference, as a share of that of what is exact."""
    return float((found - exact).norm() / exact.norm())
