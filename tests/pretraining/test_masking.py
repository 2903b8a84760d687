"""What is hidden stays hidden, in both directions, and nothing else changes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from graphadapt.graphs.batch import GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.vocabulary import ATOM_FEATURE_SIZES, BOND_CODES, bond_code
from graphadapt.pretraining.config import MaskingConfig
from graphadapt.pretraining.masking import (
    MASKED_ATOM,
    MASKED_BOND,
    Hidden,
    bond_features,
    choose_hidden,
    hide,
)

SMILES = ("CCO", "C/C=C/C#N", "[Na+].[Cl-]", "c1ccccc1C(=O)N[C@@H](C)C(=O)O", "C", "C1CC1")
TABLE = GraphTable.from_molecules([featurise_smiles(text) for text in SMILES])


def gather(rows):
    return TABLE.gather(torch.tensor(rows))


def masked(rows, config, seed=0):
    batch = gather(rows)
    generator = torch.Generator().manual_seed(seed)
    return batch, choose_hidden(batch, config, generator)


rows = st.lists(st.integers(0, len(SMILES) - 1), min_size=1, max_size=8)


@given(rows, st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_every_chosen_molecule_hides_its_quota_of_atoms(rows, share, seed):
    batch, hidden = masked(rows, MaskingConfig(graphs=1.0, atoms=share), seed)
    for graph, size in enumerate(batch.nodes_per_graph.tolist()):
        # float32, as the counts are made
        quota = 1 + int(torch.tensor(size) * share)
        assert int(hidden.atoms[batch.graph_of_node == graph].sum()) == min(size, quota)


@given(rows, st.floats(0.0, 0.9), st.integers(0, 2**31))
def test_all_bonds_of_hidden_atoms_are_hidden_too(rows, share, seed):
    batch, hidden = masked(rows, MaskingConfig(graphs=0.5, atoms=0.3, bonds=share), seed)
    seen = hide(batch, hidden)
    code = int(bond_code(torch.tensor(MASKED_BOND).numpy()))
    for edge, (u, v) in enumerate(zip(batch.source, batch.target, strict=True)):
        if hidden.atoms[u] or hidden.atoms[v]:
            assert seen.bond_codes[edge] == code
    assert torch.equal(seen.bond_codes[0::2], seen.bond_codes[1::2])
    whole = [g for g in range(batch.num_graphs) if not hidden.atoms[batch.graph_of_node == g].any()]
    for graph in whole:
        own = batch.graph_of_node[batch.source] == graph
        assert torch.equal(seen.bond_codes[own], batch.bond_codes[own])


def test_a_share_of_the_molecules_is_seen_whole():
    batch, hidden = masked([3] * 2000, MaskingConfig(graphs=0.3, atoms=0.1))
    touched = torch.zeros(2000).index_add(0, batch.graph_of_node, hidden.atoms.float()) > 0
    assert 0.27 < touched.float().mean() < 0.33


def test_every_atom_of_a_molecule_is_hidden_equally_often():
    batch, hidden = masked([3] * 3000, MaskingConfig(graphs=1.0, atoms=0.2))
    size = int(batch.nodes_per_graph[0])
    often = hidden.atoms.reshape(3000, size).float().mean(0)
    expected = (1 + int(size * 0.2)) / size
    assert (often - expected).abs().max() < 0.04


def test_what_is_hidden_cannot_be_told_from_the_batch():
    batch, hidden = masked([1, 3], MaskingConfig(graphs=1.0, atoms=0.3, bonds=0.2))
    other_atoms = torch.stack(
        [torch.randint(size, (batch.num_nodes,)) for size in ATOM_FEATURE_SIZES], dim=1
    )
    edges = hidden.bonds.repeat_interleave(2)
    other_codes = torch.randint(BOND_CODES, (len(hidden.bonds),)).repeat_interleave(2)
    changed = replace(
        batch,
        atoms=torch.where(hidden.atoms[:, None], other_atoms, batch.atoms),
        bond_codes=torch.where(edges, other_codes, batch.bond_codes),
    )
    seen, also_seen = hide(batch, hidden), hide(changed, hidden)
    assert torch.equal(seen.atoms, also_seen.atoms)
    assert torch.equal(seen.bond_codes, also_seen.bond_codes)


def test_nothing_hidden_changes_nothing():
    batch = gather([0, 1])
    none = Hidden(torch.zeros(8, dtype=torch.bool), torch.zeros(6, dtype=torch.bool))
    seen = hide(batch, none)
    assert torch.equal(seen.atoms, batch.atoms)
    assert torch.equal(seen.bond_codes, batch.bond_codes)


def test_the_same_generator_hides_the_same():
    config = MaskingConfig(bonds=0.3)
    (_, first), (_, second), (_, third) = (masked([0, 1, 3], config, seed) for seed in (1, 1, 2))
    assert torch.equal(first.atoms, second.atoms)
    assert torch.equal(first.bonds, second.bonds)
    assert not torch.equal(first.atoms, third.atoms)


def test_a_molecule_without_bonds_can_be_hidden():
    batch, hidden = masked([4, 2], MaskingConfig(graphs=1.0))
    assert int(hidden.atoms.sum()) == 2
    assert hide(batch, hidden).atoms[0].tolist() == list(MASKED_ATOM)


@pytest.mark.parametrize("code", [0, 16, 37, 59])
def test_codes_and_features_are_each_others_inverse(code):
    features = bond_features(torch.tensor([code]))
    assert int(bond_code(features.numpy())[0]) == code


@given(rows, st.floats(0.01, 1.0), st.integers(0, 2**31))
def test_padding_is_never_hidden_and_molecules_keep_their_quota(rows, graphs, seed):
    config = MaskingConfig(graphs=graphs, atoms=0.4, bonds=0.5)
    batch = TABLE.gather(torch.tensor(rows), bucket=BatchSize(150, 160))
    hidden = choose_hidden(batch, config, torch.Generator().manual_seed(seed))
    assert not hidden.atoms[batch.graph_of_node == batch.num_graphs].any()
    assert not hidden.bonds[batch.graph_of_node[batch.source[0::2]] == batch.num_graphs].any()
    for graph, size in enumerate(batch.nodes_per_graph.tolist()):
        found = int(hidden.atoms[batch.graph_of_node == graph].sum())
        assert found in (0, min(size, 1 + int(torch.tensor(size) * 0.4)))
    seen = hide(batch, hidden)
    padding = batch.graph_of_node == batch.num_graphs
    assert torch.equal(seen.atoms[padding], batch.atoms[padding])
