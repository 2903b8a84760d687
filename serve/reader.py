"""SMILES texts to what several bundles read of them, each text read once.

Bundles that agree on the user's own columns are read for together: feature blocks are computed
once, and every bundle picks its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from graphadapt.errors import DataError
from graphadapt.molecules.chunk import Chunk, featurise_chunk
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.outcome import FeaturisedMolecule, Outcome
from graphadapt.serve.answer_cache import structure_key

__all__ = [
    "WINDOW",
    "Columns",
    "Read",
    "Reader",
    "columns_at",
    "columns_between",
    "listed_columns",
    "listed_texts",
    "windows",
]

WINDOW: Final = 64
"""Molecules that are read at a time, while those before are answered. With 256 two threads had
nothing to do for 16 % of the time, with 128 for 10 %, with 64 for 7 %; fewer make no full batch."""

Columns = Mapping[str, Sequence[float]]
"""The user's own feature columns, each as long as the texts."""


class Read(NamedTuple):
    """What became of some texts."""

    outcomes: list[Outcome]
    structures: list[bytes]
    """Digest of each molecule's structure, empty for an error; none at all unless asked for."""


class Reader:
    """Featurises with the blocks of all bundles that it reads for.

    Args:
        blocks: of every bundle.
        with_structures: whether to compute a digest of each molecule's structure.
    """

    def __init__(
        self, blocks: Sequence[tuple[FeatureBlock, ...]], *, with_structures: bool = False
    ) -> None:
        self.blocks = tuple(dict.fromkeys(block for each in blocks for block in each))
        self._keys = (structure_key,) if with_structures else ()

    def read(self, texts: Sequence[str], columns: Columns) -> Read:
        """Read texts in this thread."""
        packed = featurise_chunk(Chunk(texts, self.blocks, columns, self._keys))
        outcomes = packed.unpack()
        if not self._keys:
            return Read(outcomes, [])
        rest = iter(packed.keys[0])
        found = [b"" if isinstance(each, DataError) else next(rest).tobytes() for each in outcomes]
        return Read(outcomes, found)

    def picked(self, outcome: Outcome, blocks: tuple[FeatureBlock, ...]) -> Outcome:
        """The outcome with the feature blocks of one bundle alone."""
        if isinstance(outcome, DataError) or blocks == self.blocks:
            return outcome
        places = [self.blocks.index(block) for block in blocks]
        return FeaturisedMolecule(outcome.arrays, tuple(outcome.features[at] for at in places))


def listed_texts(smiles: Iterable[str]) -> list[str]:
    """The texts of a request as a list, whatever held them.

    Raises:
        DataError: for one text alone, whose letters would be taken for molecules.

    Example:
        >>> listed_texts(text for text in ("CCO", "C"))
        ['CCO', 'C']
    """
    if isinstance(smiles, str):
        raise DataError(f"{smiles!r} is one text, not a list of them; give [{smiles!r}]")
    return list(smiles)


def listed_columns(
    columns: Mapping[str, Iterable[float]] | None, own: Sequence[str], count: int
) -> Columns:
    """The columns that a model reads, as lists.

    Args:
        columns: that are given; others may be among them.
        own: that the model reads.
        count: of texts.

    Raises:
        DataError: that names a column which is missing, or not as long as the texts.
    """
    given = {} if columns is None else columns
    listed = {name: list(values) for name, values in given.items()}
    missing = [name for name in own if name not in listed]
    if missing:
        raise DataError(
            f"the model reads the feature columns {', '.join(own)}; missing: {', '.join(missing)}"
        )
    for name, values in listed.items():
        if len(values) != count:
            raise DataError(
                f"feature column {name!r} has {len(values)} values for {count} molecules"
            )
    return {name: listed[name] for name in own}


def windows(count: int, size: int) -> list[tuple[int, int]]:
    """Cuts of a request that are read one after the other, while those before are answered.

    The first is a half, so that answering begins soon. There is one, even of nothing.

    Example:
        >>> windows(10, 4), windows(1, 4), windows(0, 4)
        ([(0, 2), (2, 6), (6, 10)], [(0, 1)], [(0, 0)])
    """
    stops = [*range(max(1, size // 2), count, size), count]
    return list(zip([0, *stops], stops, strict=False))


def columns_at(columns: Columns, rows: Sequence[int]) -> Columns:
    """The columns at some places."""
    return {name: [values[row] for row in rows] for name, values in columns.items()}


def columns_between(columns: Columns, start: int, stop: int) -> Columns:
    """The columns at the places from one to before another."""
    return {name: values[start:stop] for name, values in columns.items()}
