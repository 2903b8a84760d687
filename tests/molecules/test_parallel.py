"""Order, completeness and bounded memory of many molecules."""

import multiprocessing
from collections.abc import Sequence

import numpy as np
import pytest

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules import parallel
from graphadapt.molecules.chunk import Chunk, featurise_one
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import FeaturisedMolecule
from graphadapt.molecules.parallel import featurise_chunks, featurise_many

TEXTS = ["CCO", "C1CC", "c1ccccc1O", "[Na+].[Cl-]", "", "C[C@H](N)C(=O)O", "c1cccc1"]

MANY = TEXTS * 90

BLOCKS = (
    FeatureBlock(kind="counts", size=64),
    FeatureBlock(kind="columns", columns=("place",)),
    FeatureBlock(kind="descriptors"),
)


class Watched(Sequence):
    """Endless-looking SMILES that remember how far they were read."""

    def __init__(self, length):
        self.length = length
        self.read = 0

    def __len__(self):
        return self.length

    def __getitem__(self, rows):
        self.read = max(self.read, rows.stop)
        return ["C" * (1 + row % 5) for row in range(*rows.indices(self.length))]


@pytest.fixture(scope="module", params=[1, 2], ids=["here", "processes"])
def run(request):
    """Outcomes of 630 texts, and what was reported meanwhile."""
    done = []
    outcomes = featurise_many(
        MANY,
        BLOCKS,
        columns={"place": range(len(MANY))},
        processes=request.param,
        progress=done.append,
    )
    return list(outcomes), done


def test_outcomes_come_in_order_and_errors_in_their_place(run):
    outcomes, done = run
    assert len(outcomes) == sum(done) == len(MANY)
    for place, (text, outcome) in enumerate(zip(MANY, outcomes, strict=True)):
        if text in ("C1CC", "", "c1cccc1"):
            assert isinstance(outcome, DataError)
            assert repr(text) in str(outcome)
        else:
            assert outcome.features[1].tolist() == [place]


def test_outcomes_are_those_of_one_molecule_at_a_time(run):
    outcomes, _ = run
    for place, outcome in enumerate(outcomes[:250]):
        if isinstance(outcome, FeaturisedMolecule):
            alone = featurise_one(MANY[place], BLOCKS, {"place": place})
            found = (*outcome.arrays, *outcome.features)
            for left, right in zip(found, (*alone.arrays, *alone.features), strict=True):
                assert left.dtype == right.dtype
                assert np.array_equal(left, right)


def test_few_molecules_start_no_process():
    before = multiprocessing.active_children()
    outcomes = featurise_many(["CCO"] * 2000)
    next(outcomes)
    assert multiprocessing.active_children() == before


@pytest.mark.parametrize(("processes", "most"), [(1, 256), (2, 8 * 256)])
def test_only_a_few_chunks_are_read_ahead(processes, most):
    texts = Watched(10**6)
    outcomes = featurise_many(texts, processes=processes)
    next(outcomes)
    assert texts.read <= most
    outcomes.close()


@pytest.mark.parametrize("processes", [0, -1])
def test_no_process_at_all_is_refused(processes):
    with pytest.raises(ConfigError, match=f"processes={processes} cannot work; use 1 or more"):
        featurise_many(["CCO"], processes=processes)


def test_a_column_of_another_length_is_refused():
    with pytest.raises(DataError, match="'dose' has 1 values for 2 molecules"):
        featurise_many(["CCO", "C"], columns={"dose": [1.0]})


def test_no_molecules_give_no_outcomes():
    assert list(featurise_many([], BLOCKS, columns={"place": []})) == []


def chunks_of(taken, sizes):
    for size in sizes:
        taken.append(size)
        yield Chunk(["C" * size] * size, (), {})


def test_a_stream_of_chunks_comes_back_in_order():
    sizes = [3, 1, 0, 7, 2]
    for processes in (None, 1, 2):
        found = [
            [len(each.arrays.atoms) for each in packed.unpack()]
            for packed in featurise_chunks(chunks_of([], sizes), processes=processes)
        ]
        assert found == [[size] * size for size in sizes]


def test_a_stream_is_read_no_further_than_it_takes_to_know_that_it_is_long(monkeypatch):
    started = []
    monkeypatch.setattr(parallel, "available_cores", lambda: 3)
    monkeypatch.setattr(
        parallel, "process_map", lambda function, jobs, count: started.append(count) or jobs
    )
    for sizes, read, processes in (([5] * 10, 10, 1), ([300] * 50, 7, 3), ([2001], 1, 3)):
        taken = []
        jobs = featurise_chunks(chunks_of(taken, sizes))
        assert (len(taken), started[-1]) == (read, processes)
        assert len(list(jobs)) == len(sizes)
