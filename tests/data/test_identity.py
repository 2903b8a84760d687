import pytest
from rdkit import Chem

from graphadapt.data.identity import Identity, identify, identify_many
from graphadapt.errors import DataError


def test_two_spellings_are_one_molecule():
    assert identify("OCC") == identify("C(O)C") == Identity("CCO", None)


def test_stereo_isotopes_and_charges_tell_molecules_apart():
    texts = ["C[C@H](O)F", "C[C@@H](O)F", "CC(O)F", "[13CH3]C(O)F", "C/C=C/C", "C/C=C\\C", "[CH3]"]
    names = {identify(text).canonical for text in texts}
    assert len(names) == len(texts)


def test_the_name_is_rdkits_canonical_smiles():
    text = "C1=CC=C(C=C1)C(=O)[O-].[Na+]"
    assert identify(text).canonical == Chem.CanonSmiles(text)


@pytest.mark.parametrize("text", ["C1CC", "not a molecule", "", "c1cccc1"])
def test_what_is_no_molecule_comes_back_as_an_error(text, capfd):
    (outcome,) = identify_many([text], shown=False)
    assert isinstance(outcome, DataError)
    assert capfd.readouterr() == ("", "")


def test_unusual_valences_have_an_identity():
    assert identify("CC(=O)O[AlH3](O)O", scaffold=True).scaffold == ""


def test_a_failure_inside_rdkit_comes_back_as_an_error(monkeypatch):
    def fail(_):
        raise RuntimeError("invariant\n  violated")

    monkeypatch.setattr("graphadapt.data.identity.Chem.MolToSmiles", fail)
    assert "RDKit fails on 'C': invariant violated" in str(identify("C"))


def test_several_processes_give_the_same_in_the_same_order():
    texts = ["C" * (1 + row % 7) + "O" for row in range(1300)]
    texts[700] = "C1CC"
    alone = list(identify_many(texts, scaffold=True, processes=1, shown=False))
    shared = list(identify_many(texts, scaffold=True, processes=2, shown=False))
    assert isinstance(shared.pop(700), DataError)
    assert isinstance(alone.pop(700), DataError)
    assert shared == alone
