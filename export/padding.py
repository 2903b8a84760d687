"""Molecules padded to one shape, for servers and devices that want equal shapes. No torch.

Shapes: G graphs, A rows of each, S slots, M molecule features.

A padding row counts for no atom and no row hears it; an empty slot holds the bond that is always
silent. So no answer depends on how much padding there is.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import DataError
from graphadapt.export.contract_parts import Bucket
from graphadapt.export.joined_graphs import SILENT, join_graphs
from graphadapt.molecules.arrays import MoleculeArrays

__all__ = ["BUCKETS", "PADDED", "ROWS", "pad"]

PADDED: Final = (
    "padded_atoms",
    "padded_neighbours",
    "padded_bonds",
    "padded_counts",
    "padded_degrees",
)
"""Names of the arrays of :func:`pad`, but ``features``."""

ROWS: Final = 16_384
"""Rows of a full batch: enough to fill a large GPU."""

BUCKETS: Final = tuple(
    Bucket(atoms=atoms, slots=slots, graphs=ROWS // atoms)
    for atoms, slots in ((16, 4), (24, 4), (32, 4), (48, 4), (64, 6), (128, 6))
)
"""Shapes for drug-like molecules: four bonds at an atom do for nearly all, and steps of a third to
a half keep padding to about a fifth of the rows."""


def pad(
    molecules: Sequence[MoleculeArrays],
    features_GM: NDArray[np.float32] | None = None,
    *,
    atoms: int = 0,
    slots: int = 0,
    graphs: int = 0,
) -> dict[str, NDArray[np.generic]]:
    """Arrange a batch for a network of the padded form.

    ``padded_atoms`` (G, A, 9) uint8; ``padded_neighbours`` (G, A, S) int32, row of the neighbour in
    its molecule; ``padded_bonds`` (G, A, S) uint8; ``padded_counts`` (G, A) float32, 1 for an atom
    and 0 for padding; ``padded_degrees`` (G, A) float32; ``features`` (G, M) where they are given.

    Args:
        molecules: at least one, each with at least one atom.
        features_GM: untransformed molecule-level features.
        atoms: A; by default that of the largest molecule.
        slots: S; by default the most bonds of one atom, at least 1.
        graphs: G; by default as many as there are molecules. More are filled up with single atoms,
            whose answers mean nothing.

    Raises:
        DataError: if a molecule does not fit, or an atom has too many bonds.
    """
    joined = join_graphs(molecules)
    sizes_G = np.bincount(joined.graph)
    first_A = (np.cumsum(sizes_G) - sizes_G)[joined.graph]
    place = joined.graph, np.arange(len(joined.graph)) - first_A
    needed = len(molecules), int(sizes_G.max()), max(1, int(joined.degree.max()))
    shape = graphs or needed[0], atoms or needed[1], slots or needed[2]
    if any(have < need for have, need in zip(shape, needed, strict=True)):
        raise DataError(
            f"{needed[0]} molecules of up to {needed[1]} atoms and {needed[2]} bonds an atom do "
            f"not fit {shape[0]} of {shape[1]} and {shape[2]}"
        )
    arrays: dict[str, NDArray[np.generic]] = {
        "padded_atoms": _filled((*shape[:2], 9), place, joined.atoms, np.uint8),
        "padded_neighbours": _slots(shape, place, (joined.neighbour - first_A).T, 0, np.int32),
        "padded_bonds": _slots(shape, place, joined.code.T, SILENT, np.uint8),
        "padded_counts": _filled(shape[:2], place, 1.0, np.float32),
        "padded_degrees": _filled(shape[:2], place, joined.degree, np.float32),
    }
    arrays["padded_neighbours"][arrays["padded_bonds"] == SILENT] = 0
    arrays["padded_counts"][needed[0] :, 0] = 1.0  # a mean over no atoms is no number
    if features_GM is not None:
        arrays["features"] = _filled(
            (shape[0], features_GM.shape[1]), slice(len(features_GM)), features_GM, np.float32
        )
    return arrays


def _filled(
    shape: tuple[int, ...], place: Any, values: Any, dtype: type[np.generic]
) -> NDArray[np.generic]:
    """Zeros but at the places."""
    array = np.zeros(shape, dtype)
    array[place] = values
    return array


def _slots(
    shape: tuple[int, int, int],
    place: tuple[NDArray[np.int64], NDArray[np.int64]],
    table_AS: NDArray[np.int64],
    empty: int,
    dtype: type[np.generic],
) -> NDArray[np.generic]:
    array = np.full(shape, empty, dtype)
    array[(*place, slice(table_AS.shape[1]))] = table_AS
    return array
