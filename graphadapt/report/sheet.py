"""Where the panels of a picture lie: rows from left to right, all sizes in inches.

Every panel is as high as the others. A row begins with room for names, a panel has room above for
its title and below for its numbers and a bar of colours, and a row that is full is followed by
another, so that no title overlaps its neighbour's however many panels there are.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LETTER", "Place", "Sheet", "lay_out", "shortened", "wrapped"]

LETTER = 0.062
"""Width of a letter at 7 points."""

LINE = 0.14
"""Height of a line of a title."""

WIDEST, WIDEST_SHARE = 18.0, 2.5
"""Where a row is full: so many inches, or so many heights of a panel where that is more."""

MARGIN, GAP, HEADING = 0.15, 0.2, 0.45
BELOW = 1.05
"""Below a panel: numbers, their name, a bar of colours and its name."""


@dataclass(frozen=True, slots=True)
class Place:
    """A box, measured from the lower left corner of the sheet."""

    x: float
    y: float
    width: float
    height: float
    row: int
    """Counted from the top."""

    first: bool
    """Whether it begins its row."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A whole picture."""

    width: float
    height: float
    places: tuple[Place, ...]

    def share(
        self, x: float, y: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        """A box in inches as shares of the sheet."""
        return x / self.width, y / self.height, width / self.width, height / self.height


def lay_out(widths: Sequence[float], height: float, lines: Sequence[int], names: float) -> Sheet:
    """Fill rows in order.

    Args:
        widths: of the panels, at least one.
        height: of every panel.
        lines: lines of each panel's title.
        names: room at the beginning of every row.
    """
    rows = _rows(widths, names, max(WIDEST, WIDEST_SHARE * height))
    titles = [LINE * max(lines[panel] for panel in row) + 0.1 for row in rows]
    total = HEADING + sum(titles) + len(rows) * (height + BELOW)
    places, top = [], total - HEADING
    for number, (row, title) in enumerate(zip(rows, titles, strict=True)):
        x = MARGIN + names
        for panel in row:
            box = (x, top - title - height, widths[panel], height)
            places.append(Place(*box, row=number, first=panel == row[0]))
            x += widths[panel] + GAP
        top -= title + height + BELOW
    right = max(place.x + place.width for place in places)
    return Sheet(right + MARGIN, total, tuple(places))


def wrapped(text: str, width: float, letter: float = LETTER) -> list[str]:
    """Lines that fit a width, broken after dots and blanks, and inside a word only if it must be.

    Example:
        >>> wrapped("virtual_node.updates.0.expand", 1.2)
        ['virtual_node.', 'updates.0.expand']
    """
    most = max(4, int(width / letter))
    lines: list[str] = []
    for part in re.findall(r"[^. ]+[. ]?|[. ]", text):
        word = part.rstrip()
        if lines and len(lines[-1] + word) <= most:
            lines[-1] += part
            continue
        lines += [word[start : start + most] for start in range(0, len(word), most)] or [""]
        lines[-1] += part[len(word) :]
    return [line.rstrip() for line in lines]


def shortened(name: str, most: int = 40) -> str:
    """A name of at most so many letters, its middle left out if need be.

    Example:
        >>> shortened("a very long name of an assay", 15)
        'a very …n assay'
    """
    if len(name) <= most:
        return name
    return f"{name[: most // 2]}…{name[-(most - most // 2 - 1) :]}"


def _rows(widths: Sequence[float], names: float, widest: float) -> list[list[int]]:
    """Numbers of the panels of each row; one that is wider than a row has a row of its own."""
    rows: list[list[int]] = [[]]
    x = names
    for panel, width in enumerate(widths):
        if rows[-1] and x + width > widest:
            rows.append([])
            x = names
        rows[-1].append(panel)
        x += width + GAP
    return rows
