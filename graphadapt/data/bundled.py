"""The store that a run names: a prepared folder, or the bundled matrix prepared on first use.

The bundled matrix is prepared once for each choice of features, in the user's cache folder
(``GRAPHADAPT_CACHE``, else ``XDG_CACHE_HOME``, else ``~/.cache``).
"""

import csv
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.prepare import prepare
from graphadapt.data.store import STORE_FORMAT, GraphStore, is_store
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION

__all__ = ["cache_folder", "open_store", "published_scores"]

BUNDLED = "moleculeace"


def open_store(name: str, feature_kinds: Sequence[str] = (), *, shown: bool = True) -> GraphStore:
    """Open a prepared store, or prepare the bundled one first.

    Args:
        name: a store's folder, or ``moleculeace``.
        feature_kinds: blocks that the bundled matrix must hold, ``counts`` or ``descriptors``.
        shown: whether preparing shows progress.
    """
    if name != BUNDLED:
        return GraphStore(name)
    kinds = "-".join(sorted(feature_kinds)) or "graphs"
    folder = cache_folder() / f"{BUNDLED}-{STORE_FORMAT}.{FEATURISATION_VERSION}-{kinds}"
    if not is_store(folder):
        blocks = tuple(FeatureBlock(kind=kind) for kind in sorted(feature_kinds))
        prepare(moleculeace_source(), folder, blocks, shown=shown)
    return GraphStore(folder)


def cache_folder() -> Path:
    """Where prepared copies of bundled data are kept."""
    own = os.environ.get("GRAPHADAPT_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "graphadapt"


def published_scores() -> dict[str, dict[str, float]]:
    """Test RMSE and cliff RMSE that MoleculeACE publishes for every target, by method.

    References:
        van Tilborg, Alenicheva, Grisoni, Exposing the limitations of molecular machine learning
        with activity cliffs, 2022; the results file of its code.
    """
    text = (resources.files("graphadapt.data") / BUNDLED / "published.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return {
        row["target"]: {key: float(value) for key, value in row.items() if key != "target"}
        for row in rows
    }
