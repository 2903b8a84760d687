"""A gather against a loop over molecules, and OGB's own graphs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ogb.utils import smiles2graph

from graphadapt.data.ragged import GraphColumns
from graphadapt.data.store import GraphStore, TaskInfo
from graphadapt.data.store_writer import StoreWriter
from graphadapt.errors import DataError
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import MoleculeArrays, featurise_smiles

SMILES = ("CCO", "[Na+].[Cl-]", "C", "c1ccccc1C(=O)N[C@@H](C)C(=O)O", "C/C=C/C#N", "[He]")


@pytest.fixture(scope="module")
def table():
    features = np.arange(12, dtype=np.uint8).reshape(6, 2)
    return GraphTable.from_molecules([featurise_smiles(text) for text in SMILES], features)


def loop_batch(molecules):
    """The batch's columns, molecule by molecule and bond by bond."""
    atoms, source, target, codes, owner = [], [], [], [], []
    for graph, molecule in enumerate(molecules):
        first = len(atoms)
        atoms += molecule.atoms.tolist()
        owner += [graph] * len(molecule.atoms)
        for ends, features in zip(
            molecule.bonds.tolist(), molecule.bond_features.tolist(), strict=True
        ):
            code = features[0] * 12 + features[1] * 2 + features[2]
            for one, other in (ends, ends[::-1]):
                source.append(first + one)
                target.append(first + other)
                codes.append(code)
    return atoms, source, target, codes, owner


@st.composite
def molecules(draw):
    """Random columns that need not be chemistry."""
    nodes, bonds = draw(st.integers(1, 5)), draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return MoleculeArrays(
        rng.integers(0, 2, (nodes, 9)).astype(np.uint8),
        rng.integers(0, nodes, (bonds, 2)).astype(np.int16),
        rng.integers(0, (5, 6, 2), (bonds, 3)).astype(np.uint8),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(molecules(), min_size=1, max_size=6), st.data())
def test_a_gather_is_a_loop_over_molecules(library, data):
    rows = data.draw(st.lists(st.integers(0, len(library) - 1), max_size=8))
    batch = GraphTable.from_molecules(library).gather(torch.tensor(rows, dtype=torch.int64))
    atoms, source, target, codes, owner = loop_batch([library[row] for row in rows])
    assert batch.atoms.tolist() == atoms
    assert batch.source.tolist() == source
    assert batch.target.tolist() == target
    assert batch.bond_codes.tolist() == codes
    assert batch.graph_of_node.tolist() == owner
    assert batch.nodes_per_graph.tolist() == [len(library[row].atoms) for row in rows]
    assert (batch.num_nodes, batch.num_graphs) == (len(atoms), len(rows))


@pytest.mark.parametrize("row", range(len(SMILES)))
def test_one_molecule_is_ogbs_graph(table, row):
    batch, graph = table.gather(torch.tensor([row])), smiles2graph(SMILES[row])
    assert np.array_equal(batch.atoms, graph["node_feat"])
    assert np.array_equal(torch.stack([batch.source, batch.target]), graph["edge_index"])
    assert np.array_equal(batch.bond_codes, graph["edge_feat"] @ [12, 2, 1])


def test_features_follow_their_molecules_as_float32(table):
    batch = table.gather(torch.tensor([4, 0, 4]))
    assert table.num_features == 2
    assert batch.features.dtype == torch.float32
    assert batch.features.tolist() == [[8, 9], [0, 1], [8, 9]]


def test_without_features_there_are_none():
    table = GraphTable.from_molecules([featurise_smiles("CCO")])
    assert table.num_features == 0
    assert table.gather(torch.tensor([0])).features is None


def test_features_of_another_number_of_molecules_are_an_error():
    with pytest.raises(DataError, match=r"2 rows of features do not fit 1 molecules; give one row"):
        GraphTable.from_molecules([featurise_smiles("CCO")], np.zeros((2, 3)))


def test_rows_outside_the_table_are_an_error(table):
    with pytest.raises(IndexError):
        table.gather(torch.tensor([len(table)]))


def test_read_only_columns_are_shared_not_copied(table):
    atoms = np.zeros((3, 9), np.uint8)
    atoms.setflags(write=False)
    molecule = featurise_smiles("CCO")
    columns = GraphColumns.from_molecules([molecule])._replace(atoms=atoms)
    shared = GraphTable(columns)
    assert np.shares_memory(shared.atoms.numpy(), atoms)
    assert shared.gather(torch.tensor([0])).atoms.tolist() == atoms.tolist()


def test_a_store_is_read_in_place_with_its_features(tmp_path):
    library = [featurise_smiles(text) for text in SMILES]
    block = FeatureBlock(kind="columns", columns=("mass", "size"))
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    with StoreWriter(
        tmp_path / "store", tasks=(TaskInfo("t", "binary"),), feature_blocks=(block,)
    ) as writer:
        writer.extend(
            GraphColumns.from_molecules(library),
            smiles=SMILES,
            labels_GT=np.ones((6, 1), np.float32),
            split_GT=np.zeros((6, 1), np.uint8),
            row_numbers=np.arange(6),
            features={"columns": values},
        )
    store = GraphStore(tmp_path / "store")
    table = GraphTable.from_store(store, ("columns",))
    assert np.shares_memory(table.atoms.numpy(), store.atoms)
    assert np.shares_memory(table.bonds.numpy(), store.bonds)
    rows = torch.tensor([3, 1, 3])
    expected = GraphTable.from_molecules(library, values).gather(rows)
    batch = table.gather(rows)
    for name in expected.__slots__:
        assert torch.equal(getattr(batch, name), getattr(expected, name)), name
    assert GraphTable.from_store(store).num_features == 0


def test_a_batch_moves_to_a_device_whole(table):
    batch = table.gather(torch.tensor([0, 3]))
    moved = batch.to("meta")
    for name in batch.__slots__:
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == getattr(batch, name).shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_rows_on_the_host_never_wait_for_the_gpu():
    library = [featurise_smiles(text) for text in SMILES]
    features = np.arange(12, dtype=np.uint8).reshape(6, 2)
    here = GraphTable.from_molecules(library, features)
    there = GraphTable.from_molecules(library, features, device="cuda")
    rows = torch.tensor([5, 0, 3, 3])
    pinned = rows.pin_memory()
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = there.gather(pinned)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = here.gather(rows)
    for name in expected.__slots__:
        assert torch.equal(getattr(batch, name).cpu(), getattr(expected, name))
