"""Molecule-level feature blocks: count fingerprints, descriptors, the user's own columns.

Axes: M features of one block. A block is what a molecule is described by; how a model scales it
(logarithm of counts, standardised values) is the model's business.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError, DataError
from graphadapt.molecules.descriptors import DESCRIPTOR_NAMES, DESCRIPTOR_VERSION, descriptors

if TYPE_CHECKING:
    from rdkit.Chem import Mol

__all__ = ["FeatureArray", "FeatureBlock", "FeatureKind"]

FeatureKind = Literal["counts", "descriptors", "columns"]

FeatureArray = NDArray[np.uint8] | NDArray[np.float32]
"""Features of one molecule, ``(M,)``."""

_SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "counts": ("radius", "size", "chirality"),
    "descriptors": ("version",),
    "columns": ("columns",),
}

_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureBlock:
    """One group of M numbers that describe a whole molecule.

    ``counts`` is the count form of ECFP: how often each circular environment occurs, folded by hash
    to M places, at most 255. ``descriptors`` are those of ``descriptors.DESCRIPTOR_NAMES``.
    ``columns`` are values that the user gives along with each molecule.

    Raises:
        ConfigError: if a setting cannot work or belongs to another kind.

    References:
        Rogers and Hahn, Extended-Connectivity Fingerprints, 2010.

    Example:
        >>> block = FeatureBlock(kind="counts", size=1024)
        >>> block.width, block == FeatureBlock.from_dict(block.to_dict())
        (1024, True)
    """

    kind: FeatureKind

    radius: int = 2
    """Bonds from the centre to the edge of the largest environment (``counts``)."""

    size: int = 2048
    """M, places that environments are folded to (``counts``)."""

    chirality: bool = False
    """Whether environments that differ in stereo differ (``counts``)."""

    version: int = DESCRIPTOR_VERSION
    """Which list of descriptors (``descriptors``)."""

    columns: tuple[str, ...] = ()
    """Names of the user's columns, in order (``columns``)."""

    def __post_init__(self) -> None:
        _check_kind(self.kind)
        for item in fields(self):
            foreign = item.name != "kind" and item.name not in _SETTINGS[self.kind]
            if foreign and getattr(self, item.name) != item.default:
                raise ConfigError(
                    f"feature block {self.kind!r} has no setting {item.name!r}; it has "
                    + ", ".join(_SETTINGS[self.kind])
                )
        self._check_counts()
        self._check_version()
        self._check_columns()

    @property
    def width(self) -> int:
        """M, numbers per molecule."""
        if self.kind == "counts":
            return self.size
        return len(self.columns or DESCRIPTOR_NAMES)

    @property
    def names(self) -> tuple[str, ...]:
        """One name per number, in order."""
        if self.kind == "counts":
            return tuple(f"count{place}" for place in range(self.size))
        return self.columns or DESCRIPTOR_NAMES

    @property
    def dtype(self) -> np.dtype[Any]:
        """What the block is stored as: uint8 for counts, float32 for the others."""
        return np.dtype(np.uint8 if self.kind == "counts" else np.float32)

    def to_dict(self) -> dict[str, Any]:
        """The settings that matter to this kind, as JSON takes them."""
        table: dict[str, Any] = {"kind": self.kind}
        for name in _SETTINGS[self.kind]:
            value = getattr(self, name)
            table[name] = list(value) if isinstance(value, tuple) else value
        return table

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "FeatureBlock":
        """Build from what :meth:`to_dict` gives.

        Raises:
            ConfigError: if a setting is unknown or cannot work.
        """
        defaults = {item.name: item.default for item in fields(cls)}
        if "kind" not in table:
            raise ConfigError("a feature block needs 'kind': " + ", ".join(get_args(FeatureKind)))
        settings: dict[str, Any] = {}
        for name, value in table.items():
            if name not in defaults:
                raise ConfigError(
                    f"unknown setting {name!r} of a feature block; {_hint(name, defaults)}"
                )
            settings[name] = tuple(value) if isinstance(value, list) else value
            if name != "kind" and type(settings[name]) is not type(defaults[name]):
                raise ConfigError(f"feature block {name}={value!r} is of the wrong type")
        return cls(**settings)

    def compute(self, mol: "Mol", columns: Mapping[str, float] | None = None) -> FeatureArray:
        """Features of one molecule, ``(M,)``, all finite.

        Args:
            mol: a sanitised molecule; ``columns`` blocks do not look at it.
            columns: the user's values for this molecule; may hold more than the block names.

        Raises:
            DataError: if a column is absent or its value is not a finite number.
        """
        if self.kind == "counts":
            generator = _count_generator(self.radius, self.size, self.chirality)
            counts = generator.GetCountFingerprintAsNumPy(mol)
            return np.minimum(counts, 255).astype(np.uint8)
        if self.kind == "descriptors":
            return descriptors(mol)
        return self._own_columns(columns or {})

    def _own_columns(self, columns: Mapping[str, float]) -> NDArray[np.float32]:
        for name in self.columns:
            if name not in columns:
                raise DataError(f"no value for feature column {name!r}; {_hint(name, columns)}")
            if not abs(columns[name]) <= _LARGEST:
                raise DataError(
                    f"feature column {name!r} holds {columns[name]}; give a finite float32 number"
                )
        return np.array([columns[name] for name in self.columns], dtype=np.float32)

    def _check_counts(self) -> None:
        if not 0 <= self.radius <= 8:
            raise ConfigError(f"feature block radius={self.radius}: use 0 to 8")
        if not 16 <= self.size <= 65536:
            raise ConfigError(f"feature block size={self.size}: use 16 to 65536")

    def _check_version(self) -> None:
        if self.version != DESCRIPTOR_VERSION:
            raise ConfigError(
                f"descriptors of version {self.version} are not known here, "
                f"only version {DESCRIPTOR_VERSION}; prepare or export again"
            )

    def _check_columns(self) -> None:
        if self.kind == "columns" and not self.columns:
            raise ConfigError("feature block 'columns' names no column; list at least one")
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            raise ConfigError(f"feature columns named twice: {', '.join(twice)}")


def _check_kind(kind: str) -> None:
    if kind not in get_args(FeatureKind):
        raise ConfigError(f"unknown feature block {kind!r}; {_hint(kind, get_args(FeatureKind))}")


def _hint(name: str, known: Any) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"


@lru_cache(maxsize=16)
def _count_generator(radius: int, size: int, chirality: bool) -> Any:
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, fpSize=size, includeChirality=chirality
    )
