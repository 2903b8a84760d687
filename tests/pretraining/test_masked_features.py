"""Hidden atoms and bonds: losses against loops, starts at the distribution, figures by hand."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.vocabulary import ATOM_FEATURE_SIZES
from graphadapt.pretraining.config import AtomsConfig, BondsConfig
from graphadapt.pretraining.corpus import Molecules
from graphadapt.pretraining.masked_atoms import MaskedAtoms
from graphadapt.pretraining.masked_bonds import MaskedBonds
from graphadapt.pretraining.masked_features import FeatureHeads
from graphadapt.pretraining.masking import Hidden, bond_features
from graphadapt.pretraining.objective import View

SMILES = ("CCO", "C/C=C/C#N", "c1ccccc1C(=O)N[C@@H](C)C(=O)O")


@pytest.fixture(scope="module")
def molecules():
    table = GraphTable.from_molecules([featurise_smiles(text) for text in SMILES])
    return Molecules(table.gather(torch.arange(len(SMILES))), {})


@pytest.fixture
def view(molecules):
    torch.manual_seed(0)
    batch = molecules.batch
    hidden = Hidden(torch.rand(batch.num_nodes) < 0.4, torch.rand(len(batch.bond_codes) // 2) < 0.5)
    return View(molecules, hidden, torch.randn(batch.num_nodes, 5).double(), torch.randn(3, 5))


def test_the_loss_is_the_weighted_entropy_of_what_is_hidden(view):
    atoms = MaskedAtoms(5, AtomsConfig(atomic_number=2.0, chirality=0.0, aromatic=0.5)).double()
    expected = 0.0
    for node in view.hidden.atoms.nonzero().flatten().tolist():
        logits = atoms.heads.answer.weight @ view.nodes[node] + atoms.heads.answer.bias
        start = 0
        for column, size, weight in ((0, 119, 2.0), (3, 12, 1.0), (6, 6, 1.0), (7, 2, 0.5)):
            own = logits[start : start + size]
            truth = view.batch.atoms[node, column]
            expected -= weight * functional.log_softmax(own, dim=0)[truth]
            start += size
    total, parts = atoms(view)
    torch.testing.assert_close(total, expected)
    assert parts == view.hidden.atoms.sum()


def test_a_bond_answers_alike_from_either_end(view):
    torch.manual_seed(1)
    bonds = MaskedBonds(5, BondsConfig()).double()
    expected = 0.0
    for bond in view.hidden.bonds.nonzero().flatten().tolist():
        u, v = view.batch.source[2 * bond], view.batch.target[2 * bond]
        logits = bonds.heads.answer(view.nodes[u] + view.nodes[v])
        truth = bond_features(view.batch.bond_codes[2 * bond + 1])  # as the way back has it
        expected -= functional.log_softmax(logits[:5], dim=0)[truth[0]]
        expected -= functional.log_softmax(logits[5:], dim=0)[truth[1]]
    total, parts = bonds(view)
    torch.testing.assert_close(total, expected)
    assert parts == view.hidden.bonds.sum()


@pytest.mark.parametrize(
    "objective", [MaskedAtoms(5, AtomsConfig()), MaskedBonds(5, BondsConfig())]
)
def test_a_view_with_nothing_hidden_has_no_part_and_no_loss(objective, view):
    whole = View(view.molecules, None, view.nodes.float(), view.graphs)
    total, parts = objective(whole)
    assert (total.item(), parts.item()) == (0.0, 0.0)
    assert objective.metrics({k: v.numpy() for k, v in objective.evidence(whole).items()}) == {}


def test_a_fitted_start_answers_the_distribution(molecules):
    atoms = molecules.batch.atoms
    heads = FeatureHeads(5, ATOM_FEATURE_SIZES, {"atomic_number": 1.0, "chirality": 0.5})
    constant = heads.fit(atoms)
    expected = 0.0
    for column, weight, size in ((0, 1.0, 119), (1, 0.5, 5)):
        counts = np.bincount(atoms[:, column].numpy(), minlength=size)
        smoothed = (counts + 0.5) / (counts + 0.5).sum()
        expected -= weight * (counts / counts.sum() * np.log(smoothed)).sum()
    assert constant == pytest.approx(expected)
    # Answers of states that say nothing have that loss over all atoms.
    zeros = torch.zeros(len(atoms), 5)
    total, parts = heads.loss(zeros, atoms, torch.ones(len(atoms), dtype=torch.bool))
    assert (total / parts).item() == pytest.approx(expected, rel=1e-5)


def test_the_start_of_an_objective_is_its_unit(molecules):
    for objective in (MaskedAtoms(5, AtomsConfig()), MaskedBonds(5, BondsConfig())):
        objective.fit(molecules)
        batch = molecules.batch
        hidden = Hidden(
            torch.ones(batch.num_nodes, dtype=torch.bool),
            torch.ones(len(batch.bond_codes) // 2, dtype=torch.bool),
        )
        total, parts = objective(View(molecules, hidden, torch.zeros(batch.num_nodes, 5), None))
        assert (total / parts / objective.constant).item() == pytest.approx(1.0, rel=1e-4)


def test_accuracy_stands_beside_the_commonest_value():
    heads = FeatureHeads(3, (4, 2), {"kind": 1.0, "flag": 0.0})
    pairs = np.array([[1, 1], [1, 1], [2, 1], [0, 3]], np.uint8)
    assert heads.metrics({"kind": pairs}) == {"kind_accuracy": 0.5, "kind_majority": 0.75}


def test_gradients_reach_hidden_atoms_alone(view):
    nodes = view.nodes.clone().requires_grad_()
    atoms = MaskedAtoms(5, AtomsConfig()).double()
    atoms(View(view.molecules, view.hidden, nodes, view.graphs)).total.backward()
    moved = nodes.grad.abs().sum(1) > 0
    assert torch.equal(moved, view.hidden.atoms)


def test_the_loss_has_the_gradient_of_its_formula(view):
    bonds = MaskedBonds(5, BondsConfig()).double()
    nodes = view.nodes.clone().requires_grad_()

    def loss(states):
        return bonds(View(view.molecules, view.hidden, states, view.graphs)).total

    assert torch.autograd.gradcheck(loss, nodes)
    assert math.isfinite(loss(nodes).item())
