"""How long work shows itself: a bar on a terminal, a line now and then elsewhere.

Everything goes to standard error, so that standard output holds results only.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import click

__all__ = ["Progress", "note", "track"]

LINE_SECONDS, BAR_SECONDS = 10.0, 0.1
"""Between two lines, and between two looks of the bar: drawing one costs more than many a piece."""

Item = TypeVar("Item")


class Progress:
    """Count finished pieces of work towards a total.

    Args:
        total: pieces in all; None where that shows only at the end.
        label: what is being done, a few words.
        shown: ``False`` keeps silent, for tests and nested work.
    """

    def __init__(self, total: int | None, label: str, *, shown: bool = True) -> None:
        self.total = total
        self.label = label
        self.done = 0
        self.status = ""
        self._start = time.monotonic()
        self._last_shown = self._start
        self._drawn = 0
        has_bar = sys.stderr.isatty() and total is not None
        self._lines = shown and not has_bar
        self._bar: Any = None
        if shown and has_bar:
            self._bar = click.progressbar(
                length=total,
                label=label,
                file=sys.stderr,
                show_pos=True,
                item_show_func=lambda _: self.status,
            )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._draw()
            self._bar.__exit__(kind, error, trace)
        elif self._lines and error is None:
            self._print_line()

    def update(self, pieces: int = 1, status: str = "") -> None:
        """Count ``pieces`` more as finished and show ``status`` beside the bar."""
        self.done += pieces
        self.status = status or self.status
        waited = time.monotonic() - self._last_shown
        if self._bar is not None and waited >= BAR_SECONDS:
            self._draw()
        elif self._lines and waited >= LINE_SECONDS:
            self._print_line()

    def _draw(self) -> None:
        self._last_shown = time.monotonic()
        self._bar.update(self.done - self._drawn, self.status)
        self._drawn = self.done

    def _print_line(self) -> None:
        self._last_shown = time.monotonic()
        seconds = self._last_shown - self._start
        done = f"{self.done}/{self.total}" if self.total is not None else f"{self.done}"
        text = f"{self.label}: {done} in {seconds:.0f} s"
        print(f"{text}  {self.status}".rstrip(), file=sys.stderr, flush=True)  # noqa: T201


def track(items: Iterable[Item], total: int, label: str, *, shown: bool = True) -> Iterator[Item]:
    """Yield ``items`` and count each as finished when the next is asked for."""
    with Progress(total, label, shown=shown) as progress:
        for item in items:
            yield item
            progress.update()


def note(text: str, *, shown: bool = True) -> None:
    """Say one line about the work."""
    if shown:
        print(text, file=sys.stderr, flush=True)  # noqa: T201
