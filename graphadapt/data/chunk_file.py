"""One file of featurised molecules, which is there whole or not at all.

Shapes: G molecules, K keys. An uncompressed ``.npz`` of the arrays of
:class:`~graphadapt.molecules.outcome.PackedOutcomes`; its errors are JSON.
"""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import count, takewhile
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

from graphadapt.molecules.arrays import MoleculeBatch
from graphadapt.molecules.outcome import PackedOutcomes

__all__ = ["is_chunk_file", "read_chunk", "read_keys", "write_chunk"]


def write_chunk(path: Path, outcomes: PackedOutcomes) -> None:
    """Write a file beside and give it its name when it is complete."""
    errors = np.frombuffer(json.dumps(list(outcomes.errors.items())).encode(), np.uint8)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    arrays: dict[str, Any] = {
        "errors": errors,
        **outcomes.molecules._asdict(),
        **_numbered("features", outcomes.features),
        **_numbered("keys", outcomes.keys),
    }
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def is_chunk_file(path: Path) -> bool:
    """Whether the file is there to its end; after a failure of the machine it may not be."""
    return is_zipfile(path)


def read_chunk(path: Path) -> PackedOutcomes:
    """Everything that was written."""
    with np.load(path, allow_pickle=False) as arrays:
        return PackedOutcomes(
            MoleculeBatch(*(arrays[name] for name in MoleculeBatch._fields)),
            _all_of("features", arrays),
            _all_of("keys", arrays),
            _errors(arrays),
        )


def read_keys(path: Path) -> tuple[tuple[NDArray[np.uint8], ...], dict[int, str]]:
    """Keys, ``(G, 16)`` each, and errors, without the rest."""
    with np.load(path, allow_pickle=False) as arrays:
        return _all_of("keys", arrays), _errors(arrays)


def _numbered(name: str, arrays: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{name}_{place}": array for place, array in enumerate(arrays)}


def _all_of(name: str, arrays: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    names = (f"{name}_{place}" for place in count())
    return tuple(arrays[each] for each in takewhile(arrays.__contains__, names))


def _errors(arrays: Mapping[str, NDArray[Any]]) -> dict[int, str]:
    return dict(json.loads(arrays["errors"].tobytes()))
