"""What a task loses with other weights, held against the model itself taken apart by hand."""

import numpy as np
import pytest
import torch

from graphadapt.errors import ConfigError
from graphadapt.model import READOUT
from graphadapt.objective.awa import without_each
from graphadapt.progress import Progress
from graphadapt.report.allocation import RunLosses, allocation_table, measure_allocation
from graphadapt.routing.composition import single_task
from graphadapt.run import Run

INNER = "convolutions.1.expand"
NAMES = ["aromatic", "greasy", "potency"]


@pytest.fixture
def run(tiny_run):
    return Run.open(tiny_run)


@pytest.fixture
def losses(run):
    with torch.no_grad(), Progress(1, "", shown=False) as progress:
        yield RunLosses(run, "valid", molecules=100, seed=0, progress=progress)


def loss_by_hand(run, site, task, gate_K):
    """Mean loss of one task alone, molecule by molecule, with its weights replaced at one site."""
    data, model = run.dataset, run.model
    gates = {name: gate.detach().clone() for name, gate in model.gates().items()}
    gates[site][task] = torch.from_numpy(np.asarray(gate_K)).float()
    w = single_task(NAMES[task], NAMES)
    total = []
    for row in np.flatnonzero(data.cells("valid")[:, task]):
        batch = run.feed.table.gather(torch.tensor([row]))
        embedding, _ = model.encode(batch, w, gates)
        logit = float(model.answer(embedding, batch.features, gates).logits[0, task])
        label = float(data.labels[row, task])
        if data.is_binary[task]:
            total.append(np.log1p(np.exp(logit)) - label * logit)
        else:
            scale = model.scaling
            total.append((logit - (label - float(scale.mean[2])) / float(scale.deviation[2])) ** 2)
    return np.mean(total)


@pytest.mark.parametrize("site", [INNER, READOUT])
@pytest.mark.parametrize("task", [0, 1, 2])
def test_losses_are_those_of_the_model_with_replaced_weights(run, losses, site, task):
    gate = losses.gates[site][task].numpy()
    candidates = np.concatenate([gate[None], without_each(gate)])
    with torch.no_grad():
        expected = [loss_by_hand(run, site, task, candidate) for candidate in candidates]
    np.testing.assert_allclose(losses(site, task, candidates), expected, rtol=1e-4)


def test_readout_losses_without_inner_sites_share_one_embedding(run):
    run.model.banks = None
    with torch.no_grad(), Progress(1, "", shown=False) as progress:
        losses = RunLosses(run, "valid", molecules=100, seed=0, progress=progress)
        for task in range(3):
            gate = losses.gates[READOUT][task].numpy()
            expected = [loss_by_hand(run, READOUT, task, gate)]
            np.testing.assert_allclose(losses(READOUT, task, gate[None]), expected, rtol=1e-4)
    assert losses._shared_readout is not None


def test_molecules_inside_are_a_seeded_sample(run):
    with torch.no_grad(), Progress(1, "", shown=False) as progress:
        few = [
            RunLosses(run, "valid", molecules=4, seed=seed, progress=progress) for seed in (0, 0, 1)
        ]
        gate = few[0].gates[INNER][2].numpy()[None]
        first, again, other = (float(each(INNER, 2, gate)[0]) for each in few)
    assert first == again
    assert first != other


def test_a_task_without_labels_has_no_loss(losses):
    losses.targets_GT[:, 1] = torch.nan
    for site in (INNER, READOUT):
        assert np.isnan(losses(site, 1, np.full((3, 4), 0.25))).all()


def test_the_report_covers_every_task_at_the_readout_and_a_sample_inside(run):
    found = measure_allocation(run, inner_pairs=2, top=2, shown=False)
    assert found["readout"].routed.pairs == 3
    assert found["inner"].routed.pairs == 2
    assert found["readout"].top == 2
    assert -1 <= found["readout"].routed.correlation[0] <= 1
    again = measure_allocation(run, inner_pairs=2, top=2, shown=False)
    assert str(again) == str(found)


def test_a_table_shows_routed_beside_random(run):
    lines = allocation_table(measure_allocation(run, shown=False)).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["readout", "routed"],
        ["readout", "random"],
        ["inner", "routed"],
        ["inner", "random"],
    ]


def test_a_run_without_adapters_is_refused(run):
    run.model.routing = None
    with pytest.raises(ConfigError, match="without adapters has no allocation"):
        measure_allocation(run)
