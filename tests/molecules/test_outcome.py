import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import DataError
from graphadapt.molecules import outcome
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles
from graphadapt.molecules.outcome import PackedOutcomes, featurise_one

BLOCKS = (FeatureBlock(kind="counts", size=32), FeatureBlock(kind="columns", columns=("dose",)))

ATTEMPTS = ["CCO", "C1CC", "[He]", "c1ccccc1", "", "CC(=O)O[AlH3](O)O"]


def attempt(text):
    try:
        return featurise_one(text, BLOCKS, {"dose": float(len(text))})
    except DataError as error:
        return error


def assert_same_outcome(one, other):
    assert type(one) is type(other)
    if isinstance(one, DataError):
        assert str(one) == str(other)
        return
    pairs = zip((*one.arrays, *one.features), (*other.arrays, *other.features), strict=True)
    for left, right in pairs:
        assert left.dtype == right.dtype
        assert np.array_equal(left, right)


def test_one_molecule_has_its_arrays_and_a_row_for_each_block():
    molecule = featurise_one("CCO", BLOCKS, {"dose": 2.5})
    for left, right in zip(molecule.arrays, featurise_smiles("CCO"), strict=True):
        assert np.array_equal(left, right)
    assert [row.shape for row in molecule.features] == [(32,), (1,)]
    assert molecule.features[1].tolist() == [2.5]


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.sampled_from(ATTEMPTS), max_size=12))
def test_packing_and_pickling_lose_nothing(texts):
    outcomes = [attempt(text) for text in texts]
    packed = pickle.loads(pickle.dumps(PackedOutcomes.of(outcomes, BLOCKS)))
    again = packed.unpack()
    assert len(again) == len(outcomes)
    for one, other in zip(again, outcomes, strict=True):
        assert_same_outcome(one, other)


def test_a_failure_inside_rdkit_is_an_error_about_the_molecule(monkeypatch):
    def fail(text):
        raise RuntimeError("Pre-condition\n\tViolation")

    monkeypatch.setattr(outcome, "parse_smiles", fail)
    with pytest.raises(DataError, match="RDKit fails on 'CCO': Pre-condition Violation"):
        featurise_one("CCO")
