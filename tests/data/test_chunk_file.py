import os

import numpy as np
import pytest

from graphadapt.data.chunk_file import is_chunk_file, read_chunk, read_keys, write_chunk
from graphadapt.molecules.chunk import Chunk, featurise_chunk
from graphadapt.molecules.features import FeatureBlock

BLOCKS = (FeatureBlock(kind="counts", size=16), FeatureBlock(kind="descriptors"))


def atom_count(mol):
    return mol.GetNumAtoms().to_bytes(16, "big")


@pytest.fixture
def outcomes():
    texts = ["CCO", "C1CC", "c1ccccc1", "", "[He]"]
    return featurise_chunk(Chunk(texts, BLOCKS, {}, (atom_count, atom_count)))


def assert_same(arrays, others):
    for one, other in zip(arrays, others, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_what_is_written_is_read_back(tmp_path, outcomes):
    write_chunk(tmp_path / "c.npz", outcomes)
    read = read_chunk(tmp_path / "c.npz")
    assert_same(read.molecules, outcomes.molecules)
    assert_same(read.features, outcomes.features)
    assert_same(read.keys, outcomes.keys)
    assert read.errors == outcomes.errors
    assert sorted(read.errors) == [1, 3]
    keys, errors = read_keys(tmp_path / "c.npz")
    assert_same(keys, outcomes.keys)
    assert errors == outcomes.errors


def test_a_file_that_is_cut_or_absent_is_none(tmp_path, outcomes):
    path = tmp_path / "c.npz"
    assert not is_chunk_file(path)
    write_chunk(path, outcomes)
    assert is_chunk_file(path)
    whole = path.read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not is_chunk_file(path)


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path, outcomes, monkeypatch):
    def fail(file, **_):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="no space left"):
        write_chunk(tmp_path / "c.npz", outcomes)
    assert os.listdir(tmp_path) == [f"c.npz.{os.getpid()}.part"]
