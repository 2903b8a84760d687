"""Order, a bounded number of jobs ahead, and a clean end however it comes."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from graphadapt.errors import ConfigError
from graphadapt.molecules.process_map import _interrupts_held, available_cores, process_map


def our_workers(before):
    return [child for child in multiprocessing.active_children() if child not in before]


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs(processes):
    jobs = [range(number * 37 % 11) for number in range(40)]
    assert list(process_map(len, iter(jobs), processes)) == [len(job) for job in jobs]


def test_an_abandoned_iterator_has_taken_few_jobs_and_leaves_no_process():
    before = multiprocessing.active_children()
    jobs = itertools.count()
    results = process_map(abs, jobs, 2)
    assert next(results) == 0
    assert our_workers(before)
    results.close()
    assert our_workers(before) == []
    assert next(jobs) <= 8


def test_an_error_of_the_function_reaches_the_caller_and_ends_the_processes():
    before = multiprocessing.active_children()
    results = process_map(abs, [1, "one"], 2)
    assert next(results) == 1
    with pytest.raises(TypeError, match="bad operand type"):
        next(results)
    assert our_workers(before) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills by POSIX signal")
def test_a_killed_worker_is_an_error_not_a_hang():
    before = multiprocessing.active_children()
    results = process_map(abs, itertools.count(), 2)
    next(results)
    os.kill(our_workers(before)[0].pid, signal.SIGKILL)
    with pytest.raises(ConfigError, match="one of processes=2 died: killed from outside"):
        list(results)
    assert our_workers(before) == []


ENDLESS = """
import itertools, multiprocessing
from graphadapt.molecules.process_map import process_map

if __name__ == "__main__":
    for result in process_map(abs, itertools.count(), 2):
        if result == 1000:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""


def is_alive(pid):
    """Whether the process runs; one that ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def started(text, folder):
    """Run a script in a group of its own, and leave no process of it."""
    script = folder / "endless.py"
    script.write_text(text, encoding="utf-8")
    running = subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell starts background jobs with Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with running:
        try:
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def workers_left(workers):
    """Those that still run after a while."""
    until = time.monotonic() + 30
    while any(map(is_alive, workers)) and time.monotonic() < until:
        time.sleep(0.05)
    return [pid for pid in workers if is_alive(pid)]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_or_a_kill_ends_every_process_quietly(number, tmp_path):
    with started(ENDLESS, tmp_path) as running:
        workers = [int(pid) for pid in running.stdout.readline().split()]
        if number == signal.SIGINT:  # a terminal's Ctrl-C reaches the whole group
            os.killpg(running.pid, number)
        else:
            running.kill()
        assert running.wait(timeout=30) != 0
        assert len(workers) == 2
        assert workers_left(workers) == []
        errors = running.stderr.read()
    assert errors.count("Traceback") == (1 if number == signal.SIGINT else 0), errors


SLOW = """
import itertools, multiprocessing, time
from graphadapt.molecules import process_map

if __name__ == "__main__":
    process_map._SECONDS_TO_FINISH = 3.0
    for _ in process_map.process_map(time.sleep, itertools.chain([0], itertools.repeat({job})), 2):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("job", [0.7, 1000])
@pytest.mark.parametrize("gaps", [(), (0.01,), (0.2,), (0.01, 0.1, 0.3)])
def test_more_interrupts_end_no_other_way_than_one_does(gaps, job, tmp_path):
    with started(SLOW.format(job=job), tmp_path) as running:
        workers = [int(pid) for pid in running.stdout.readline().split()]
        time.sleep(0.2)
        os.killpg(running.pid, signal.SIGINT)
        for gap in gaps:
            time.sleep(gap)
            os.killpg(running.pid, signal.SIGINT)
        assert running.wait(timeout=20) == -signal.SIGINT
        assert len(workers) == 2
        assert workers_left(workers) == []
        errors = running.stderr.read()
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")


HELD = """
import itertools, multiprocessing, time
from graphadapt.molecules.process_map import process_map

if __name__ == "__main__":
    results = process_map(time.sleep, itertools.chain([0], itertools.repeat(1000)), 2)
    next(results)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_interrupts_end_a_process_that_still_holds_the_iterator(tmp_path):
    with started(HELD, tmp_path) as running:
        workers = [int(pid) for pid in running.stdout.readline().split()]
        for _ in range(2):
            os.killpg(running.pid, signal.SIGINT)
            time.sleep(0.5)
        assert running.wait(timeout=20) == -signal.SIGINT
        assert len(workers) == 2
        assert workers_left(workers) == []


COMMAND = """
import itertools, multiprocessing, time
import click
from graphadapt import cli
from graphadapt.molecules.process_map import process_map

@click.command()
def doctor():
    for _ in process_map(time.sleep, itertools.chain([0], itertools.repeat(0.3)), 2):
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    cli.main.get_command = lambda context, name: doctor
    cli.main(["doctor"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_interrupts_up_to_the_very_end_leave_a_command_its_exit_status(tmp_path):
    with started(COMMAND, tmp_path) as running:
        workers = [int(pid) for pid in running.stdout.readline().split()]
        until = time.monotonic() + 20
        while running.poll() is None and time.monotonic() < until:
            os.killpg(running.pid, signal.SIGINT)
            time.sleep(0.01)
        assert running.returncode == 1
        assert len(workers) == 2
        assert workers_left(workers) == []
        assert running.stderr.read().strip() == "Aborted!"


@pytest.mark.parametrize("processes", [0, -1])
def test_no_process_at_all_is_refused(processes):
    with pytest.raises(ConfigError, match=f"processes={processes} cannot work; use 1 or more"):
        process_map(abs, [1], processes)


def test_there_is_a_core():
    assert available_cores() >= 1


def test_an_interrupt_while_a_worker_is_started_comes_once_that_is_done():
    """Also when another thread takes the signal, which a mask of the main thread's cannot hold."""
    begun, done = threading.Event(), []

    def interrupt():
        begun.wait()
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    def start_worker():
        with _interrupts_held():
            begun.set()
            other.join()
            done.append(1)

    other = threading.Thread(target=interrupt)
    other.start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start_worker()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == [1]
