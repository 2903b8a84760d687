import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphadapt.data.identity import groups_of, scaffold_key
from graphadapt.data.scaffold import murcko_scaffold, scaffold_split
from graphadapt.data.split import SPLIT_CODES, TEST, TRAIN, VALID
from graphadapt.data.tables import read_table
from graphadapt.molecules.parse import parse_smiles


def test_a_scaffold_is_rings_and_what_joins_them():
    assert murcko_scaffold(parse_smiles("CCc1ccccc1CC2CC2C(=O)O")) == "c1ccc(CC2CC2)cc1"
    assert murcko_scaffold(parse_smiles("CCO")) == ""


def test_a_molecule_that_rdkit_cannot_cut_has_no_scaffold(monkeypatch):
    def fail(**_):
        raise ValueError("sanitisation")

    monkeypatch.setattr("rdkit.Chem.Scaffolds.MurckoScaffold.MurckoScaffoldSmiles", fail)
    assert murcko_scaffold(parse_smiles("c1ccccc1")) is None


def test_common_scaffolds_train_and_rare_ones_test():
    codes = scaffold_split(np.array([7] * 8 + [2, 3]))
    assert codes.tolist() == [TRAIN] * 8 + [TEST, VALID]


def test_a_molecule_without_scaffold_is_one_of_its_own():
    codes = scaffold_split(np.full(10, -1), (0.5, 0.3, 0.2))
    assert [int((codes == code).sum()) for code in (TRAIN, VALID, TEST)] == [5, 3, 2]


def slow_split(scaffolds, fractions):
    """The rule in words, molecule by molecule."""
    members = {}
    for row, scaffold in enumerate(scaffolds):
        members.setdefault(("own", row) if scaffold < 0 else scaffold, []).append(row)
    codes = {}
    for rows in sorted(members.values(), key=lambda rows: (len(rows), rows[0]), reverse=True):
        train, both = (
            sum(code in parts for code in codes.values()) for parts in ([TRAIN], [TRAIN, VALID])
        )
        fits = train + len(rows) <= fractions[0] * len(scaffolds)
        fits_both = both + len(rows) <= (fractions[0] + fractions[1]) * len(scaffolds)
        codes |= dict.fromkeys(rows, TRAIN if fits else VALID if fits_both else TEST)
    return [codes[row] for row in range(len(scaffolds))]


@settings(deadline=None)
@given(
    st.lists(st.integers(-1, 7), max_size=60),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0)]),
)
def test_the_split_agrees_with_a_slow_loop(scaffolds, fractions):
    codes = scaffold_split(np.array(scaffolds, np.int64), fractions)
    assert codes.tolist() == slow_split(scaffolds, fractions)


@pytest.mark.parametrize("name", ["molbbbp", "moltox21"])
def test_the_official_split_is_reproduced_index_for_index(real_data, name):
    folder = real_data / "ogb" / f"ogbg_{name}"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    smiles = read_table(folder / "mapping" / "mol.csv.gz").smiles
    keys = b"".join(scaffold_key(parse_smiles(text)) for text in smiles)
    codes = scaffold_split(groups_of(np.frombuffer(keys, np.uint8).reshape(-1, 16)))
    for part, code in SPLIT_CODES.items():
        with gzip.open(folder / "split" / "scaffold" / f"{part}.csv.gz", "rt") as file:
            official = [int(line) for line in file]
        assert np.flatnonzero(codes == code).tolist() == official
