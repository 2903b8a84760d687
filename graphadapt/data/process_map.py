"""Apply a function to chunks of work over processes, in order and in bounded memory."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from graphadapt.errors import ConfigError

__all__ = ["available_cores", "process_map"]

Job = TypeVar("Job")
Result = TypeVar("Result")

_IN_FLIGHT: Final = 4
"""Jobs per process that wait or run: enough to keep it busy while results are used."""


def available_cores() -> int:
    """Cores that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_map(
    function: Callable[[Job], Result], jobs: Iterable[Job], processes: int
) -> Iterator[Result]:
    """Yield ``function(job)`` for each job, in order.

    One process works in the calling one; more are started afresh (``spawn``), so a script needs its
    ``if __name__ == "__main__":`` guard. Ctrl-C reaches the caller alone, and workers do not
    outlive it.

    Args:
        function: from a module's top level, as workers import it.
        jobs: taken as they are needed.
        processes: how many.

    Raises:
        ConfigError: if ``processes`` is below 1 or a worker dies.
    """
    if processes < 1:
        raise ConfigError(f"processes={processes} cannot work; use 1 or more")
    if processes == 1:
        return map(function, jobs)
    return _over_processes(function, jobs, processes)


def _over_processes(
    function: Callable[[Job], Result], jobs: Iterable[Job], processes: int
) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker)
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(function, job))
            if len(waiting) >= processes * _IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise ConfigError(
            f"one of processes={processes} died; a script needs its "
            '`if __name__ == "__main__":` guard, and processes=1 needs no other process'
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()


def _leave_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
