"""Work that goes on beside the caller's, in order and a few pieces at most behind it."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Background", "in_background"]

Piece = TypeVar("Piece")


class Background(Generic[Piece]):
    """A thread that uses up pieces; made by :func:`in_background`."""

    def __init__(self, use: Callable[[Piece], object], most: int) -> None:
        self._use = use
        self._most = most
        self._broken = False
        self._flying: deque[Future[None]] = deque()
        self._pool = ThreadPoolExecutor(1, "graphadapt-background")

    def put(self, piece: Piece) -> None:
        """Hand over a piece; waits while too many wait, and raises what an earlier one led to."""
        self._flying.append(self._pool.submit(self._work, piece))
        while len(self._flying) > self._most or (self._flying and self._flying[0].done()):
            self._flying.popleft().result()

    def finish(self) -> None:
        """Wait until all pieces are used up, and raise what one of them led to."""
        while self._flying:
            self._flying.popleft().result()

    def close(self) -> None:
        """Drop what has not begun, and wait for what has."""
        self._pool.shutdown(cancel_futures=True)

    def _work(self, piece: Piece) -> None:
        if self._broken:  # nothing follows a piece that failed
            return
        self._broken = True
        self._use(piece)
        self._broken = False


@contextmanager
def in_background(use: Callable[[Piece], object], most: int = 4) -> Iterator[Background[Piece]]:
    """Use up pieces in a thread of its own while the ``with`` block makes more of them.

    The block ends when all are used up. If it fails or is interrupted, pieces that have not begun
    are dropped, and the thread has ended when the error goes on.

    Args:
        use: called with each piece in turn, never two at a time, and not after it failed.
        most: pieces that may wait.

    Example:
        >>> seen = []
        >>> with in_background(seen.append) as background:
        ...     for piece in range(3):
        ...         background.put(piece)
        >>> seen
        [0, 1, 2]
    """
    background = Background(use, most)
    try:
        yield background
        background.finish()
    finally:
        background.close()
