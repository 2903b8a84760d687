"""Build a store of structures alone from MOSES, published sets and tables.

Shapes: G molecules of a source.

No label is read, and a molecule that any of the sources validates or tests on stays out, whichever
source it is found in.
"""

import gzip
import json
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rdkit.rdBase import BlockLogs

from graphadapt.data.bundled import BUNDLED
from graphadapt.data.identity import canonical_key
from graphadapt.data.load import load_source
from graphadapt.data.ogb_layout import is_ogb_folder
from graphadapt.data.prepare import prepare
from graphadapt.data.source import MoleculeSource
from graphadapt.data.split import TEST, VALID
from graphadapt.data.store import GraphStore, is_store
from graphadapt.data.store_writer import check_replaceable
from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.parallel import worthwhile_processes
from graphadapt.molecules.parse import parse_smiles
from graphadapt.molecules.process_map import process_map
from graphadapt.progress import Progress, track

__all__ = ["ORIGIN_FILE", "UNSTATED", "StructureSource", "build_structures", "read_structures"]

ORIGIN_FILE: Final = "origin.json"
"""Inside the store: its sources, with counts and licences."""

UNSTATED: Final = "not stated"

_MOSES_FILE: Final = "moses/dataset/data/train.csv.gz"
_CHUNK: Final = 512
_MOST_AT_ONCE: Final = 200_000
_SPARE: Final = 256
"""Molecules named beyond those that are missing, as some will be left out."""


@dataclass(frozen=True)
class StructureSource:
    """Molecules of one source, without their labels."""

    name: str
    licence: str
    smiles: list[str]
    evaluates: NDArray[np.bool_] | None = None
    """``(G,)`` which hold a validation or test cell; None if the source has no split."""

    def __len__(self) -> int:
        return len(self.smiles)


def read_structures(spec: str | Path, licence: str = "") -> StructureSource:
    """Read the molecules of a wheel of MOSES, a store, or anything that ``prepare`` takes.

    Args:
        spec: ``molsets-….whl``, of which the training part is taken; the folder of a store; else as
            :func:`graphadapt.data.load.load_source`.
        licence: of the molecules; by default what is known of MOSES, OGB's sets and MoleculeACE.

    Raises:
        DataError: if nothing is there, or it cannot be read.
    """
    path = Path(spec)
    if path.suffix == ".whl":
        return StructureSource("MOSES", licence or "MIT", _moses(path))
    if is_store(path):
        store = GraphStore(path)
        smiles = [store.smiles(row) for row in range(len(store))]
        evaluates_G = _evaluates(store.split) if store.tasks else None
        return StructureSource(path.name, licence or UNSTATED, smiles, evaluates_G)
    source = load_source(spec)
    evaluates_G = None if source.split is None else _evaluates(source.split)
    known = {BUNDLED: "CC-BY-SA-3.0"}.get(source.name, "MIT" if is_ogb_folder(path) else UNSTATED)
    return StructureSource(source.name, licence or known, source.smiles, evaluates_G)


def build_structures(
    sources: Sequence[StructureSource],
    folder: str | Path,
    blocks: Sequence[FeatureBlock] = (),
    *,
    apart_from: Sequence[StructureSource] = (),
    most: int = 0,
    seed: int = 0,
    processes: int | None = None,
    overwrite: bool = False,
    shown: bool = True,
) -> dict[str, Any]:
    """Write the sources' molecules as one store, each once, in a random order.

    Args:
        sources: what to take from.
        folder: the store to make.
        blocks: molecule-level features that objectives will predict.
        apart_from: sources that give no molecules. What one of them validates or tests on stays
            out, and of one without a split all that it holds.
        most: stop at this many; 0 takes all.
        seed: of the order; 0 or above.
        processes: how many parse and featurise; by default one for each core.
        overwrite: whether a store in this place may be replaced.
        shown: whether progress goes to standard error.

    Returns:
        The record that ``origin.json`` holds: of every source, how many molecules were taken and
        how many left out for which reason.

    Raises:
        ConfigError: if ``most`` or ``seed`` is negative.
        DataError: if the place is taken or nothing is left.
    """
    if most < 0:
        raise ConfigError(f"most={most} is negative; give a number of molecules, or 0 for all")
    if seed < 0:
        raise ConfigError(f"seed={seed} is negative; use 0 or above")
    check_replaceable(Path(folder), overwrite=overwrite)
    barred = _barred(sources, apart_from, processes, shown)
    chosen = _Choice(sources, barred, processes, shown)
    chosen.fill(most, seed)
    if not chosen.smiles:
        raise DataError(f"no molecule is left for the corpus: {chosen.left_out()}")
    prepare(
        _unlabelled(" + ".join(source.name for source in sources), chosen.smiles),
        folder,
        blocks,
        split="random",
        processes=processes,
        overwrite=overwrite,
        shown=shown,
    )
    record = {"seed": seed, "sources": chosen.to_dict()}
    (Path(folder) / ORIGIN_FILE).write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return record


class _Choice:
    """Molecules taken so far, in a random order of all sources' rows."""

    def __init__(
        self,
        sources: Sequence[StructureSource],
        barred: set[bytes],
        processes: int | None,
        shown: bool,
    ) -> None:
        self.sources = sources
        self.barred = barred
        self.smiles: list[str] = []
        self._known: set[bytes] = set()
        self._fates = [Counter[str]() for _ in sources]
        self._processes, self._shown = processes, shown

    def fill(self, most: int, seed: int) -> None:
        """Take molecules until there are ``most``, or all if that is 0."""
        owner = np.repeat(np.arange(len(self.sources)), [len(each) for each in self.sources])
        row = np.concatenate([np.arange(len(each)) for each in self.sources])
        order = np.random.default_rng(seed).permutation(len(row))
        wanted = min(most or len(order), len(order))
        start = 0
        with Progress(wanted, "choosing molecules", shown=self._shown) as progress:
            while start < len(order) and len(self.smiles) < wanted:
                missing = wanted - len(self.smiles)
                places = order[start : start + min(_MOST_AT_ONCE, missing + _SPARE)]
                start += len(places)
                pairs = list(zip(owner[places].tolist(), row[places].tolist(), strict=True))
                texts = [self.sources[source].smiles[at] for source, at in pairs]
                keys = _keys(texts, self._processes)
                for (source, _), text, key in zip(pairs, texts, keys, strict=True):
                    if len(self.smiles) < wanted:
                        taken = self._take(source, text, key)
                        progress.update(taken or not most)

    def to_dict(self) -> list[dict[str, Any]]:
        """What became of every source's molecules."""
        return [
            {
                "name": source.name,
                "licence": source.licence,
                "molecules": len(source),
                **{fate: fates[fate] for fate in ("taken", *sorted(set(fates) - {"taken"}))},
            }
            for source, fates in zip(self.sources, self._fates, strict=True)
        ]

    def left_out(self) -> str:
        """How many molecules were left out of all sources, for which reasons."""
        fates = sum(self._fates, Counter[str]())
        return ", ".join(f"{fates[fate]:,} {fate}" for fate in sorted(set(fates) - {"taken"}))

    def _take(self, source: int, text: str, key: bytes | None) -> bool:
        """Note what becomes of a molecule; whether it is taken."""
        fate = "taken"
        if key is None:
            fate = "unparsable"
        elif key in self.barred:
            fate = "kept apart"
        elif key in self._known:
            fate = "duplicate"
        else:
            self._known.add(key)
            self.smiles.append(text)
        self._fates[source][fate] += 1
        return fate == "taken"


def _barred(
    sources: Sequence[StructureSource],
    apart_from: Sequence[StructureSource],
    processes: int | None,
    shown: bool,
) -> set[bytes]:
    """Keys of molecules that stay out."""
    texts: list[str] = []
    for source in (*sources, *apart_from):
        if source.evaluates is not None:
            texts += [source.smiles[row] for row in np.flatnonzero(source.evaluates)]
    for source in apart_from:
        if source.evaluates is None:
            texts += source.smiles
    shown = shown and len(texts) > 0
    keys = track(_keys(texts, processes), len(texts), "reading what stays apart", shown=shown)
    return {key for key in keys if key is not None}


def _keys(texts: Sequence[str], processes: int | None) -> Iterator[bytes | None]:
    """What tells molecules apart, in order; None for what cannot be read."""
    if not texts:
        return
    chunks = [texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK)]
    count = processes or worthwhile_processes(len(texts))
    for found in process_map(_chunk_keys, chunks, count):
        yield from found


def _chunk_keys(texts: Sequence[str]) -> list[bytes | None]:
    with BlockLogs():
        return [_key(text) for text in texts]


def _key(text: str) -> bytes | None:
    try:
        return canonical_key(parse_smiles(text))
    except (DataError, RuntimeError):  # RDKit's failed invariants are RuntimeErrors
        return None


def _evaluates(split_GT: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray(np.isin(split_GT, (VALID, TEST)).any(axis=1))


def _unlabelled(name: str, smiles: list[str]) -> MoleculeSource:
    return MoleculeSource(
        name=name,
        smiles=smiles,
        labels=np.zeros((len(smiles), 0), np.float32),
        tasks=(),
        row_numbers=np.arange(1, len(smiles) + 1),
        curated=True,
    )


def _moses(wheel: Path) -> list[str]:
    """Training molecules of MOSES, from the package that carries them."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_MOSES_FILE) as packed:
            text = gzip.decompress(packed.read()).decode("ascii")
    except (zipfile.BadZipFile, gzip.BadGzipFile, KeyError, EOFError) as error:
        raise DataError(
            f"{wheel} is no wheel of molsets 0.3.1 with {_MOSES_FILE} inside: {error}"
        ) from error
    except FileNotFoundError:
        raise DataError(
            f"{wheel} does not exist; fetch it with `pip download molsets==0.3.1 --no-deps`"
        ) from None
    return text.splitlines()[1:]
