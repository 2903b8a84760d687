import random

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors, rdMolDescriptors

from graphadapt.molecules.descriptors import DESCRIPTOR_NAMES, descriptors
from graphadapt.molecules.parse import parse_smiles

MOLECULES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "C[C@H](N)C(=O)O",
    "[Na+].[Cl-]",
    "[He]",
    "*C",
    "CC(=O)O[AlH3](O)O",
    "c1cc[se]c1",
    "Cl[Pt](Cl)(N)N",
    "C" * 200,
]


def named(text):
    return dict(zip(DESCRIPTOR_NAMES, descriptors(parse_smiles(text)), strict=True))


def test_names_are_fixed_many_and_different():
    assert len(DESCRIPTOR_NAMES) == len(set(DESCRIPTOR_NAMES)) == 109
    assert "Ipc" not in DESCRIPTOR_NAMES


def test_values_of_ethanol_counted_by_hand():
    values = named("CCO")
    assert values["NumHeavyAtoms"] == 3
    assert values["NumAtoms"] == 9
    assert values["NumHBD"] == values["lipinskiHBA"] == 1
    assert values["FractionCSP3"] == 1
    assert values["NumRings"] == 0
    assert values["amw"] == pytest.approx(2 * 12.011 + 6 * 1.008 + 15.999, abs=1e-2)


@pytest.mark.parametrize("text", MOLECULES[:3])
def test_values_are_rdkits_own_under_each_name(text):
    mol, values = Chem.MolFromSmiles(text), named(text)
    assert values["tpsa"] == pytest.approx(Descriptors.TPSA(mol), rel=1e-6)
    assert values["CrippenClogP"] == pytest.approx(Crippen.MolLogP(mol), rel=1e-5)
    assert values["CrippenMR"] == pytest.approx(Crippen.MolMR(mol), rel=1e-5)
    assert values["labuteASA"] == pytest.approx(Descriptors.LabuteASA(mol), rel=1e-6)
    for name in ("MQN12", "SlogP_VSA2", "SMR_VSA10", "PEOE_VSA14"):
        series = name.rstrip("0123456789")
        all_of_it = getattr(rdMolDescriptors, series + ("s_" if series == "MQN" else "_"))(mol)
        place = int(name.removeprefix(series)) - 1
        assert values[name] == pytest.approx(all_of_it[place], rel=1e-5)


@pytest.mark.parametrize("text", MOLECULES, ids=lambda text: text[:20])
def test_values_are_always_finite_float32(text):
    values = descriptors(parse_smiles(text))
    assert values.dtype == np.float32
    assert values.shape == (len(DESCRIPTOR_NAMES),)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("text", MOLECULES[:3])
def test_values_do_not_depend_on_the_order_of_atoms(text):
    mol = parse_smiles(text)
    order = random.Random(0).sample(range(mol.GetNumAtoms()), mol.GetNumAtoms())
    moved = descriptors(Chem.RenumberAtoms(mol, order))
    np.testing.assert_allclose(moved, descriptors(mol), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", [text for text in MOLECULES if "Al" not in text])
def test_values_do_not_depend_on_which_parser_read_the_text(text):
    assert np.array_equal(descriptors(parse_smiles(text)), descriptors(Chem.MolFromSmiles(text)))
