"""Losses under other readout weights, against the readout formula written out cell by cell."""

import math

import numpy as np
import pytest
import torch

from graphadapt.objective.losses import task_losses
from graphadapt.objective.readout_losses import ReadoutLosses

G, T, K, D, R, SCALE = 20, 3, 4, 6, 2, 0.7
IS_BINARY = np.array([True, False, True])


@pytest.fixture
def readout():
    """Embeddings, targets, rows, biases and the two factors of every adapter."""
    random = np.random.default_rng(0)
    targets = random.normal(size=(G, T))
    targets[:, IS_BINARY] = targets[:, IS_BINARY] > 0
    targets[random.random((G, T)) < 0.4] = np.nan
    targets[:, 2] = np.nan
    return {
        "z": random.normal(size=(G, D)),
        "targets": targets,
        "rows": random.normal(size=(T, D)),
        "bias": random.normal(size=T),
        "down": random.normal(size=(K, R, D)),
        "up": random.normal(size=(K, D, R)),
    }


def losses_of(readout):
    alone = SCALE * np.einsum("krd,ker,te->tkd", readout["down"], readout["up"], readout["rows"])
    parts = (readout[name] for name in ("z", "targets"))
    return ReadoutLosses(*parts, IS_BINARY, readout["rows"], readout["bias"], alone)


def slow_loss(readout, task, gate):
    adapted = np.eye(D)
    for k in range(K):
        adapted = adapted + SCALE * gate[k] * readout["up"][k] @ readout["down"][k]
    logits = readout["z"] @ (adapted.T @ readout["rows"][task]) + readout["bias"][task]
    tensors = (torch.from_numpy(x[:, None]) for x in (logits, readout["targets"][:, task]))
    return task_losses(*tensors, torch.tensor([bool(IS_BINARY[task])]))[0].item()


@pytest.mark.parametrize("task", [0, 1])
def test_every_candidate_is_scored_as_the_readout_formula_says(readout, task):
    gates = np.random.default_rng(1).dirichlet(np.ones(K), size=5)
    found = losses_of(readout)("readout", task, gates)
    expected = [slow_loss(readout, task, gate) for gate in gates]
    assert found.tolist() == pytest.approx(expected, rel=1e-10)


def test_a_task_without_labels_has_no_loss(readout):
    found = losses_of(readout)("readout", 2, np.eye(K))
    assert len(found) == K
    assert all(math.isnan(value) for value in found)


def test_huge_logits_stay_finite(readout):
    readout["bias"][0] = 1e5
    assert np.isfinite(losses_of(readout)("readout", 0, np.eye(K))).all()
