from hashlib import blake2b

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphadapt.data.identity import canonical_key, groups_of, scaffold_key
from graphadapt.molecules.parse import parse_smiles


def key(text):
    return canonical_key(parse_smiles(text))


def test_two_spellings_are_one_molecule():
    assert key("OCC") == key("C(O)C") == blake2b(b"CCO", digest_size=16).digest()


def test_stereo_isotopes_and_charges_tell_molecules_apart():
    texts = ["C[C@H](O)F", "C[C@@H](O)F", "CC(O)F", "[13CH3]C(O)F", "C/C=C/C", "C/C=C\\C", "[CH3]"]
    assert len(set(map(key, texts))) == len(texts)


def test_the_name_is_rdkits_canonical_smiles():
    text = "C1=CC=C(C=C1)C(=O)[O-].[Na+]"
    assert key(text) == blake2b(Chem.CanonSmiles(text).encode(), digest_size=16).digest()


def test_molecules_of_one_ring_system_share_its_key():
    one, other, chain = (
        scaffold_key(parse_smiles(text)) for text in ("Cc1ccccc1", "Oc1ccccc1", "C")
    )
    assert one == other != chain
    assert len(one) == len(chain) == 16
    assert any(chain)


def test_a_molecule_that_cannot_be_cut_has_a_key_of_zeros(monkeypatch):
    monkeypatch.setattr("graphadapt.data.identity.murcko_scaffold", lambda mol: None)
    assert scaffold_key(parse_smiles("c1ccccc1")) == bytes(16)


def test_unusual_valences_have_an_identity():
    mol = parse_smiles("CC(=O)O[AlH3](O)O")
    assert canonical_key(mol) != scaffold_key(mol) == scaffold_key(parse_smiles("C"))


@settings(deadline=None)
@given(st.lists(st.sampled_from([bytes(16), b"a" * 16, b"a" * 15 + b"\0", b"\0" * 15 + b"a"])))
def test_equal_keys_and_only_they_have_the_same_number(keys):
    groups = groups_of(np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)).tolist()
    for key, group in zip(keys, groups, strict=True):
        assert (group == -1) == (key == bytes(16))
        assert [other == group for other in groups] == [other == key for other in keys]
