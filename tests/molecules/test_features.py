import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem import AllChem, rdFingerprintGenerator

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.descriptors import DESCRIPTOR_NAMES, descriptors
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.parse import parse_smiles

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"

BLOCKS = [
    FeatureBlock(kind="counts"),
    FeatureBlock(kind="counts", radius=3, size=512, chirality=True),
    FeatureBlock(kind="descriptors"),
    FeatureBlock(kind="columns", columns=("dose", "pH")),
]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_a_block_says_what_it_computes(block):
    values = block.compute(parse_smiles(ASPIRIN), {"dose": 1.5, "pH": 7, "other": 0})
    assert values.shape == (block.width,) == (len(block.names),)
    assert values.dtype == block.dtype
    assert len(set(block.names)) == block.width
    assert np.isfinite(values).all()


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.kind)
def test_a_block_survives_json_and_hashing(block):
    again = FeatureBlock.from_dict(json.loads(json.dumps(block.to_dict())))
    assert again == block
    assert len({again, block}) == 1


def test_counts_are_how_often_each_environment_occurs():
    mol = parse_smiles(ASPIRIN)
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    notes = AllChem.AdditionalOutput()
    notes.AllocateBitInfoMap()
    generator.GetCountFingerprint(mol, additionalOutput=notes)
    expected = np.zeros(2048)
    for place, centres in notes.GetBitInfoMap().items():
        expected[place] = len(centres)
    values = FeatureBlock(kind="counts").compute(mol)
    assert np.array_equal(values, expected)
    # each atom at radius 0; every environment counted once at most per atom and radius
    assert mol.GetNumAtoms() <= values.sum() <= 3 * mol.GetNumAtoms()


def test_counts_at_radius_zero_are_counts_of_atom_kinds():
    values = FeatureBlock(kind="counts", radius=0).compute(parse_smiles("CCCCO"))
    assert Counter(values[values > 0].tolist()) == Counter([3, 1, 1])  # CH2, CH3, OH


def test_counts_stop_at_255():
    values = FeatureBlock(kind="counts").compute(parse_smiles("C" * 400))
    assert values.max() == 255


def test_chirality_tells_mirror_images_apart_only_when_asked():
    left, right = parse_smiles("C[C@H](N)C(=O)O"), parse_smiles("C[C@@H](N)C(=O)O")
    for chirality in (False, True):
        block = FeatureBlock(kind="counts", chirality=chirality)
        assert np.array_equal(block.compute(left), block.compute(right)) is not chirality


@pytest.mark.parametrize("text", [ASPIRIN, "C[C@H](N)/C=C/F", "[H]C([H])O", "[Na+].[Cl-]"])
@pytest.mark.parametrize("chirality", [False, True])
def test_counts_do_not_depend_on_which_parser_read_the_text(text, chirality):
    block = FeatureBlock(kind="counts", chirality=chirality)
    assert np.array_equal(
        block.compute(parse_smiles(text)), block.compute(Chem.MolFromSmiles(text))
    )


def test_descriptors_are_the_fixed_list():
    mol, block = parse_smiles(ASPIRIN), FeatureBlock(kind="descriptors")
    assert block.names == DESCRIPTOR_NAMES
    assert np.array_equal(block.compute(mol), descriptors(mol))


def test_columns_come_in_the_order_of_the_block():
    block = FeatureBlock(kind="columns", columns=("b", "a"))
    assert block.compute(parse_smiles("C"), {"a": 1.0, "b": 2.0}).tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"doze": 1.0}, "no value for feature column 'dose'; did you mean 'doze'?"),
        ({"x": 1.0}, "no value for feature column 'dose'; known are x"),
        (None, "no value for feature column 'dose'; known are none"),
        ({"dose": float("nan")}, "feature column 'dose' holds nan; give a finite float32 number"),
        ({"dose": float("inf")}, "holds inf"),
        ({"dose": -1e300}, "holds -1e\\+300"),
    ],
)
def test_a_column_without_a_usable_value_is_named(values, message):
    block = FeatureBlock(kind="columns", columns=("dose",))
    with pytest.raises(DataError, match=message):
        block.compute(parse_smiles("C"), values)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "count"}, "unknown feature block 'count'; did you mean 'counts'?"),
        ({"kind": "fingerprint"}, "known are counts, descriptors, columns"),
        ({}, "a feature block needs 'kind': counts, descriptors, columns"),
        ({"kind": "counts", "sice": 64}, "unknown setting 'sice' of a feature block; did you mean"),
        ({"kind": "counts", "size": 8}, "size=8: use 16 to 65536"),
        ({"kind": "counts", "size": "64"}, "size='64' is of the wrong type"),
        ({"kind": "counts", "radius": -1}, "radius=-1: use 0 to 8"),
        ({"kind": "counts", "radius": True}, "radius=True is of the wrong type"),
        ({"kind": "counts", "columns": ["a"]}, "'counts' has no setting 'columns'; it has radius"),
        ({"kind": "descriptors", "size": 64}, "'descriptors' has no setting 'size'"),
        ({"kind": "descriptors", "version": 99}, "version 99 are not known here, only version 1"),
        ({"kind": "columns"}, "'columns' names no column; list at least one"),
        ({"kind": "columns", "columns": ["a", "b", "a"]}, "named twice: a"),
    ],
)
def test_settings_that_cannot_work_are_named(table, message):
    with pytest.raises(ConfigError, match=message):
        FeatureBlock.from_dict(table)


@settings(deadline=None)
@given(radius=st.integers(0, 8), size=st.integers(16, 65536), chirality=st.booleans())
def test_any_allowed_counts_block_computes(radius, size, chirality):
    block = FeatureBlock(kind="counts", radius=radius, size=size, chirality=chirality)
    assert block.compute(parse_smiles("C[C@H](N)C(=O)O")).sum() >= 6
    assert FeatureBlock.from_dict(block.to_dict()) == block
