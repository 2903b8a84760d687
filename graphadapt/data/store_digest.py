"""A short mark of what a store holds, by which a run knows its data again."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from graphadapt.data.store import GraphStore

__all__ = ["store_digest"]

WHOLE: Final = 1 << 26
"""Bytes of a column that are all read; a larger one is read in places."""

PLACE: Final = 1 << 12
"""Bytes of a place."""

PLACES: Final = 1 << 11
"""How many there are, evenly from the first to the last of the column."""

GRAPHS: Final = ("atoms", "atom_offsets", "bonds", "bond_features", "bond_offsets")


def store_digest(store: GraphStore, feature_kinds: Sequence[str] = ()) -> str:
    """Sixteen hex digits over tasks, graphs, labels, split, and features of these kinds.

    A store that is prepared again from the same source in the same way keeps them. Columns are read
    whole up to 64 MiB each, what is larger only in places: enough to tell another source, split or
    featurisation, not a single number changed by hand in a large store.
    """
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([task.to_dict() for task in store.tasks]).encode())
    for name in (*GRAPHS, "labels", "split", *(f"features_{kind}" for kind in feature_kinds)):
        path = store.folder / f"{name}.npy"
        digest.update(f"{name} {path.stat().st_size}".encode())
        for piece in _pieces(path):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE:
            yield file.read()
            return
        for place in range(PLACES):
            file.seek((size - PLACE) * place // (PLACES - 1))
            yield file.read(PLACE)
