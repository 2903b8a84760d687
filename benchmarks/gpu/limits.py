"""A limit on how long a block may take, which nothing inside it can swallow."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["at_most", "seconds_left"]


class OutOfTime(BaseException):
    """Rung inside a block; handlers of ordinary errors there let it through."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError out of a block that takes longer, as soon as Python gets to it.

    Blocks may stand in one another: the outer one's limit holds in the inner one too.
    """
    left = seconds_left()
    if left <= seconds:
        yield
        return
    alarm, start = OutOfTime(f"it took more than {seconds:.0f} s"), time.monotonic()

    def ring(number: int, frame: FrameType | None) -> None:
        raise alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except OutOfTime as error:
        if error is not alarm:
            raise
        raise TimeoutError(str(alarm)) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left < math.inf:
            rest = left - (time.monotonic() - start)
            signal.setitimer(signal.ITIMER_REAL, max(0.01, rest))


def seconds_left() -> float:
    """Until the innermost limit that holds here; infinite where there is none."""
    return signal.getitimer(signal.ITIMER_REAL)[0] or math.inf
