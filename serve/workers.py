"""Threads that answer, shared by everything that is open: few calls in flight, results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from graphadapt.errors import ConfigError

__all__ = ["Call", "Workers"]

Result = TypeVar("Result")

_AHEAD: Final = 4
"""Calls in flight for each thread: enough that none waits while the next are prepared."""


class Call(Generic[Result]):
    """Something to be done, by the caller's own thread if nothing else is to be done beside it."""

    __slots__ = ("alone", "work")

    def __init__(self, work: Callable[[], Result], *, alone: bool = False) -> None:
        self.work = work
        self.alone = alone


class Workers:
    """A pool of threads; any number of threads may use it at once.

    Threads start when they are first needed. With one, the caller's own thread does the work.

    Args:
        threads: that work at the same time, for all callers together.

    Raises:
        ConfigError: if there is none.
    """

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ConfigError(f"threads={threads} cannot answer; use at least 1")
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "graphadapt") if threads > 1 else None
        self._closed = False

    def each(self, calls: Iterable[Call[Result]]) -> Iterator[Result]:
        """Results in the order of the calls, which are taken a few ahead of them.

        What has not begun is dropped when a call fails or the iterator is closed.

        Raises:
            ConfigError: if the threads were ended before.
        """
        if self._closed:
            raise ConfigError("the predictor was closed and answers no more; open the bundle again")
        flying: deque[Future[Result]] = deque()
        try:
            for call in calls:
                if self._pool is None or (call.alone and not flying):
                    yield call.work()
                    continue
                flying.append(self._pool.submit(call.work))
                while len(flying) > _AHEAD * self.threads or (flying and flying[0].done()):
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        finally:
            for future in flying:
                future.cancel()

    def close(self) -> None:
        """End the threads once what is in flight is done; nothing new is taken."""
        self._closed = True
        if self._pool is not None:
            self._pool.shutdown()
