"""Padded arrays: as a slow loop fills them, and without any effect on the answers."""

import numpy as np
import pytest
import torch

from graphadapt.errors import DataError
from graphadapt.export.arrays import ARRAYS
from graphadapt.export.collate import inputs_for
from graphadapt.export.joined_graphs import SILENT
from graphadapt.export.padding import BUCKETS, PADDED, pad
from graphadapt.export.reference import Reference
from graphadapt.export.restate import restate
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.vocabulary import bond_code

BACKBONES = [
    ("gin", {}),
    ("gin-virtual-node", {"pooling": "sum", "jumping_knowledge": "sum"}),
    ("gcn-virtual-node", {"jumping_knowledge": "sum"}),
    ("gcn", {"layers": 1}),
    ("gin-virtual-node", {"layers": 1}),
    ("neural-fingerprint", {"fingerprint_width": 20, "embedding_width": 24}),
]


def by_loop(molecules, graphs, atoms, slots):
    """The arrays, one entry at a time; slots hold neighbours in the order of the bonds."""
    arrays = {
        "padded_atoms": np.zeros((graphs, atoms, 9), np.uint8),
        "padded_neighbours": np.zeros((graphs, atoms, slots), np.int32),
        "padded_bonds": np.full((graphs, atoms, slots), SILENT, np.uint8),
        "padded_counts": np.zeros((graphs, atoms), np.float32),
        "padded_degrees": np.zeros((graphs, atoms), np.float32),
    }
    for g, molecule in enumerate(molecules):
        arrays["padded_atoms"][g, : len(molecule.atoms)] = molecule.atoms
        arrays["padded_counts"][g, : len(molecule.atoms)] = 1
        for ends, code in zip(molecule.bonds, bond_code(molecule.bond_features), strict=True):
            for here, there in (ends, ends[::-1]):
                slot = int(arrays["padded_degrees"][g, here])
                arrays["padded_neighbours"][g, here, slot] = there
                arrays["padded_bonds"][g, here, slot] = code
                arrays["padded_degrees"][g, here] += 1
    arrays["padded_counts"][len(molecules) :, 0] = 1
    return arrays


def neighbourhoods(arrays):
    """Neighbour and bond of every slot, sorted, because slots have no order."""
    pairs = arrays["padded_neighbours"].astype(np.int64) * 256 + arrays["padded_bonds"]
    return np.sort(pairs, axis=-1)


def test_arrays_are_those_of_a_slow_loop(molecules):
    largest = max(len(each.atoms) for each in molecules)
    arrays = pad(molecules, atoms=largest + 3, slots=7, graphs=len(molecules) + 2)
    expected = by_loop(molecules, len(molecules) + 2, largest + 3, 7)
    assert tuple(arrays) == PADDED
    for name, array in expected.items():
        assert arrays[name].dtype == ARRAYS[name].dtype
        if name not in ("padded_neighbours", "padded_bonds"):
            np.testing.assert_array_equal(arrays[name], array)
    np.testing.assert_array_equal(neighbourhoods(arrays), neighbourhoods(expected))


def test_a_batch_is_as_large_as_its_largest_molecule(molecules):
    arrays = pad(molecules, np.ones((len(molecules), 3), np.float32))
    largest = max(len(each.atoms) for each in molecules)
    assert arrays["padded_bonds"].shape == (len(molecules), largest, 6)
    assert arrays["features"].shape == (len(molecules), 3)
    alone = pad([featurise_smiles("[He]")])
    assert alone["padded_bonds"].tolist() == [[[SILENT]]]


@pytest.mark.parametrize("shape", [{"atoms": 39}, {"slots": 5}, {"graphs": 11}])
def test_what_does_not_fit_is_an_error(molecules, shape):
    with pytest.raises(DataError, match="12 molecules of up to 40 atoms and 6 bonds an atom do"):
        pad(molecules, **shape)


def test_the_arrays_a_model_reads_are_chosen_by_name(molecules):
    names = ("padded_atoms", "padded_bonds")
    assert tuple(inputs_for(names, molecules)) == names


@pytest.mark.parametrize(("kind", "settings"), BACKBONES)
def test_padded_answers_are_exact_whatever_the_padding(
    make_backbone, make_frozen, molecules, kind, settings
):
    frozen = make_frozen(make_backbone(kind, **settings))
    model = restate(frozen, torch.float64, padded=True)
    expected = Reference(frozen).answer(molecules)
    for shape in ({}, {"atoms": 45, "slots": 9, "graphs": 15}):
        arrays = pad(molecules, **shape)
        inputs = {name: torch.from_numpy(arrays[name]) for name in model.reads}
        doubles = {n: t.double() if t.is_floating_point() else t for n, t in inputs.items()}
        answers = model(doubles)[0].numpy()
        assert np.isfinite(answers).all()
        np.testing.assert_allclose(answers[: len(molecules)], expected, rtol=1e-11, atol=1e-11)


def test_degrees_are_read_only_where_layers_scale_by_them(make_backbone, make_frozen):
    assert restate(make_frozen(make_backbone("gin")), padded=True).reads == PADDED[:4]
    assert restate(make_frozen(make_backbone("gcn")), padded=True).reads == PADDED


def test_buckets_grow_and_fill_a_batch():
    assert list(BUCKETS) == sorted(BUCKETS)
    assert all(bucket.atoms * bucket.graphs > 15_000 for bucket in BUCKETS)
