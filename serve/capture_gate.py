"""Nothing else touches a device while one thread records a graph on it.

A recording breaks where any other thread of the process takes memory on the device or copies to it,
whichever session it does so for. Everything that does goes through this gate: recordings one by
one, all else side by side.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["GATE", "CaptureGate"]


class CaptureGate:
    """Lets many pass, or one alone; who wants to be alone is let in before those that come later.

    A thread that has passed must not ask again before it is out.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._barred = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """For whatever uses the device."""
        with self._changed:
            self._changed.wait_for(lambda: not self._barred)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For a recording."""
        with self._changed:
            self._changed.wait_for(lambda: not self._barred)
            self._barred = True
        try:  # also of a wait that is interrupted: nobody would pass again
            with self._changed:
                self._changed.wait_for(lambda: not self._inside)
            yield
        finally:
            with self._changed:
                self._barred = False
                self._changed.notify_all()


GATE: Final = CaptureGate()
"""Of this process."""
