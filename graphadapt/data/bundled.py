"""The store that a run names: a prepared folder, or the bundled matrix prepared on first use.

The bundled matrix is prepared once for each choice of features, in the user's cache folder
(``GRAPHADAPT_CACHE``, else ``XDG_CACHE_HOME``, else ``~/.cache``).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.store import STORE_FORMAT, GraphStore, is_store
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION

__all__ = ["BUNDLED", "PUBLISHED_RMSE", "cache_folder", "open_store"]

BUNDLED: Final = "moleculeace"
"""What a run calls the bundled matrix."""

PUBLISHED_RMSE: Final = {
    "SVM on ECFP": (0.671, 0.751),
    "GBM on ECFP": (0.695, 0.784),
    "RF on ECFP": (0.700, 0.786),
    "LSTM on SMILES": (0.742, 0.871),
    "GCN": (0.914, 0.974),
    "GAT": (0.947, 1.005),
    "MPNN": (1.094, 1.120),
}
"""Mean test RMSE and cliff RMSE over the 30 targets that MoleculeACE publishes, by method.

van Tilborg, Alenicheva and Grisoni, Exposing the limitations of molecular machine learning with
activity cliffs, 2022: the results file of its code.
"""


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
        blocks = tuple(_block(kind) for kind in sorted(feature_kinds))
        _prepare_bundled(folder, blocks, shown=shown)
    return GraphStore(folder)


def _prepare_bundled(folder: Path, blocks: Sequence[FeatureBlock], *, shown: bool) -> None:
    from graphadapt.data.prepare import prepare  # needs RDKit, which an open store does not

    try:
        prepare(moleculeace_source(), folder, blocks=blocks, shown=shown)
    except DataError:
        if not is_store(folder):  # otherwise another process that was waited for has prepared it
            raise


def _block(kind: str) -> FeatureBlock:
    """Counts that see stereo, because a third of these molecules have it."""
    return FeatureBlock.from_dict({"kind": kind, "chirality": kind == "counts"})


def cache_folder() -> Path:
    """Where prepared copies of bundled data are kept."""
    own = os.environ.get("GRAPHADAPT_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "graphadapt"
