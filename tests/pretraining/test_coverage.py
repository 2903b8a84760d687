"""Rows of the tables that training has met, by a slow count, and the zeros elsewhere."""

import numpy as np
import pytest
import torch

from graphadapt.backbone.factory import build_backbone
from graphadapt.config import BackboneConfig
from graphadapt.data.store import GraphStore
from graphadapt.graphs.batch import GraphTable
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.vocabulary import ATOM_FEATURES, BOND_FEATURES
from graphadapt.pretraining.coverage import TrainedRows
from graphadapt.pretraining.masking import MASKED_ATOM, MASKED_BOND


@pytest.fixture(scope="module")
def store(labelled_store):
    return GraphStore(labelled_store)


ROWS = np.array([3, 10, 40])


@pytest.mark.parametrize("hides", [False, True])
def test_seen_values_are_those_of_the_drawn_molecules_and_the_mask(store, hides):
    trained = TrainedRows([(store, ROWS[:1]), (store, ROWS[1:])], hides=hides)
    atoms = np.concatenate([store.molecule(row).atoms for row in ROWS.tolist()])
    bonds = np.concatenate([store.molecule(row).bond_features for row in ROWS.tolist()])
    for found, seen, mask in (
        (atoms, trained.atoms, MASKED_ATOM),
        (bonds, trained.bonds, MASKED_BOND),
    ):
        for column, (values, masked) in enumerate(zip(seen, mask, strict=True)):
            expected = set(found[:, column].tolist()) | ({masked} if hides else set())
            assert set(np.flatnonzero(values)) == expected


def test_the_record_names_values_not_numbers(store):
    record = TrainedRows([(store, ROWS)], hides=True).to_dict()
    assert 92 in record["never_trained"]["atom"]["atomic_number"]
    assert "STEREOANY" in record["never_trained"]["bond"]["stereo"]
    assert record["trained_as_mask_only"]["atom"]["atomic_number"] == ["misc"]
    assert "misc" not in record["never_trained"]["atom"]["atomic_number"]
    plain = TrainedRows([(store, ROWS)], hides=False).to_dict()
    assert plain["trained_as_mask_only"] == {"atom": {}, "bond": {}}
    assert "misc" in plain["never_trained"]["atom"]["atomic_number"]


@pytest.mark.parametrize("kind", ["gin-virtual-node", "gcn", "neural-fingerprint"])
def test_untrained_rows_become_zero_and_trained_answers_stay(store, kind):
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(kind=kind, layers=2, width=6, dropout=0.0)).eval()
    table = GraphTable.from_store(store)
    batch = table.gather(torch.from_numpy(ROWS))
    before = backbone(batch)
    trained = TrainedRows([(store, ROWS)], hides=False)
    zeroed = trained.zero_others(backbone)
    torch.testing.assert_close(backbone(batch), before, rtol=0, atol=0)
    unseen_atoms = sum(int((~seen).sum()) for seen in trained.atoms)
    unseen_bonds = sum(int((~seen).sum()) for seen in trained.bonds)
    assert zeroed == unseen_atoms + 2 * unseen_bonds  # a table of bonds in each layer
    for name, values in (
        ("atoms.tables.0", trained.atoms[0]),
        ("convolutions.1.bonds.tables.1", trained.bonds[1]),
    ):
        weight = backbone.get_submodule(name).weight
        assert (weight[~torch.from_numpy(values)] == 0).all()
        assert (weight[torch.from_numpy(values)] != 0).all()


def test_an_element_that_was_never_met_counts_as_nothing(store):
    torch.manual_seed(0)
    backbone = build_backbone(BackboneConfig(kind="gin", layers=1, width=4, dropout=0.0)).eval()
    TrainedRows([(store, ROWS)], hides=False).zero_others(backbone)
    table = GraphTable.from_molecules([featurise_smiles(text) for text in ("[U]", "[Th]")])
    answers = backbone(table.gather(torch.arange(2)))
    torch.testing.assert_close(answers[0], answers[1])


def test_the_vocabulary_is_covered():
    assert len(MASKED_ATOM) == len(ATOM_FEATURES)
    assert len(MASKED_BOND) == len(BOND_FEATURES)
