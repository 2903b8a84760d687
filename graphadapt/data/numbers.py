"""What the text in a table cell means as a number.

Blank cells and ``nan``, ``na``, ``n/a``, ``null``, ``none`` (any capitals) are missing; ``true``
and ``false`` are 1 and 0; whatever else is no finite float32 is kept as text, never guessed at.
"""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellReader"]

_MISSING = frozenset({"", "nan", "na", "n/a", "<na>", "null", "none"})
_TRUTH = {"true": 1.0, "false": 0.0}
_LARGEST = float(np.finfo(np.float32).max)
_NOT_A_NUMBER = -math.inf
_MEMORY = 100_000


class CellReader(dict[str, float]):
    """Read columns of text as numbers, remembering texts seen before.

    Tables of labels repeat few texts (``0``, ``1`` and blank) very often, so a look-up is most of
    the work; the memory is emptied when it grows past 100,000 texts.
    """

    def __missing__(self, text: str) -> float:
        if len(self) >= _MEMORY:
            self.clear()
        number = self[text] = _number(text)
        return number

    def read(self, texts: Iterable[str]) -> tuple[NDArray[np.float32], list[int]]:
        """Values, NaN where there is none, and the positions of texts that are no number.

        Example:
            >>> values, unread = CellReader().read(["1", " 2.5", "", "high"])
            >>> values.tolist(), unread
            ([1.0, 2.5, nan, nan], [3])
        """
        values = np.fromiter(map(self.__getitem__, texts), np.float32)
        unread = np.flatnonzero(np.isneginf(values))
        values[unread] = np.nan
        return values, unread.tolist()


def _number(text: str) -> float:
    plain = text.strip().lower()
    if plain in _MISSING:
        return math.nan
    if plain in _TRUTH:
        return _TRUTH[plain]
    try:
        value = float(plain)
    except ValueError:
        return _NOT_A_NUMBER
    # Python reads 1_000 as a number, tables do not; float32 cannot hold everything.
    usable = math.isfinite(value) and abs(value) <= _LARGEST and "_" not in plain
    return value if usable else _NOT_A_NUMBER
