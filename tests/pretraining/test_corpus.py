"""Stores joined to one stock: whose molecules are read, and which labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphadapt.data.load import load_source
from graphadapt.data.prepare import prepare
from graphadapt.data.split import TEST, TRAIN, VALID
from graphadapt.data.store import GraphStore
from graphadapt.errors import ConfigError, DataError
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.features import FeatureBlock
from graphadapt.pretraining.config import PretrainConfig
from graphadapt.pretraining.corpus import LABELS, Corpus, join_batches
from graphadapt.pretraining.sampler import CorpusSampler

COLUMNS = ("atoms", "source", "target", "bond_codes", "graph_of_node", "nodes_per_graph")


@pytest.fixture(scope="module")
def corpus(settings):
    return Corpus(settings)


def test_no_molecule_with_a_validation_or_test_cell_is_read(corpus, labelled_store):
    split = GraphStore(labelled_store).split
    read = np.concatenate([corpus.parts[1].training, corpus.parts[1].held_out])
    assert not np.isin(split[read], (VALID, TEST)).any()
    assert len(read) == (~np.isin(split, (VALID, TEST)).any(axis=1)).sum()
    assert len(set(read)) == len(read)


def test_of_a_store_without_labels_all_is_read(corpus, plain_store):
    part = corpus.parts[0]
    assert len(part.training) + len(part.held_out) == len(GraphStore(plain_store))


def test_labels_are_training_cells_of_the_named_store_only(corpus, labelled_store):
    store = GraphStore(labelled_store)
    assert [task.name for task in corpus.tasks] == ["aromatic", "potency"]
    assert np.isnan(corpus.parts[0].targets[LABELS]).all()
    columns = [store.task_names.index(task.name) for task in corpus.tasks]
    learned = corpus.parts[1].targets[LABELS]
    trains = np.asarray(store.split)[:, columns] == TRAIN
    np.testing.assert_array_equal(~np.isnan(learned), trains)
    np.testing.assert_array_equal(learned[trains], store.labels_float()[:, columns][trains])


def test_a_batch_joins_stores_as_one_table_would(corpus):
    rows = [corpus.training[0][:3], corpus.training[1][[5, 2]]]
    found = corpus.gather(rows)
    molecules = [
        part.store.molecule(int(row))
        for part, own in zip(corpus.parts, rows, strict=True)
        for row in own
    ]
    expected = GraphTable.from_molecules(molecules).gather(torch.arange(5))
    for name in (*COLUMNS, "node_offsets"):
        assert torch.equal(getattr(found.batch, name), getattr(expected, name)), name
    counts = [
        part.store.features(["counts"])[own] for part, own in zip(corpus.parts, rows, strict=True)
    ]
    np.testing.assert_array_equal(found.targets["counts"].numpy(), np.concatenate(counts))
    assert found.targets["counts"].dtype == torch.uint8


def test_the_order_of_edges_is_joined_where_every_part_knows_it(corpus):
    molecules = [corpus.parts[0].store.molecule(row) for row in (3, 0, 5, 1, 2)]
    whole = GraphTable.from_molecules(molecules, ordered=True)
    parts = [whole.gather(torch.tensor(rows)) for rows in ([0, 1], [2], [3, 4])]
    joined, expected = join_batches(parts), whole.gather(torch.arange(5))
    for name in (*COLUMNS, "node_offsets", "by_target", "edge_offsets"):
        assert torch.equal(getattr(joined, name), getattr(expected, name)), name
    parts[1] = replace(parts[1], by_target=None, edge_offsets=None, node_offsets=None)
    joined = join_batches(parts)
    assert (joined.by_target, joined.edge_offsets, joined.node_offsets) == (None, None, None)


def test_a_store_without_a_row_in_the_batch_is_left_out(corpus):
    none = np.zeros(0, np.int64)
    found = corpus.gather([corpus.training[0][:2], none])
    assert found.batch.num_graphs == 2
    assert len(found.targets[LABELS]) == 2


def test_joining_one_batch_changes_nothing(corpus):
    batch = corpus.gather([corpus.training[0][:4], corpus.training[1][:0]]).batch
    joined = join_batches([batch])
    assert torch.equal(joined.source, batch.source)
    assert torch.equal(joined.graph_of_node, batch.graph_of_node)


def test_a_sample_is_mixed_as_the_first_steps_are_and_holds_all_labels(corpus):
    sampler = CorpusSampler(corpus.training, (), 16, seed=0)
    found = corpus.sample(sampler, 20)
    expected = sum(len(rows) for step in range(2) for rows in sampler.draw(step))
    assert found.batch.num_graphs == expected == len(found.targets["counts"])
    assert len(found.targets[LABELS]) == sum(map(len, corpus.training))


def config_of(*stores, **more):
    names = [str(store) for store in stores]
    return PretrainConfig().with_settings({"corpus.stores": names, **more})


def test_a_corpus_that_cannot_be_used_is_refused_in_one_line(plain_store, labelled_store, tmp_path):
    with pytest.raises(ConfigError, match=r"corpus\.stores is empty; name prepared stores, made"):
        Corpus(PretrainConfig())
    with pytest.raises(DataError, match="nowhere is not a folder; make a store"):
        Corpus(config_of(tmp_path / "nowhere"))
    supervised = {
        "objectives.supervised.weight": 1.0,
        "objectives.supervised.store": str(plain_store),
    }
    with pytest.raises(DataError, match="has no labels, so objectives"):
        Corpus(config_of(plain_store, **supervised))
    supervised |= {"objectives.supervised.store": str(labelled_store)}
    with pytest.raises(DataError, match=r"is named 'aromatik'; did you mean 'aromatic'\?"):
        Corpus(
            config_of(labelled_store, **supervised, **{"objectives.supervised.tasks": ["aromatik"]})
        )


@pytest.fixture(scope="module")
def odd_stores(repository, tmp_path_factory):
    """The labelled molecules with 32 places instead of 64, and without any features."""
    folder = tmp_path_factory.mktemp("odd")
    source = load_source(repository / "tests" / "molecules.csv")
    for name, blocks in (("other", [FeatureBlock(kind="counts", size=32)]), ("graphs", [])):
        prepare(source, folder / name, blocks, split="random", processes=1, shown=False)
    return folder


def test_objectives_need_their_blocks_and_the_same_ones_everywhere(
    tiny_store, plain_store, odd_stores
):
    with pytest.raises(
        DataError,
        match=r"no 'descriptors' features, which .* --features descriptors,counts",
    ):
        Corpus(config_of(tiny_store))
    bits_only = {"objectives.descriptors.weight": 0.0}
    assert len(Corpus(config_of(tiny_store, plain_store, **bits_only)).blocks) == 1
    with pytest.raises(DataError, match="hold 'counts' features of different settings"):
        Corpus(config_of(plain_store, odd_stores / "other", **bits_only))
    with pytest.raises(DataError, match="no 'counts' features"):
        Corpus(config_of(odd_stores / "graphs", **bits_only))
    masks_only = {**bits_only, "objectives.fingerprint.weight": 0.0}
    assert Corpus(config_of(odd_stores / "graphs", **masks_only)).blocks == ()


def test_a_store_with_nothing_to_train_on_is_refused(odd_stores, tmp_path, repository):
    source = load_source(repository / "tests" / "molecules.csv", split_column="part")
    assert source.split is not None
    tested = source.take(np.flatnonzero((source.split == TEST).any(axis=1)))
    prepare(tested, tmp_path / "tested", split="column:part", processes=1, shown=False)
    masks_only = {"objectives.descriptors.weight": 0.0, "objectives.fingerprint.weight": 0.0}
    with pytest.raises(DataError, match="has 0 molecules without a validation or test cell"):
        Corpus(config_of(tmp_path / "tested", **masks_only))
