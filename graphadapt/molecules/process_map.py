"""Apply a function to jobs over processes, in order and in bounded memory."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from time import monotonic
from typing import Any, Final, TypeVar

from graphadapt.errors import ConfigError
from graphadapt.molecules.core_quota import core_quota

__all__ = ["available_cores", "process_map"]

Job = TypeVar("Job")
Result = TypeVar("Result")

_JOBS_IN_FLIGHT: Final = 4
"""Per process: enough to keep it busy while the caller uses the results."""

_SECONDS_TO_FINISH: Final = 5.0
"""What begun jobs get at the end, before their processes are terminated."""


def available_cores() -> int:
    """Cores that this process may use, and a container's limit has time for."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    cores = len(os.sched_getaffinity(0))
    return min(cores, core_quota() or cores)


def process_map(
    function: Callable[[Job], Result], jobs: Iterable[Job], processes: int
) -> Iterator[Result]:
    """Yield ``function(job)`` for each job, in order.

    One process is the calling one. Several are started afresh (``spawn``), so a script then needs
    its ``if __name__ == "__main__":`` guard. Ctrl-C reaches the caller alone; no worker outlives
    the iterator or the caller, even if the caller is killed. An iterator that ends early gives
    begun jobs 5 seconds to finish, and a Ctrl-C meanwhile changes nothing.

    Args:
        function: from the top level of a module, because workers import it.
        jobs: taken as they are needed, a few ahead.
        processes: how many.

    Raises:
        ConfigError: if ``processes`` is below 1 or a worker dies.

    Example:
        >>> list(process_map(len, ["a", "bc"], processes=1))
        [1, 2]
    """
    if processes < 1:
        raise ConfigError(f"processes={processes} cannot work; use 1 or more")
    if processes == 1:
        return map(function, jobs)
    return _over_processes(function, jobs, processes)


def _over_processes(
    function: Callable[[Job], Result], jobs: Iterable[Job], processes: int
) -> Iterator[Result]:
    pool = ProcessPoolExecutor(processes, mp_context=_Context(), initializer=_start_worker)
    waiting: deque[Future[Result]] = deque()
    ends_early = True
    try:
        for job in jobs:
            with _interrupts_held():
                waiting.append(pool.submit(function, job))
            if len(waiting) >= processes * _JOBS_IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        ends_early = False
    except BrokenProcessPool as error:
        raise ConfigError(
            f"one of processes={processes} died: killed from outside, or the calling script lacks "
            'its `if __name__ == "__main__":` guard; processes=1 needs neither'
        ) from error
    finally:
        with _interrupts_put_off(forget=ends_early):
            _end(pool)


class _Worker(SpawnProcess):
    """Terminated when Python leaves, which would else wait for it, for ever if nobody tells it."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more, daemon=True)


class _Context(SpawnContext):
    Process = _Worker


def _end(pool: ProcessPoolExecutor) -> None:
    """Wait for the jobs that have begun, but not for long."""
    workers = [*pool._processes.values()]
    manager = vars(pool)["_executor_manager_thread"]  # shutdown itself would wait without limit
    pool.shutdown(wait=False, cancel_futures=True)
    until = monotonic() + _SECONDS_TO_FINISH
    for worker in workers:
        worker.join(max(0.0, until - monotonic()))
    for worker in workers:
        worker.terminate()
    if manager is not None:
        manager.join()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Workers started in here inherit that Ctrl-C is for the calling process alone.

    A Ctrl-C that comes meanwhile, through whichever thread, is raised at the end: in the midst of
    starting a worker it would leave one that has not been told what to do.
    """
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _interrupts_put_off():
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _interrupts_put_off(*, forget: bool = False) -> Iterator[None]:
    """Where another thread took the signal, its handler runs in the main one once this is over.

    Args:
        forget: it never runs, because the caller is leaving already.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    asked: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if asked and not forget:
            signal.raise_signal(signal.SIGINT)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()


def _leave_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
