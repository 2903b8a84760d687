"""Several bundles at once: each molecule read once, all runs on the same threads.

Shapes: G molecules, T tasks of one bundle.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from graphadapt.errors import ConfigError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.process_map import available_cores
from graphadapt.serve.bundle_reader import Bundle
from graphadapt.serve.part import Part, Predictions
from graphadapt.serve.predictor import Answered, Predictor
from graphadapt.serve.reader import (
    WINDOW,
    Columns,
    Read,
    Reader,
    columns_at,
    columns_between,
    listed_columns,
    listed_texts,
    windows,
)
from graphadapt.serve.workers import Call, Workers

__all__ = ["Predictors"]


class _Group(NamedTuple):
    """Bundles that read the same columns of the user's own, and so fail on the same molecules."""

    names: list[str]
    columns: tuple[str, ...]
    reader: Reader

    def share(
        self, read: Read, rows: Sequence[int], part: Part, blocks: tuple[FeatureBlock, ...]
    ) -> Read:
        """What one bundle's part was waiting for, of all that was read."""
        place = {row: at for at, row in enumerate(rows)}
        wanted = [place[row] for row in part.waiting]
        outcomes = [self.reader.picked(read.outcomes[at], blocks) for at in wanted]
        return Read(outcomes, [read.structures[at] for at in wanted if read.structures])


class Predictors(Mapping[str, Predictor]):
    """Open bundles by name; any number of threads may ask them at once.

    A text is parsed and featurised once for all bundles that are asked, with the feature blocks of
    each computed once. Bundles that read different columns of the user's own are read for apart, as
    a column that is missing for one must not fail another.

    Args:
        bundles: folder of each bundle, or one that was read, by a name of the caller's choice.
        providers: as :class:`~graphadapt.serve.predictor.Predictor` takes them.
        threads: that answer at the same time, for all bundles together; default is one for each
            core.
        strict: whether the first provider has to serve every bundle.
        cache: answers that are remembered of each bundle; default none.

    Raises:
        ConfigError: if there are no bundles, or a setting cannot work.
        BundleError: if a bundle cannot be trusted.
        DependencyError: if ONNX Runtime or a provider does not work.
    """

    def __init__(
        self,
        bundles: Mapping[str, str | Path | Bundle],
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        *,
        strict: bool = False,
        cache: int = 0,
    ) -> None:
        if not bundles:
            raise ConfigError("no bundles to open; give at least one by its name")
        self._workers = Workers(available_cores() if threads is None else threads)
        self._with_structures = cache > 0
        self._open = {
            name: Predictor(bundle, providers, strict=strict, cache=cache, workers=self._workers)
            for name, bundle in bundles.items()
        }

    def __getitem__(self, name: str) -> Predictor:
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def predict(
        self,
        smiles: Iterable[str],
        columns: Mapping[str, Iterable[float]] | None = None,
        *,
        names: Sequence[str] | None = None,
        compositions: Mapping[str, str] | None = None,
    ) -> dict[str, Predictions]:
        """Answer every SMILES with every bundle, or with those that are named.

        Args:
            smiles: any number of molecules.
            columns: the user's own feature columns that any of the bundles reads.
            names: of the bundles to ask; default all.
            compositions: name of the mix to answer by, for bundles of the adapters form; default is
                the first of each.

        Raises:
            ConfigError: if there is no bundle, or no composition, of such a name.
            DataError: if a column is missing or not as long as ``smiles``, or that is one text.
        """
        mixes = self._mixes(names, compositions or {})
        texts = listed_texts(smiles)
        read = dict.fromkeys(each for name in mixes for each in self[name].contract.own_columns)
        own = listed_columns(columns, tuple(read), len(texts))
        cuts = windows(len(texts), WINDOW)
        alone = len(cuts) == 1 and len(mixes) == 1
        parts: dict[str, list[Part]] = {name: [] for name in mixes}
        calls = (
            call
            for start, stop in cuts
            for name, part in self._read(
                mixes, texts[start:stop], columns_between(own, start, stop)
            )
            for call in self._calls(name, part, mixes[name], parts, alone=alone)
        )
        for done in self._workers.each(calls):
            done.part.put(done.places, done.answers)
        return {
            name: Predictions.joined([part.predictions(self[name].tasks) for part in found])
            for name, found in parts.items()
        }

    def close(self) -> None:
        """End all threads; what is in flight is answered first."""
        self._workers.close()
        for predictor in self._open.values():
            predictor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _mixes(
        self, names: Sequence[str] | None, compositions: Mapping[str, str]
    ) -> dict[str, str]:
        """The composition of each bundle that is asked."""
        for name in (*(names or ()), *compositions):
            if name not in self:
                raise ConfigError(f"no bundle {name!r} is open; there are {', '.join(self)}")
        return {
            name: self[name].composition(compositions.get(name))
            for name in dict.fromkeys(self if names is None else names)
        }

    def _calls(
        self, name: str, part: Part, mix: str, parts: dict[str, list[Part]], *, alone: bool
    ) -> Iterator[Call[Answered]]:
        parts[name].append(part)
        return self[name].calls(part, mix, alone=alone)

    def _read(
        self, mixes: Mapping[str, str], texts: Sequence[str], columns: Columns
    ) -> Iterator[tuple[str, Part]]:
        """A part for each bundle, from one reading of what any bundle of its group misses."""
        for group in self._groups(tuple(mixes)):
            parts = {
                name: self[name].open_part(texts, columns, mixes[name]) for name in group.names
            }
            rows = sorted({row for part in parts.values() for row in part.waiting})
            own = {name: columns[name] for name in group.columns}
            read = Read([], [])
            if rows:
                read = group.reader.read([texts[row] for row in rows], columns_at(own, rows))
            for name, part in parts.items():
                blocks = self[name].contract.feature_blocks
                self[name].fill_part(part, group.share(read, rows, part, blocks), mixes[name])
                yield name, part

    def _groups(self, names: tuple[str, ...]) -> list[_Group]:
        """The bundles by the columns that they read."""
        by_columns: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            by_columns.setdefault(self[name].contract.own_columns, []).append(name)
        return [
            _Group(members, columns, self._reader(members))
            for columns, members in by_columns.items()
        ]

    def _reader(self, names: Sequence[str]) -> Reader:
        blocks = [self[name].contract.feature_blocks for name in names]
        return Reader(blocks, with_structures=self._with_structures)
