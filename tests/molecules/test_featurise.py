"""Claims about SMILES and their arrays, against ogb's smiles2graph and RDKit's own parser."""

import csv
import gzip
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from graphadapt.errors import DataError
from graphadapt.molecules.featurise import featurise, featurise_smiles
from graphadapt.molecules.parse import Marks, parse_smiles

SETS = ("tox21", "toxcast", "muv", "sider")

ELEMENTS = [Chem.GetPeriodicTable().GetElementSymbol(number) for number in range(1, 119)]

CURIOUS = [
    *(f"[{symbol}]" for symbol in ELEMENTS),
    *("[H+]", "[H-]", "[Na+]", "[Fe+2]", "[Fe+3]", "[O-2]", "[N-3]", "[Cl-]", "[Ti+4]", "[W+6]"),
    *(
        "C",
        "*",
        "[*]",
        "[*-2]",
        "[2H]",
        "[13CH4]",
        "[235U]",
        "[CH3]",
        "[CH2]",
        "[O][O]",
        "[nH]1cccc1",
    ),
    *("[2H]O[2H]", "[2H][2H]", "[3H]C", "[1H]C", "[0H]C", "[H][H]", "[H]O[H]", "[H]C([H])([H])[H]"),
    *("[#6]", "[#1]C", "[H+].[Cl-]", "F[H]F", "[H]/C=C/F", "[CH5+]", "[H]c1ccccc1", "[H:1]C"),
    *("[Na+].[Cl-]", "CC.O", "C.C.C", "[K+].[O-]C(=O)C(O)C(O)C([O-])=O.[Na+]", "O.O.[Cu+2]"),
    *("F/C=C/F", r"F/C=C\F", "FC=CF", "C/C=C/C=C\\C", "N1=C/CCCCCC/1", "C/C=C=C=C/C", "F/N=N/F"),
    *("F[C@](Cl)(Br)I", "F[C@@](Cl)(Br)I", "C[C@H](N)C(=O)O", "C[S@](=O)CC", "C[P@](F)Cl"),
    *("C[C@H](O)[C@@H](O)[C@H](O)C", "OC1C[C@H]2CC[C@@H]1C2", "CC(C)=[C@]=C(C)F"),
    *(
        "C[Pt@SP1](F)(Cl)[H]",
        "C[Pt@SP1](F)(Cl)Br",
        "S[As@TB1](F)(Cl)(Br)N",
        "C[Co@OH1](F)(Cl)(Br)(I)S",
    ),
    *("CN(=O)=O", "C[N+](=O)[O-]", "[O-]Cl(=O)(=O)=O", "OCl(=O)(=O)=O", "C=[N+]=[N-]", "CN=[N]=N"),
    *(
        "C#N",
        "[C-]#[O+]",
        "C$C",
        "[Re-]$[Re-]",
        "[Fe]C",
        "C->[Fe]",
        "[Fe]<-C",
        "N->B",
        "c1ccccc1[Mg]Br",
    ),
    *(
        "[Fe]123456(F)C7=C1C2C3=C47.C8=C5C6C=C8",
        "[CH]1C=CC=C1.[CH]1C=CC=C1.[Fe]",
        "FS(F)(F)(F)(F)F",
    ),
    *(
        "FP(F)(F)(F)F",
        "F[Xe]F",
        "[SiH4]",
        "[BH4-]",
        "[AlH3]",
        "Cl[Sn](Cl)(Cl)Cl",
        "FI(F)(F)(F)(F)(F)F",
    ),
    *(
        "c1ccc2ccccc2c1",
        "c1cc[se]c1",
        "c1cc[te]c1",
        "O=c1[nH]cccc1",
        "c1ccsc1",
        "C1CC1",
        "C12C3C4C1C5C2C3C45",
    ),
    *(
        "C1=CC=CC=C1 |c:0,2,4|",
        "C |^1:0|",
        "C[C@H](F)Cl |o1:1|",
        "CC=CC |t:1|",
        "CC |$_R1;$|",
        "C1=CCCC=C1",
    ),
    *(
        "CCO ethanol",
        " CCO",
        "CCO\t",
        "CC\n",
        "**(F)" + "(C)" * 300,
        "[CH20]C",
        "C" * 200,
        "C" * 256,
        "C" * 257,
    ),
    *(
        "c1ccccc1" * 40,
        "OCC(=O)NC" * 30,
        "C1CCCCC1" * 33,
        "[C@H](F)(Cl)" * 100 + "O",
        "C/C=C/C" * 60,
    ),
    *("CC(=O)O[AlH3](O)O", "CCOC(=O)/C=C(/C)O[AlH3](OC(C)CC)OC(C)CC", "C[C](C)(C)(C)C", "[NH4]"),
    *("[NH5]", "F[C@](Cl)(Br)(I)O", "O=N(=O)(=O)C", "[H]C(C)(C)(C)(C)C", "CO(C)C"),
]
"""Single atoms, ions, isotopes, pieces, stereo of every sort, odd valences, long chains."""

FRAGMENTS = [
    *("C", "N", "O", "S", "C(=O)", "C(F)(F)", "c1ccc(cc1)", "c1cc[n+](C)c(c1)", "C1CCC(CC1)"),
    *("[C@H](N)", "[C@@](C)(F)", "/C=C/", "/C(F)=C\\", "C#C", "S(=O)(=O)", "[Si](C)(C)", "[13CH2]"),
    *("[N+](C)(C)", "P(=O)([O-])", "N(=O)=O", "B(O)", "[Se]", "C(.[Na+])", "[2H]", "N=[N+]=[N-]"),
    *("c1c[nH]c(n1)", "[C]", "[O]", "=O", "#N", "[Fe]", "C([H])", "1CC1", "("),
]

smiles_texts = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=12).map("".join)
"""Mostly molecules; a few are not SMILES, or hold a valence that RDKit refuses."""

scribbles = st.text(alphabet="CNOcnos()[]=#@/\\+-.1234HFe%* |:$^>{}é\x00", max_size=20)


def assert_same(ours, theirs):
    both_ways = np.stack([ours.bonds, ours.bonds[:, ::-1]], axis=1).reshape(-1, 2)
    assert np.array_equal(ours.atoms, theirs["node_feat"])
    assert np.array_equal(both_ways.T, theirs["edge_index"])
    assert np.array_equal(ours.bond_features.repeat(2, axis=0), theirs["edge_feat"])


def assert_equal(ours, others):
    for left, right in zip(ours, others, strict=True):
        assert np.array_equal(left, right)


def real_molecules(folder, name):
    path = folder / "ogb" / f"ogbg_mol{name}" / "mapping" / "mol.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[-1] == "smiles"
    return [row[-1] for row in rows]


def is_awkward(text):
    """Isotopes, rare elements, very short or long; they hold every refused molecule."""
    rare = r"\[\d|\[\*|\[(?!Na|Cl|Br|Cc)[A-Z][a-z]"
    return len(text) <= 2 or len(text) > 300 or re.search(rare, text) is not None


@pytest.mark.parametrize("text", CURIOUS, ids=lambda text: text[:30])
def test_curious_molecules_are_as_ogb_sees_them(text, witness):
    assert_same(featurise_smiles(text), witness(text))


@pytest.mark.parametrize("name", SETS)
def test_real_molecules_are_as_ogb_sees_them(name, real_data, witness):
    texts = real_molecules(real_data, name)
    awkward = [text for text in texts if is_awkward(text)]
    for text in [*awkward, *random.Random(0).sample(texts, 300)]:
        assert_same(featurise_smiles(text), witness(text))


def test_the_refused_molecules_of_tox21_are_read_all_the_same(real_data, witness):
    awkward = filter(is_awkward, real_molecules(real_data, "tox21"))
    refused = [text for text in awkward if Chem.MolFromSmiles(text) is None]
    assert len(refused) == 8
    for text in refused:
        assert_same(featurise_smiles(text), witness(text))


@settings(max_examples=300, deadline=None)
@given(text=smiles_texts | scribbles)
def test_any_text_is_an_error_or_what_rdkit_and_ogb_make_of_it(text, witness):
    accepted = Chem.MolFromSmiles(text)
    try:
        ours = featurise_smiles(text)
    except DataError:
        assert accepted is None or accepted.GetNumAtoms() == 0
        return
    if accepted is not None:
        assert_same(ours, witness(text))


@settings(max_examples=150, deadline=None)
@given(text=smiles_texts | st.sampled_from(CURIOUS))
def test_the_reading_without_property_checks_changes_no_ordinary_molecule(text):
    from graphadapt.molecules.parse import _parse_without_properties

    accepted = Chem.MolFromSmiles(text)
    if accepted is not None and "|" not in text:
        assert_equal(featurise(_parse_without_properties(text)), featurise(accepted))


@settings(max_examples=100, deadline=None)
@given(text=smiles_texts, seed=st.integers(0, 2**32 - 1))
def test_renumbering_atoms_permutes_the_arrays(text, seed):
    try:
        mol = parse_smiles(text)
    except DataError:
        return
    old_of_new = np.random.default_rng(seed).permutation(mol.GetNumAtoms())
    before = featurise(mol)
    after = featurise(Chem.RenumberAtoms(mol, old_of_new.tolist()))
    assert np.array_equal(after.atoms, before.atoms[old_of_new])
    assert np.array_equal(old_of_new[after.bonds], before.bonds)
    assert np.array_equal(after.bond_features, before.bond_features)


@settings(max_examples=100, deadline=None)
@given(left=smiles_texts, right=smiles_texts)
def test_pieces_of_one_text_lie_behind_each_other(left, right):
    try:
        one, two = featurise_smiles(left), featurise_smiles(right)
    except DataError:
        return
    both = featurise_smiles(f"{left}.{right}")
    assert np.array_equal(both.atoms, np.concatenate([one.atoms, two.atoms]))
    assert sorted(map(tuple, both.bonds.tolist())) == sorted(
        map(tuple, np.concatenate([one.bonds, two.bonds + len(one.atoms)]).tolist())
    )


@pytest.mark.parametrize("text", CURIOUS, ids=lambda text: text[:30])
def test_what_the_text_rules_out_is_not_in_the_molecule(text):
    mol = parse_smiles(text)
    assert_equal(featurise(mol, Marks.of_text(text)), featurise(mol))


def test_arrays_are_small_contiguous_and_their_own():
    arrays = featurise_smiles("CC(=O)O")
    assert [array.dtype for array in arrays] == [np.uint8, np.int16, np.uint8]
    assert [array.shape for array in arrays] == [(4, 9), (3, 2), (3, 3)]
    for array in arrays:
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_bonds_may_be_asked_for_one_at_a_time(monkeypatch):
    mol = parse_smiles("C/C=C/c1ccccc1C#N")
    together = featurise(mol)
    monkeypatch.setattr("graphadapt.molecules.featurise._GROUPS_HOLD_BONDS", False)
    assert_equal(featurise(mol), together)


def test_an_atom_alone_has_no_bonds():
    arrays = featurise_smiles("[He]")
    assert arrays.atoms.shape == (1, 9)
    assert arrays.bonds.shape == (0, 2)
    assert arrays.bond_features.shape == (0, 3)


def test_a_hand_made_molecule():
    arrays = featurise_smiles("C[NH3+]")
    assert arrays.atoms.tolist() == [[5, 0, 4, 5, 3, 0, 2, 0, 0], [6, 0, 4, 6, 3, 0, 2, 0, 0]]
    assert arrays.bonds.tolist() == [[0, 1]]
    assert arrays.bond_features.tolist() == [[0, 0, 0]]


def test_an_atropisomer_counts_as_a_bond_without_stereo():
    mol = parse_smiles("Cc1cccc(O)c1-c1c(C)cccc1O")
    plain = featurise(mol)
    bond = mol.GetBondBetweenAtoms(7, 8)
    bond.SetStereoAtoms(1, 9)
    bond.SetStereo(Chem.BondStereo.STEREOATROPCW)
    assert_equal(featurise(mol), plain)


def test_unusual_bonds_are_misc():
    mol = Chem.RWMol(parse_smiles("CCCC"))
    for index, kind in enumerate(["ONEANDAHALF", "DATIVEONE", "ZERO"]):
        mol.GetBondWithIdx(index).SetBondType(getattr(Chem.BondType, kind))
    assert featurise(mol).bond_features[:, 0].tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' holds no molecule; give a SMILES text"),
        ("   ", "'   ' holds no molecule"),
        (None, "None holds no molecule"),
        (float("nan"), "nan holds no molecule"),
        ("C1CC", "'C1CC' is not SMILES; check its characters, brackets and ring closures"),
        ("hello", "'hello' is not SMILES"),
        ("C\x00C", "is not SMILES"),
        ("\udcff", "holds characters outside Unicode"),
        ("|", "is not SMILES"),
        ("CC |nonsense", "is not SMILES"),
        (
            "c1cccc1",
            "is not a molecule RDKit can use: Can't kekulize mol.*check its aromatic atoms",
        ),
        ("c1cc(C)(C)ccc1", "'c1cc.C..C.ccc1' is not a molecule RDKit can use"),
        ("C(" * 200, r"^'(C\(){50}…' is not SMILES"),
    ],
)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(DataError, match=message):
        parse_smiles(text)


def test_more_atoms_than_int16_can_number_are_refused():
    giant = SimpleNamespace(GetNumAtoms=lambda: 32768)
    with pytest.raises(DataError, match="32768 atoms does not fit; the most is 32767"):
        featurise(giant)
