import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import DataError
from graphadapt.molecules import chunk
from graphadapt.molecules.chunk import Chunk, featurise_chunk, featurise_one
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.outcome import FeaturisedMolecule
from graphadapt.molecules.parse import parse_smiles

BLOCKS = (FeatureBlock(kind="counts", size=32), FeatureBlock(kind="columns", columns=("dose",)))

ATTEMPTS = [
    *("CCO", "C1CC", "[He]", "c1ccccc1", "", "CC(=O)O[AlH3](O)O", "C[C@H](N)C(=O)O", "F/C=C/F"),
    *(
        "[CH2]C",
        "C/C=C/[C@H](F)[N+](=O)[O-]",
        "C" * 300,
        "**(F)" + "(C)" * 300,
        "C->[Fe]",
        "F[SH5]",
    ),
]
"""Of each thing that only some molecules have, one; two are no molecules."""


def weight(mol):
    return mol.GetNumAtoms().to_bytes(16, "big")


def test_one_molecule_has_its_arrays_and_a_row_for_each_block():
    molecule = featurise_one("CCO", BLOCKS, {"dose": 2.5})
    for left, right in zip(molecule.arrays, featurise_smiles("CCO"), strict=True):
        assert np.array_equal(left, right)
    assert [row.shape for row in molecule.features] == [(32,), (1,)]
    assert molecule.features[1].tolist() == [2.5]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.sampled_from(ATTEMPTS), max_size=12),
    together=st.integers(1, 5),
)
def test_molecules_together_are_those_of_one_at_a_time(texts, together):
    doses = {"dose": [float(row) for row in range(len(texts))]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunk, "_TOGETHER", together)
        packed = featurise_chunk(Chunk(texts, BLOCKS, doses, (weight,)))
    outcomes = packed.unpack()
    assert len(outcomes) == len(texts)
    for row, (text, outcome) in enumerate(zip(texts, outcomes, strict=True)):
        if isinstance(outcome, DataError):
            assert text in ("C1CC", "")
            continue
        for left, right in zip(outcome.arrays, featurise_smiles(text), strict=True):
            assert left.dtype == right.dtype
            assert np.array_equal(left, right)
        assert outcome.features[0].tolist() == BLOCKS[0].compute(parse_smiles(text)).tolist()
        assert outcome.features[1].tolist() == [row]
    atoms = [len(each.arrays.atoms) for each in outcomes if isinstance(each, FeaturisedMolecule)]
    assert [int.from_bytes(each, "big") for each in packed.keys[0]] == atoms


def test_a_failure_inside_rdkit_is_an_error_about_that_molecule_alone(monkeypatch):
    read = chunk.parse_marked

    def fail(text):
        if text == "CCO":
            raise RuntimeError("Pre-condition\n\tViolation")
        return read(text)

    monkeypatch.setattr(chunk, "parse_marked", fail)
    with pytest.raises(DataError, match="RDKit fails on 'CCO': Pre-condition Violation"):
        featurise_one("CCO")
    one, none, other = featurise_chunk(Chunk(["C", "CCO", "CC"], (), {})).unpack()
    assert isinstance(none, DataError)
    assert (len(one.arrays.atoms), len(other.arrays.atoms)) == (1, 2)


def test_no_texts_give_empty_arrays_of_the_right_shape():
    packed = featurise_chunk(Chunk([], BLOCKS, {"dose": []}, (weight,)))
    assert len(packed) == 0
    assert packed.molecules.atoms.shape == (0, 9)
    assert [block.shape for block in packed.features] == [(0, 32), (0, 1)]
    assert packed.keys[0].shape == (0, 16)
