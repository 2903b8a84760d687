"""A gather against a loop over molecules, OGB's own graphs, and the same gather padded."""

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
from graphadapt.graphs.batch import GraphBatch, GraphTable
from graphadapt.graphs.buckets import BatchSize
from graphadapt.graphs.edges import bond_order
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles

SMILES = ("CCO", "[Na+].[Cl-]", "C", "c1ccccc1C(=O)N[C@@H](C)C(=O)O", "C/C=C/C#N", "[He]")


@pytest.fixture(scope="module")
def table():
    features = np.arange(12, dtype=np.uint8).reshape(6, 2)
    molecules = [featurise_smiles(text) for text in SMILES]
    return GraphTable.from_molecules(molecules, features, ordered=True)


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


def tensors_of(batch):
    columns = {name: getattr(batch, name) for name in batch.__slots__}
    return {name: column for name, column in columns.items() if isinstance(column, torch.Tensor)}


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
    table = GraphTable.from_molecules(library, ordered=True)
    batch = table.gather(torch.tensor(rows, dtype=torch.int64))
    atoms, source, target, codes, owner = loop_batch([library[row] for row in rows])
    assert batch.atoms.tolist() == atoms
    assert batch.source.tolist() == source
    assert batch.target.tolist() == target
    assert batch.bond_codes.tolist() == codes
    assert batch.graph_of_node.tolist() == owner
    assert batch.nodes_per_graph.tolist() == [len(library[row].atoms) for row in rows]
    assert (batch.num_nodes, batch.num_graphs) == (len(atoms), len(rows))
    assert not batch.is_padded
    assert batch.num_real_nodes is None
    check_order(batch)


def check_order(batch):
    """Hold what a batch says of its order against sorting its edges."""
    columns = (batch.source, batch.target, batch.bond_codes)
    expected, found = bond_order(*columns, batch.num_nodes), batch.bond_order
    for name in expected.edges.__slots__:
        if name not in ("by_source", "targets_by_source"):
            assert torch.equal(getattr(found.edges, name), getattr(expected.edges, name)), name
    assert torch.equal(found.codes_by_target, expected.codes_by_target)
    # Edges that leave one node may stand in any order among themselves.
    by_source = found.edges.by_source
    assert torch.equal(by_source.sort().values, torch.arange(len(by_source)))
    assert torch.equal(batch.source[by_source], batch.source.sort().values)
    assert torch.equal(found.edges.targets_by_source, batch.target[by_source])
    assert torch.equal(found.codes_by_source, batch.bond_codes[by_source])
    assert torch.equal(batch.node_offsets.diff(), batch.nodes_per_graph)


@settings(max_examples=60, deadline=None)
@given(st.lists(molecules(), min_size=1, max_size=6), st.data())
def test_padding_comes_after_the_same_batch_and_touches_none_of_it(library, data):
    rows = torch.tensor(
        data.draw(st.lists(st.integers(0, len(library) - 1), max_size=8)), dtype=torch.int64
    )
    table = GraphTable.from_molecules(library, ordered=True)
    plain, size = table.gather(rows), table.size(rows)
    more_nodes = data.draw(st.integers(0, 5))
    more_bonds = data.draw(st.integers(0, 9)) if more_nodes else 0
    bucket = BatchSize(size.nodes + more_nodes, size.bonds + more_bonds)
    batch = table.gather(rows, bucket=bucket)
    nodes, edges = size.nodes, 2 * size.bonds
    assert (batch.num_nodes, len(batch.source)) == (bucket.nodes, 2 * bucket.bonds)
    for name, count in (
        ("atoms", nodes),
        ("graph_of_node", nodes),
        ("edge_offsets", nodes + 1),
        *((name, edges) for name in ("source", "target", "bond_codes", "by_target")),
    ):
        assert torch.equal(getattr(batch, name)[:count], getattr(plain, name)), name
    assert torch.equal(batch.node_offsets, plain.node_offsets)
    assert batch.num_real_nodes == nodes
    assert (batch.graph_of_node[nodes:] == len(rows)).all()
    assert not batch.atoms[nodes:].any()
    assert not batch.bond_codes[edges:].any()
    check_padding_bonds(batch, nodes, edges)
    check_order(batch)


def check_padding_bonds(batch, nodes, edges):
    """They join padding nodes only, and as evenly as can be."""
    assert (batch.source[edges:] >= nodes).all()
    assert (batch.target[edges:] >= nodes).all()
    if batch.num_nodes > nodes:
        bonds = batch.edge_offsets[nodes:].diff() // 2
        assert bonds.max() - bonds.min() <= 1


def test_positions_of_atoms_are_rows_of_the_atom_column(table):
    rows = torch.tensor([3, 1, 3])
    plain = table.atom_positions(rows)
    assert torch.equal(table.atoms[plain].long(), table.gather(rows).atoms)
    padded = table.atom_positions(rows, bucket=BatchSize(60, 80))
    assert torch.equal(padded[: len(plain)], plain)
    assert len(padded) == 60
    assert not padded[len(plain) :].any()
    assert table.num_atoms == len(table.atoms)


def test_a_bucket_that_is_too_small_is_an_error(table):
    rows = torch.tensor([3, 0])
    nodes, bonds = table.size(rows)
    for bucket in ((nodes - 1, bonds), (nodes + 5, bonds - 1), (nodes, bonds + 1)):
        message = f"{nodes} atoms and {bonds} bonds does not fit a bucket of {bucket[0]} and"
        with pytest.raises(DataError, match=message):
            table.gather(rows, bucket=BatchSize(*bucket))


def test_a_known_size_gives_the_same_batch(table):
    rows = torch.tensor([3, 1, 3])
    batch, known = table.gather(rows), table.gather(rows, size=table.size(rows))
    for name, column in tensors_of(batch).items():
        assert torch.equal(column, getattr(known, name)), name
    assert not known.is_padded


def test_lone_atoms_alone_can_be_padded_with_bonds():
    table = GraphTable.from_molecules([featurise_smiles("C"), featurise_smiles("[He]")])
    batch = table.gather(torch.tensor([1, 0]), bucket=BatchSize(4, 3))
    assert batch.source.tolist() == batch.target.tolist() == [2, 2, 2, 2, 3, 3]
    assert batch.graph_of_node.tolist() == [0, 1, 2, 2]


def test_on_a_cpu_the_order_of_edges_is_left_out_unless_it_is_wanted(table):
    library = [featurise_smiles(text) for text in SMILES]
    batch = GraphTable.from_molecules(library).gather(torch.tensor([3, 0]))
    assert batch.bond_order is None
    for name, column in tensors_of(table.gather(torch.tensor([3, 0]))).items():
        if name in ("by_target", "edge_offsets", "features"):
            assert getattr(batch, name) is None
        else:
            assert torch.equal(getattr(batch, name), column), name


def test_sizes_tell_every_batchs_size_on_the_host(table):
    rows = torch.tensor([[0, 3], [4, 4]])
    sizes = table.sizes[:, rows].sum(-1)
    assert [tuple(size) for size in sizes.T.tolist()] == [table.size(row) for row in rows]


def test_a_batch_put_together_elsewhere_has_no_order():
    one = torch.zeros(1, dtype=torch.int64)
    batch = GraphBatch(torch.zeros(1, 9, dtype=torch.int64), *[one[:0]] * 3, one, one + 1)
    assert batch.bond_order is None
    assert batch.num_real_nodes is None


@pytest.mark.parametrize("row", range(len(SMILES)))
def test_one_molecule_is_ogbs_graph(table, row):
    batch, graph = table.gather(torch.tensor([row])), smiles2graph(SMILES[row])
    assert np.array_equal(batch.atoms, graph["node_feat"])
    assert np.array_equal(torch.stack([batch.source, batch.target]), graph["edge_index"])
    assert np.array_equal(batch.bond_codes, graph["edge_feat"] @ [12, 2, 1])


def test_features_follow_their_molecules_as_float32(table):
    batch = table.gather(torch.tensor([4, 0, 4]))
    assert batch.features.dtype == torch.float32
    assert batch.features.tolist() == [[8, 9], [0, 1], [8, 9]]


def test_without_features_there_are_none():
    table = GraphTable.from_molecules([featurise_smiles("CCO")])
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
    for name, column in tensors_of(expected).items():
        assert torch.equal(getattr(batch, name), column), name
    assert GraphTable.from_store(store).features is None


def test_a_batch_moves_to_a_device_whole(table):
    batch = table.gather(torch.tensor([0, 3]), bucket=BatchSize(30, 40))
    moved = batch.to("meta")
    for name, column in tensors_of(batch).items():
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == column.shape
    assert moved.is_padded


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("place", ["host", "device"])
@pytest.mark.parametrize("padded", [False, True])
def test_a_gather_of_known_size_never_waits_for_the_gpu(place, padded):
    library = [featurise_smiles(text) for text in SMILES]
    features = np.arange(12, dtype=np.uint8).reshape(6, 2)
    here = GraphTable.from_molecules(library, features, ordered=True)
    there = GraphTable.from_molecules(library, features, device="cuda")
    rows = torch.tensor([5, 0, 3, 3])
    given = rows.pin_memory() if place == "host" else rows.to("cuda")
    known = {"bucket": BatchSize(64, 70)} if padded else {"size": here.size(rows)}
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = there.gather(given, **known)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, column in tensors_of(here.gather(rows, **known)).items():
        assert torch.equal(getattr(batch, name).cpu(), column), name
