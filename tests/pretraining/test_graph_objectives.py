"""What graph embeddings are asked: descriptors, fingerprint places, labels, one another."""

import math

import numpy as np
import pytest
import torch

from graphadapt.data.store import TaskInfo
from graphadapt.pretraining.config import ContrastiveConfig, DescriptorsConfig, FingerprintConfig
from graphadapt.pretraining.contrastive import Contrastive
from graphadapt.pretraining.corpus import LABELS, Molecules
from graphadapt.pretraining.fingerprint import Fingerprint
from graphadapt.pretraining.labels import TrainingLabels
from graphadapt.pretraining.molecule_descriptors import MoleculeDescriptors
from graphadapt.pretraining.objective import View, r_squared


def view_of(graphs, others=None, **targets):
    return View(Molecules(None, targets), None, None, graphs, others)


def evidence_of(objective, view):
    return {name: tensor.detach().numpy() for name, tensor in objective.evidence(view).items()}


def sums_of(objective, view):
    with torch.no_grad():
        total, parts = objective(view)
    return float(total), float(parts)


@pytest.fixture
def raw():
    """Descriptors: spread, mostly zero, constant, with a far outlier."""
    random = np.random.default_rng(0)
    rare = np.where(np.arange(40) < 4, 2.0, 0.0)
    far = np.append(random.normal(size=39), 1e6)
    columns = np.stack([random.normal(3, 2, 40), rare, np.full(40, 7.0), far], axis=1)
    return torch.from_numpy(columns.astype(np.float32))


def test_descriptors_stand_on_a_robust_scale(raw):
    objective = MoleculeDescriptors(3, DescriptorsConfig(clip=4.0), count=4)
    objective.fit(Molecules(None, {"descriptors": raw}))
    first = raw.numpy()[:, 0]
    low, median, high = np.percentile(first, (25, 50, 75))
    found = objective.targets(Molecules(None, {"descriptors": raw})).numpy()
    np.testing.assert_allclose(
        found[:, 0], np.clip((first - median) / ((high - low) / 1.349), -4, 4), rtol=1e-4
    )
    np.testing.assert_allclose(found[:4, 1], 2.0 / raw[:, 1].numpy().std(), rtol=1e-5)
    assert objective.varies.tolist() == [1, 1, 0, 1]
    assert found.max() == 4.0  # the outlier


def test_the_descriptor_loss_is_hubers_over_those_that_vary(raw):
    torch.manual_seed(0)
    objective = MoleculeDescriptors(3, DescriptorsConfig(), count=4)
    molecules = Molecules(None, {"descriptors": raw})
    objective.fit(molecules)
    view = view_of(torch.randn(40, 3), descriptors=raw)
    gap = np.abs((objective.answer(view.graphs) - objective.targets(molecules)).detach().numpy())
    huber = np.where(gap < 1, gap**2 / 2, gap - 0.5)[:, [0, 1, 3]]
    total, parts = sums_of(objective, view)
    assert total == pytest.approx(huber.mean(axis=1).sum(), rel=1e-5)
    assert parts == 40
    for parameter in objective.parameters():
        torch.nn.init.zeros_(parameter)
    assert sums_of(objective, view)[0] / 40 / float(objective.constant) == pytest.approx(
        1.0, rel=1e-5
    )


def test_explained_variance_is_one_for_the_truth_and_zero_for_the_mean():
    truth = np.array([[0.0, 1, 5], [2, 1, 7], [4, 1, 9]])
    np.testing.assert_allclose(r_squared(truth, truth), [1, np.nan, 1])
    np.testing.assert_allclose(r_squared(truth.mean(0) + 0 * truth, truth), [0, np.nan, 0])


def test_descriptor_figures_leave_out_what_never_varies(raw):
    objective = MoleculeDescriptors(3, DescriptorsConfig(), count=4)
    objective.fit(Molecules(None, {"descriptors": raw}))
    truth = objective.targets(Molecules(None, {"descriptors": raw})).numpy()
    assert objective.metrics({"answer": truth, "truth": truth}) == {"r2": 1.0, "r2_median": 1.0}


@pytest.fixture
def counts():
    random = np.random.default_rng(1)
    return torch.from_numpy(random.poisson([0.02, 0.5, 3.0, 0.0], (60, 4)).astype(np.uint8))


@pytest.mark.parametrize("target", ["bits", "counts"])
@pytest.mark.parametrize("hidden", [0, 5])
def test_a_fingerprint_starts_at_every_places_rate(counts, target, hidden):
    config = FingerprintConfig(target=target, hidden=hidden)
    objective = Fingerprint(3, config, size=4)
    objective.fit(Molecules(None, {"counts": counts}))
    torch.nn.init.zeros_(objective.answer[-1].weight)
    total, parts = sums_of(objective, view_of(torch.randn(60, 3), counts=counts))
    assert total / parts / float(objective.constant) == pytest.approx(1.0, rel=1e-5)


def test_the_loss_of_bits_is_their_cross_entropy(counts):
    objective = Fingerprint(3, FingerprintConfig(), size=4)
    view = view_of(torch.randn(60, 3), counts=counts)
    chance = objective.answer(view.graphs).sigmoid().detach().numpy()
    there = counts.numpy() > 0
    expected = -np.where(there, np.log(chance), np.log1p(-chance)).mean(axis=1).sum()
    assert sums_of(objective, view)[0] == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_counts_is_half_the_poisson_deviance_and_zero_for_the_truth(counts):
    objective = Fingerprint(3, FingerprintConfig(target="counts"), size=4)
    view = view_of(torch.randn(60, 3), counts=counts)
    rate = objective.answer(view.graphs).exp().detach().double().numpy()
    n = counts.numpy().astype(np.float64)
    logs = np.log(np.where(n > 0, n, 1) / rate)
    expected = (n * logs * (n > 0) - (n - rate)).mean(axis=1).sum()
    assert sums_of(objective, view)[0] == pytest.approx(expected, rel=1e-5)
    exact = objective._losses(torch.from_numpy(n).log().clamp(min=-30).float(), counts.float())
    assert float(exact.abs().max()) < 1e-5


def test_fingerprint_figures_rank_places_beside_chance(counts):
    objective = Fingerprint(3, FingerprintConfig(target="counts"), size=4)
    truth = counts.numpy()
    found = objective.metrics({"answer": np.log(truth + 0.5), "truth": truth})
    assert found["average_precision"] == 1.0
    there = truth[:, :3] > 0
    assert found["prevalence"] == pytest.approx(there.mean())
    assert found["correlation"] > 0.9
    assert objective.metrics({"answer": truth * 1.0, "truth": truth * 0}) == {}


def test_watched_places_go_from_common_to_rare():
    counts = torch.zeros(1000, 600, dtype=torch.uint8)
    for place in range(600):
        counts[: 600 - place, place] = 1
    objective = Fingerprint(2, FingerprintConfig(), size=600)
    objective.fit(Molecules(None, {"counts": counts}))
    assert len(objective.watched) == 256
    assert objective.watched[0] == 0
    assert objective.watched[-1] == 595  # five of a thousand
    assert len(set(objective.watched.tolist())) == 256


TASKS = (TaskInfo("active", "binary"), TaskInfo("potency", "regression"))
LABELLED = torch.tensor([[1.0, 4.0], [0.0, math.nan], [math.nan, 8.0], [math.nan, math.nan]])


def test_labels_count_by_their_cells():
    torch.manual_seed(0)
    objective = TrainingLabels(3, TASKS)
    objective.fit(Molecules(None, {LABELS: LABELLED}))
    view = view_of(torch.randn(4, 3), labels=LABELLED)
    answer = objective.answer(view.graphs).detach().numpy()
    scaled = [(4 - 6) / 2, (8 - 6) / 2]
    expected = [
        math.log1p(math.exp(-answer[0, 0])),
        math.log1p(math.exp(answer[1, 0])),
        (answer[0, 1] - scaled[0]) ** 2,
        (answer[2, 1] - scaled[1]) ** 2,
    ]
    total, parts = sums_of(objective, view)
    assert total == pytest.approx(sum(expected), rel=1e-5)
    assert parts == 4
    torch.nn.init.zeros_(objective.answer.weight)
    assert sums_of(objective, view)[0] / 4 / float(objective.constant) == pytest.approx(
        1.0, rel=1e-5
    )


def test_label_figures_are_in_the_labels_own_units():
    objective = TrainingLabels(3, TASKS)
    objective.fit(Molecules(None, {LABELS: LABELLED}))
    answers = np.array([[2.0, 5.0], [-1.0, 0.0], [0.0, 8.0], [0.0, 0.0]], np.float32)
    found = objective.metrics({"answer": answers, "truth": LABELLED.numpy()})
    assert found["rocauc"] == 1.0
    assert found["rmse"] == pytest.approx(math.sqrt(0.5))


def test_views_find_their_partner_by_a_hand_sum():
    torch.manual_seed(0)
    objective = Contrastive(3, ContrastiveConfig(temperature=0.5, width=4), batch_size=2)
    view = view_of(torch.randn(2, 3), torch.randn(2, 3))
    points = objective.project(torch.cat([view.graphs, view.others])).detach().numpy()
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    expected, nearest = 0.0, []
    for i, partner in enumerate((2, 3, 0, 1)):
        others = [j for j in range(4) if j != i]
        scores = {j: float(points[i] @ points[j]) / 0.5 for j in others}
        expected -= scores[partner] - math.log(sum(math.exp(s) for s in scores.values()))
        nearest.append(max(scores, key=scores.get) == partner)
    total, parts = sums_of(objective, view)
    assert total == pytest.approx(expected, rel=1e-5)
    assert parts == 4
    found = objective.metrics(evidence_of(objective, view))
    assert found == {"found": pytest.approx(np.mean(nearest))}


def test_equal_views_of_different_molecules_are_found():
    torch.manual_seed(0)
    objective = Contrastive(8, ContrastiveConfig(temperature=0.01), batch_size=5)
    graphs = torch.randn(5, 8)
    view = view_of(graphs, graphs)
    assert objective.metrics(evidence_of(objective, view)) == {"found": 1.0}
    objective.fit(view.molecules)
    assert float(objective.constant) == pytest.approx(math.log(9))
