"""A cache answers what the model would, keeps to its size and counts what it did."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from graphadapt.errors import ConfigError
from graphadapt.molecules.chunk import Chunk, featurise_chunk
from graphadapt.molecules.features import FeatureBlock
from graphadapt.serve.answer_cache import AnswerCache, molecule_key, structure_key

TEXTS = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "N[C@@H](C)C(=O)O",
    "C[C@H]1CC[C@@H](O)CC1",
    "F/C=C/F",
    "[Na+].[Cl-]",
    "O=[N+]([O-])c1ccccc1",
    "CN1CCC[C@H]1c1cccnc1",
    "[2H]C([2H])O",
]
BLOCKS = (FeatureBlock(kind="counts", size=64),)


def read(text):
    """The molecule as a bundle reads it, and its key."""
    packed = featurise_chunk(Chunk([text], BLOCKS, {}, (structure_key,)))
    (outcome,) = packed.unpack()
    return outcome, molecule_key(packed.keys[0][0].tobytes(), outcome)


def spellings(text, count=8):
    mol = Chem.MolFromSmiles(text)
    return {
        Chem.MolToSmiles(mol, doRandom=True, canonical=False, kekuleSmiles=False)
        for _ in range(count)
    }


def exactly_equal_up_to_order(left, right):
    """Whether two featurised molecules are one graph, by trying RDKit-free every matching."""
    import networkx

    def graph(molecule):
        made = networkx.Graph()
        for atom, row in enumerate(molecule.atoms.tolist()):
            made.add_node(atom, row=tuple(row))
        for (a, b), row in zip(
            molecule.bonds.tolist(), molecule.bond_features.tolist(), strict=True
        ):
            made.add_edge(a, b, row=tuple(row))
        return made

    same = networkx.algorithms.isomorphism.GraphMatcher(
        graph(left),
        graph(right),
        node_match=lambda a, b: a["row"] == b["row"],
        edge_match=lambda a, b: a["row"] == b["row"],
    )
    return same.is_isomorphic()


@pytest.mark.parametrize("text", TEXTS)
def test_spellings_share_a_key_just_if_the_model_reads_the_same(text):
    pytest.importorskip("networkx")
    outcome, key = read(text)
    for other in spellings(text):
        found, its_key = read(other)
        if its_key == key:
            assert exactly_equal_up_to_order(outcome.arrays, found.arrays)
            np.testing.assert_array_equal(outcome.features[0], found.features[0])
        else:  # nothing but the winding of a chiral centre depends on the spelling
            assert "@" in text


def test_a_centre_that_winds_the_other_way_in_the_arrays_is_another_molecule():
    one, again = "N[C@@H](C)C(=O)O", "C[C@H](N)C(=O)O"
    assert Chem.CanonSmiles(one) == Chem.CanonSmiles(again)
    (left, left_key), (right, right_key) = read(one), read(again)
    assert sorted(left.arrays.atoms[:, 1]) != sorted(right.arrays.atoms[:, 1])
    assert left_key != right_key


def test_plain_spellings_share_a_key():
    assert read("OCC")[1] == read("CCO")[1] == read("C(O)C")[1]
    assert read("c1ccccc1O")[1] == read("C1=CC=CC=C1O")[1]
    assert len({read(text)[1] for text in TEXTS}) == len(TEXTS)


def test_what_a_feature_block_says_is_part_of_the_key():
    outcome, _ = read("CCO")
    other = outcome._replace(features=(outcome.features[0] + 1,))
    assert molecule_key(b"ethanol", outcome) != molecule_key(b"ethanol", other)


def test_a_text_then_a_structure_then_nothing_is_found_and_counted():
    cache = AnswerCache(4)
    assert cache.by_text(["CCO", "OCC"]) == [None, None]
    assert cache.by_structure(["CCO"], [b"ethanol"]) == [None]
    cache.remember(["CCO"], [b"ethanol"], np.float32([[1, 2]]))
    (known,) = cache.by_text(["CCO"])
    np.testing.assert_array_equal(known, [1, 2])
    np.testing.assert_array_equal(cache.by_structure(["OCC"], [b"ethanol"])[0], [1, 2])
    assert cache.by_text(["OCC"])[0] is known
    assert cache.counts == (2, 1, 1)


def test_answers_cannot_be_changed_from_outside():
    cache, given_answers = AnswerCache(2), np.float32([[1]])
    cache.remember(["C"], [b"c"], given_answers)
    given_answers[:] = 9
    (known,) = cache.by_text(["C"])
    assert known.tolist() == [1]
    with pytest.raises(ValueError, match="read-only"):
        known[0] = 3


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 5))
def test_the_least_recently_asked_make_room(asked, size):
    cache, recent = AnswerCache(size), []
    for number in asked:
        (known,) = cache.by_text([number])
        assert (known is not None) == (number in recent)
        if known is None:
            cache.remember([number], [bytes([number])], np.float32([[number]]))
        else:
            assert known.tolist() == [number]
        recent = [*[each for each in recent if each != number], number][-size:]
        assert len(cache) <= size


def test_many_threads_may_use_one_cache():
    cache = AnswerCache(50)

    def work(seed):
        for number in np.random.default_rng(seed).integers(0, 100, 300).tolist():
            (known,) = cache.by_text([number])
            if known is None:
                cache.remember([number], [b"%d" % number], np.float32([[number]]))
            else:
                assert known.tolist() == [number]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(cache) == 50


def test_a_cache_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="a cache of 0 answers cannot work"):
        AnswerCache(0)
