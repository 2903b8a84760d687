"""Order, completeness, bounded memory, and a clean end however it comes."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import pytest

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import FeaturisedMolecule, featurise_one
from graphadapt.molecules.parallel import featurise_many

TEXTS = ["CCO", "C1CC", "c1ccccc1O", "[Na+].[Cl-]", "", "C[C@H](N)C(=O)O", "c1cccc1"]

MANY = TEXTS * 90

BLOCKS = (
    FeatureBlock(kind="counts", size=64),
    FeatureBlock(kind="columns", columns=("place",)),
    FeatureBlock(kind="descriptors"),
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


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


def our_workers(before):
    return [child for child in multiprocessing.active_children() if child not in before]


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
    assert our_workers(before) == []


@pytest.mark.parametrize(("processes", "most"), [(1, 256), (2, 8 * 256)])
def test_only_a_few_chunks_are_read_ahead(processes, most):
    texts = Watched(10**6)
    outcomes = featurise_many(texts, processes=processes)
    next(outcomes)
    assert texts.read <= most
    outcomes.close()


def test_an_abandoned_run_leaves_no_process():
    before = multiprocessing.active_children()
    outcomes = featurise_many(Watched(10**6), processes=2)
    next(outcomes)
    assert our_workers(before)
    outcomes.close()
    assert our_workers(before) == []


@posix_only
def test_a_killed_worker_is_an_error_not_a_hang():
    before = multiprocessing.active_children()
    outcomes = featurise_many(Watched(10**6), processes=2)
    next(outcomes)
    os.kill(our_workers(before)[0].pid, signal.SIGKILL)
    with pytest.raises(ConfigError, match="one of processes=2 died: killed from outside"):
        list(outcomes)
    assert our_workers(before) == []


ENDLESS = """
import multiprocessing
from graphadapt.molecules.parallel import featurise_many

if __name__ == "__main__":
    for number, outcome in enumerate(featurise_many(["CCO"] * 10**7, processes=2)):
        if number == 3000:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""


def is_alive(pid):
    """Whether the process runs; one that ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_or_a_kill_ends_every_process_quietly(number, tmp_path):
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS, encoding="utf-8")
    running = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with running:
        workers = [int(pid) for pid in running.stdout.readline().split()]
        if number == signal.SIGINT:  # a terminal's Ctrl-C reaches the whole group
            os.killpg(running.pid, number)
        else:
            running.kill()
        assert running.wait(timeout=30) != 0
        until = time.monotonic() + 30
        while any(map(is_alive, workers)) and time.monotonic() < until:
            time.sleep(0.05)
        errors = running.stderr.read()
    assert len(workers) == 2
    assert not any(map(is_alive, workers))
    assert errors.count("Traceback") == (1 if number == signal.SIGINT else 0)


@pytest.mark.parametrize("processes", [0, -1])
def test_no_process_at_all_is_refused(processes):
    with pytest.raises(ConfigError, match=f"processes={processes} cannot work; use 1 or more"):
        featurise_many(["CCO"], processes=processes)


def test_a_column_of_another_length_is_refused():
    with pytest.raises(DataError, match="'dose' has 1 values for 2 molecules"):
        featurise_many(["CCO", "C"], columns={"dose": [1.0]})


def test_no_molecules_give_no_outcomes():
    assert list(featurise_many([], BLOCKS, columns={"place": []})) == []
