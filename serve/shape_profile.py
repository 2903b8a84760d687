"""How long the axes of a bundle's arrays may be on a device that has to be told beforehand.

TensorRT builds a program for a range of shapes. Of one that it was not told, ONNX Runtime makes the
range as shapes come, and builds anew, for many seconds, whenever one is larger or smaller than all
before. So the range is given: of the padded form that of its buckets, of the others that of batches
of drug-like molecules. There is one range for all batches: ONNX Runtime takes several, but only
ever runs in the first. What lies outside of it has to be answered elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from numpy.typing import NDArray

from graphadapt.export.arrays import ARRAYS
from graphadapt.export.contract import BundleContract
from graphadapt.export.contract_parts import Bucket

__all__ = ["ShapeProfile", "shape_profile"]

_SLOTS: Final = (1, 4, 6)
"""Most bonds at an atom of a batch: four as a rule, and above six hardly ever."""

_ATOMS: Final = 24
"""Of a molecule, about."""

_ROOM: Final = 1.25
"""Times as many atoms as are aimed at that a batch may have: it ends with a whole molecule."""

Shapes = Mapping[str, tuple[int, ...]]


class ShapeProfile(NamedTuple):
    """Shape of every array, by name."""

    least: Shapes
    usual: Shapes
    """What is to be fastest."""

    most: Shapes

    def holds(self, inputs: Mapping[str, NDArray[Any]]) -> bool:
        """Whether every axis of a batch is within the range."""
        return all(
            low <= size <= high
            for name, array in inputs.items()
            for low, size, high in zip(self.least[name], array.shape, self.most[name], strict=True)
        )

    def options(self) -> dict[str, str]:
        """The same as TensorRT's provider takes it.

        Example:
            >>> profile = ShapeProfile({"x": (1, 9)}, {"x": (4, 9)}, {"x": (8, 9)})
            >>> profile.options()["trt_profile_max_shapes"]
            'x:8x9'
        """
        parts = {"min": self.least, "opt": self.usual, "max": self.most}
        return {f"trt_profile_{part}_shapes": _shown(shapes) for part, shapes in parts.items()}


def shape_profile(contract: BundleContract, most_atoms: int) -> ShapeProfile:
    """The shapes that a bundle's batches have.

    Args:
        contract: of the bundle.
        most_atoms: of a batch, about, where its shape is free.
    """
    lengths = _of_buckets(contract.buckets) if contract.buckets else _of_batches(most_atoms)
    width = sum(block.width for block in contract.feature_blocks)
    lengths["features"] = (width, width, width)
    return ShapeProfile(
        *(
            {name: _shape(name, lengths, place) for name in contract.reads}
            for place in range(len(ShapeProfile._fields))
        )
    )


def _of_buckets(buckets: Sequence[Bucket]) -> dict[str, tuple[int, int, int]]:
    """Least, usual and most of each axis; a bucket in the middle is usual."""
    usual = sorted(buckets)[len(buckets) // 2]
    every = {
        "rows": (usual.atoms, [each.atoms for each in buckets]),
        "slots": (usual.slots, [each.slots for each in buckets]),
        "graphs": (usual.graphs, [1, *(each.graphs for each in buckets)]),
    }
    return {axis: (min(some), middle, max(some)) for axis, (middle, some) in every.items()}


def _of_batches(atoms: int) -> dict[str, tuple[int, int, int]]:
    most = int(_ROOM * atoms)
    usual = {
        "atoms": (atoms, most),
        "environments": (atoms // 2, most),
        "kinds": (atoms // 8, most),
        "messages": (2 * atoms, 4 * most),
        "environment_messages": (atoms, 4 * most),
        "graphs": (atoms // _ATOMS, atoms // 4),
    }
    lengths = {axis: (1, max(1, some), max(1, high)) for axis, (some, high) in usual.items()}
    return lengths | {"slots": _SLOTS}


def _shape(name: str, lengths: Mapping[str, tuple[int, int, int]], place: int) -> tuple[int, ...]:
    axes = ARRAYS[name].axes
    return tuple(axis if isinstance(axis, int) else lengths[axis][place] for axis in axes)


def _shown(shapes: Shapes) -> str:
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
