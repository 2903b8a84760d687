"""Work goes on where it stopped, however it stopped, and never on what is of something else."""

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from graphadapt.data.prepare import prepare
from graphadapt.data.store import is_store
from graphadapt.data.unfinished import unfinished_work
from graphadapt.data.user_table import table_source
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock

SETTINGS = {"molecules": "a1", "features": "none"}


def begin(store, settings=SETTINGS, **options):
    return unfinished_work(store, settings, **{"overwrite": False, "shown": True, **options})


def work_until_stopped(store):
    with begin(store) as folder:
        (folder / "molecules-0.npz").write_text("done")
        (folder / "store").mkdir()
        (folder / "store" / "atoms.npy").write_text("half")
        raise KeyboardInterrupt


def stopped_work(store):
    with pytest.raises(KeyboardInterrupt):
        work_until_stopped(store)
    return store.with_name(f".{store.name}.unfinished")


def test_work_of_the_same_settings_is_found_again(tmp_path, capsys):
    folder = stopped_work(tmp_path / "s")
    with begin(tmp_path / "s") as again:
        assert again == folder == tmp_path / ".s.unfinished"
        assert (again / "molecules-0.npz").read_text() == "done"
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({**SETTINGS, "features": "counts"}, "features"),
        ({"molecules": "b2", "features": "counts"}, "molecules and features"),
    ],
)
def test_work_of_other_settings_is_thrown_away_and_said_so(tmp_path, capsys, settings, named):
    stopped_work(tmp_path / "s")
    with begin(tmp_path / "s", settings) as folder:
        assert sorted(os.listdir(folder)) == ["lock", "settings.json"]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"unfinished work on {tmp_path / 's'} was with other {named}" in line
    assert "thrown away" in line


def test_work_whose_settings_cannot_be_read_is_thrown_away(tmp_path):
    folder = stopped_work(tmp_path / "s")
    (folder / "settings.json").write_text('{"molecules": "a1"')
    with begin(tmp_path / "s"):
        assert sorted(os.listdir(folder)) == ["lock", "settings.json"]


def test_work_that_would_only_fail_again_is_not_kept(tmp_path):
    with pytest.raises(DataError, match="nothing usable"), begin(tmp_path / "s"):
        raise DataError("nothing usable")
    assert list(tmp_path.iterdir()) == []


def test_a_taken_place_is_refused_and_work_on_it_stays(tmp_path):
    folder = stopped_work(tmp_path / "s")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "store.json").write_text("{}")
    with pytest.raises(DataError, match="exists already"), begin(tmp_path / "s"):
        pass
    assert (folder / "molecules-0.npz").exists()
    with begin(tmp_path / "s", overwrite=True):
        assert (folder / "molecules-0.npz").exists()


HOLD = """
import sys, time
from pathlib import Path
from graphadapt.data.unfinished import unfinished_work

store = Path(sys.argv[1])
with unfinished_work(store, {"molecules": "a1"}, overwrite=False, shown=True) as folder:
    print("working", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "finish":
        store.mkdir()
        (store / "store.json").write_text("{}")
"""


def other_process(store, end):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, store, end],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there is no lock")
def test_a_second_process_waits_for_the_first_and_finds_its_store(tmp_path):
    store = tmp_path / "s"
    with other_process(store, "finish") as first, other_process(store, "finish") as second:
        started = {first.stdout.fileno(): (first, second), second.stdout.fileno(): (second, first)}
        (ready, *_), _, _ = select.select(list(started), [], [], 60)
        working, waiting = started[ready]
        assert f"waiting for another process that prepares {store}" in waiting.stderr.readline()
        assert not is_store(store)
        working.communicate("go on\n", timeout=60)
        _, said = waiting.communicate("", timeout=60)
    assert (working.returncode, waiting.returncode) == (0, 1)
    assert f"DataError: {store} exists already" in said
    assert os.listdir(tmp_path) == ["s"]


PREPARE = """
import sys, time
from dataclasses import replace
from graphadapt.data import featurised
from graphadapt.data.store_writer import StoreWriter

def slowed(work, seconds):
    def slowly(*given, **named):
        time.sleep(seconds)
        return work(*given, **named)
    return slowly

table, store, processes, featurise_seconds, write_seconds = sys.argv[1:]
featurised.CHUNK = 20
featurised.write_chunk = slowed(featurised.write_chunk, float(featurise_seconds))
StoreWriter.extend = slowed(StoreWriter.extend, float(write_seconds))

if __name__ == "__main__":
    from graphadapt.data.prepare import prepare
    from graphadapt.data.user_table import table_source
    from graphadapt.molecules.features import FeatureBlock

    counts = FeatureBlock(kind="counts", size=64)
    source = replace(table_source(table), name="t.csv")
    prepare(source, store, [counts], processes=int(processes))
"""


def slow_preparation(folder, processes, featurise_seconds=0.0, write_seconds=0.0):
    """A process that prepares ``t.csv`` in chunks of 20 molecules, taking its time."""
    (folder / "prepare.py").write_text(PREPARE)
    files = [folder / name for name in ("prepare.py", "t.csv", "s")]
    return subprocess.Popen(
        [sys.executable, *files, *map(str, (processes, featurise_seconds, write_seconds))],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell starts background jobs with Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def wait_for(condition):
    until = time.monotonic() + 120
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    assert condition()


@pytest.fixture(scope="module")
def table():
    """320 rows: some twice, some no molecule, some without label, many scaffolds."""
    rows = [f"C1{'C' * (2 + row % 29)}C1{'OC' * (row // 29)},{row % 3 % 2}" for row in range(290)]
    rows += rows[:20] + ["C1CC,1"] * 5 + ["C" * length + "," for length in range(3, 8)]
    return "\n".join(["smiles,y", *rows])


@pytest.fixture(scope="module")
def whole_store(tmp_path_factory, table):
    """Content of the store of an uninterrupted preparation, in one chunk."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "t.csv").write_text(table)
    source = replace(table_source(folder / "t.csv"), name="t.csv")
    counts = FeatureBlock(kind="counts", size=64)
    prepare(source, folder / "s", [counts], processes=1, shown=False)
    return content(folder / "s")


@pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX signal")
@pytest.mark.parametrize(
    ("processes", "number"), [(1, signal.SIGKILL), (2, signal.SIGKILL), (2, signal.SIGINT)]
)
def test_a_preparation_that_is_killed_goes_on_and_ends_the_same(
    tmp_path, table, whole_store, processes, number
):
    (tmp_path / "t.csv").write_text(table)
    work = tmp_path / ".s.unfinished"
    with slow_preparation(tmp_path, processes, featurise_seconds=0.2) as running:
        wait_for(lambda: len(list(work.glob("*.npz"))) >= 3)
        if number == signal.SIGINT:  # a terminal's Ctrl-C reaches the whole group
            os.killpg(running.pid, number)
        else:
            running.send_signal(number)
        assert running.wait(timeout=60) != 0
        said = running.stderr.read()
    assert ("the same command goes on from there" in said) == (number == signal.SIGINT)
    assert not (tmp_path / "s").exists()
    done = len(list(work.glob("*.npz")))
    assert 3 <= done < 15
    with slow_preparation(tmp_path, processes) as running:
        _, said = running.communicate(timeout=120)
    assert running.returncode == 0, said
    already = int(said.partition(" of 320 molecules are featurised already")[0].split()[-1])
    assert already >= 20 * done  # a worker may have ended its chunk after the count
    assert content(tmp_path / "s") == whole_store
    assert not work.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX signal")
def test_a_preparation_that_is_killed_while_it_writes_leaves_no_store(tmp_path, table, whole_store):
    (tmp_path / "t.csv").write_text(table)
    half = tmp_path / ".s.unfinished" / "store"
    with slow_preparation(tmp_path, 1, write_seconds=0.2) as running:
        wait_for(half.is_dir)
        running.kill()
    assert not (tmp_path / "s").exists()
    assert not is_store(half)
    with slow_preparation(tmp_path, 1) as running:
        _, said = running.communicate(timeout=120)
    assert "320 of 320 molecules are featurised already" in said
    assert content(tmp_path / "s") == whole_store
