import numpy as np
import pytest

from graphadapt.data import featurised
from graphadapt.data.featurised import Featuriser
from graphadapt.data.identity import canonical_key
from graphadapt.data.ragged import GraphColumns
from graphadapt.data.source import MoleculeSource
from graphadapt.errors import ConfigError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.featurise import featurise_smiles

TEXTS = ["CCO", "C1CC", "c1ccccc1", "OCC", "[He]", "", "CC(=O)O"]
GOOD = [0, 2, 3, 4, 6]
DOSE = FeatureBlock(kind="columns", columns=("dose",))


def make(texts=TEXTS, **more):
    return MoleculeSource(
        name="made",
        smiles=list(texts),
        labels=np.zeros((len(texts), 0), np.float32),
        tasks=(),
        row_numbers=np.arange(1, len(texts) + 1),
        columns={"dose": np.arange(len(texts), dtype=np.float32)},
        **more,
    )


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(featurised, "CHUNK", 2)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_molecule_is_where_it_stood(tmp_path, processes):
    work = Featuriser(source=make(), blocks=(DOSE,), keys={"molecule": canonical_key})
    findings = work.run(tmp_path, processes=processes, shown=False)
    assert findings.positions.tolist() == GOOD
    assert sorted(findings.errors) == [1, 5]
    assert "'C1CC' is not SMILES" in findings.errors[1]
    keys = findings.keys["molecule"]
    assert (keys[0] == keys[2]).all()
    assert len(np.unique(keys, axis=0)) == 4
    chunks = list(work.chunks(tmp_path))
    assert [chunk.positions.tolist() for chunk in chunks] == [[0], [2, 3], [4], [6]]
    for chunk in chunks:
        assert chunk.features["columns"][:, 0].tolist() == chunk.positions.tolist()
        for row, position in enumerate(chunk.positions):
            expected = featurise_smiles(TEXTS[position])
            for held, made in zip(chunk.graphs.molecule(row), expected, strict=True):
                np.testing.assert_array_equal(held, made)


def test_only_the_marked_molecules_of_a_chunk():
    source = make(TEXTS[2:4])
    graphs = GraphColumns.from_molecules([featurise_smiles(text) for text in source.smiles])
    chunk = featurised.FeaturisedChunk(np.array([2, 3]), graphs, {"x": np.array([[1], [2]])})
    part = chunk.only(np.array([False, True]))
    assert part.positions.tolist() == [3]
    assert part.features["x"].tolist() == [[2]]
    assert part.graphs.atoms.tolist() == featurise_smiles("OCC").atoms.tolist()
    assert chunk.only(np.array([True, True])) is chunk


def test_files_that_are_there_are_not_made_again(tmp_path, monkeypatch, capsys):
    work = Featuriser(source=make())
    work.run(tmp_path, processes=1, shown=False)
    (tmp_path / "molecules-2.npz").write_bytes(b"damaged")
    (tmp_path / "molecules-6.npz").unlink()
    made = []
    real = featurised.write_chunk

    def watched(path, outcomes):
        made.append(path.name)
        real(path, outcomes)

    monkeypatch.setattr(featurised, "write_chunk", watched)
    findings = work.run(tmp_path, processes=1)
    assert made == ["molecules-2.npz", "molecules-6.npz"]
    assert findings.positions.tolist() == GOOD
    said = capsys.readouterr().err
    assert "4 of 7 molecules are featurised already" in said
    assert "featurising: 7/7" in said
    assert "molecules/s" in said


def test_whoever_is_stopped_says_how_far_it_came(tmp_path, monkeypatch, capsys):
    real = featurised.write_chunk

    def interrupted(path, outcomes):
        if path.name == "molecules-4.npz":
            raise KeyboardInterrupt
        real(path, outcomes)

    monkeypatch.setattr(featurised, "write_chunk", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Featuriser(source=make()).run(tmp_path, processes=1)
    said = capsys.readouterr().err
    assert "stopped with 4 of 7 molecules featurised; the same command goes on from there" in said


def test_settings_tell_work_apart():
    counts = FeatureBlock(kind="counts")
    plain = Featuriser(source=make()).settings
    assert plain == Featuriser(source=make()).settings
    others = {
        "molecules": Featuriser(source=make(TEXTS[::-1])),
        "features": Featuriser(source=make(), blocks=(counts,)),
        "split": Featuriser(source=make(), keys={"scaffold": canonical_key}),
    }
    for name, other in others.items():
        assert [key for key in plain if plain[key] != other.settings[key]] == [name]
    source = make()
    source.columns["dose"][3] = 7
    before, after = (Featuriser(source=each, blocks=(DOSE,)).settings for each in (make(), source))
    assert [key for key in before if before[key] != after[key]] == ["feature columns"]
    joined, parted = (
        Featuriser(source=make(texts)).settings for texts in (["CC", "C"], ["C", "CC"])
    )
    assert joined["molecules"] != parted["molecules"]


def test_ready_made_graphs_are_taken_and_nothing_is_parsed(tmp_path):
    graphs = GraphColumns.from_molecules([featurise_smiles("C" * n) for n in (1, 2, 3)])
    work = Featuriser(source=make(["x", "y", "z"], graphs=graphs))
    findings = work.run(tmp_path, shown=False)
    assert findings.positions.tolist() == [0, 1, 2]
    assert list(tmp_path.iterdir()) == []
    atoms = [len(chunk.graphs.atoms) for chunk in work.chunks(tmp_path)]
    assert atoms == [3, 3]


def test_ready_made_graphs_go_before_those_of_the_smiles(tmp_path):
    graphs = GraphColumns.from_molecules([featurise_smiles("C" * n) for n in (1, 2, 3)])
    work = Featuriser(source=make(["CC", "C1CC", "CC"], graphs=graphs), blocks=(DOSE,))
    work.run(tmp_path, processes=1, shown=False)
    chunks = list(work.chunks(tmp_path))
    assert [len(chunk.graphs.atoms) for chunk in chunks] == [1, 3]
    assert [chunk.features["columns"].tolist() for chunk in chunks] == [[[0]], [[2]]]


def test_no_process_at_all_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="processes=0 cannot work"):
        Featuriser(source=make()).run(tmp_path, processes=0, shown=False)
