import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.errors import DataError
from graphadapt.molecules.chunk import Chunk, featurise_chunk
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import PackedOutcomes, feature_table

ATTEMPTS = ["CCO", "C1CC", "[He]", "c1ccccc1", "", "CC(=O)O[AlH3](O)O"]


def assert_same_outcome(one, other):
    assert type(one) is type(other)
    if isinstance(one, DataError):
        assert str(one) == str(other)
        return
    for left, right in zip(one.arrays, other.arrays, strict=True):
        assert left.dtype == right.dtype
        assert np.array_equal(left, right)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from(ATTEMPTS), max_size=4), min_size=1, max_size=4))
def test_joining_pickling_and_unpacking_lose_nothing(texts):
    parts = [featurise_chunk(Chunk(part, (), {})) for part in texts]
    joined = pickle.loads(pickle.dumps(PackedOutcomes.joined(parts)))
    alone = [outcome for part in parts for outcome in part.unpack()]
    assert len(joined) == len(alone)
    for one, other in zip(joined.unpack(), alone, strict=True):
        assert_same_outcome(one, other)


def test_blocks_of_any_type_stand_side_by_side_as_float32():
    blocks = (FeatureBlock(kind="counts", size=16), FeatureBlock(kind="descriptors"))
    found = featurise_chunk(Chunk(["CCO", "c1ccccc1"], blocks, {})).unpack()
    table = feature_table(found)
    assert table.dtype == np.float32
    for row, each in zip(table.tolist(), found, strict=True):
        assert row == [float(value) for block in each.features for value in block]


def test_without_molecules_or_blocks_there_is_no_table():
    assert feature_table([]) is None
    assert feature_table(featurise_chunk(Chunk(["CCO"], (), {})).unpack()) is None
