"""A Ctrl-C that waits for the step under way."""

import signal
from types import FrameType

__all__ = ["InterruptWatch", "Interrupted"]


class Interrupted(Exception):  # noqa: N818 - it is no error
    """The user stopped the run; its last checkpoint is written."""


class InterruptWatch:
    """Remember the first Ctrl-C inside a ``with`` block; the second stops at once.

    Outside the main thread signals are someone else's, and nothing is watched.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "InterruptWatch":
        self.asked = False
        try:
            self._previous = signal.signal(signal.SIGINT, self._ask)
        except ValueError:
            self._previous = None
        return self

    def __exit__(self, *details: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._previous)
