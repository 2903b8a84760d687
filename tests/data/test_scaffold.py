import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.identity import identify_many
from graphadapt.data.scaffold import murcko_scaffold, scaffold_split
from graphadapt.data.split import SPLIT_CODES, TEST, TRAIN, VALID
from graphadapt.data.tables import read_table
from graphadapt.molecules.featurise import parse_smiles


def test_a_scaffold_is_rings_and_what_joins_them():
    assert murcko_scaffold(parse_smiles("CCc1ccccc1CC2CC2C(=O)O")) == "c1ccc(CC2CC2)cc1"
    assert murcko_scaffold(parse_smiles("CCO")) == ""


def test_a_molecule_that_rdkit_cannot_cut_has_no_scaffold(monkeypatch):
    def fail(**_):
        raise ValueError("sanitisation")

    monkeypatch.setattr("graphadapt.data.scaffold.MurckoScaffold.MurckoScaffoldSmiles", fail)
    assert murcko_scaffold(parse_smiles("c1ccccc1")) is None


def test_common_scaffolds_train_and_rare_ones_test():
    codes = scaffold_split(["a"] * 8 + ["b", "c"])
    assert codes.tolist() == [TRAIN] * 8 + [TEST, VALID]


def test_a_molecule_without_scaffold_is_one_of_its_own():
    codes = scaffold_split([None] * 10, (0.5, 0.3, 0.2))
    assert [int((codes == code).sum()) for code in (TRAIN, VALID, TEST)] == [5, 3, 2]


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=60))
def test_no_scaffold_is_in_two_parts(scaffolds):
    codes = scaffold_split(scaffolds)
    for scaffold in set(scaffolds):
        parts = {code for code, name in zip(codes, scaffolds, strict=True) if name == scaffold}
        assert len(parts) == 1


@pytest.mark.parametrize("name", ["molbbbp", "moltox21"])
def test_the_official_split_is_reproduced_index_for_index(real_data, name):
    folder = real_data / "ogb" / f"ogbg_{name}"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    smiles = read_table(folder / "mapping" / "mol.csv.gz").smiles
    identities = identify_many(smiles, scaffold=True, processes=1, shown=False)
    codes = scaffold_split([identity.scaffold for identity in identities])
    for part, code in SPLIT_CODES.items():
        with gzip.open(folder / "split" / "scaffold" / f"{part}.csv.gz", "rt") as file:
            official = [int(line) for line in file]
        assert np.flatnonzero(codes == code).tolist() == official
