"""Prepared molecules as memory-mapped columns: no object per molecule, no parsing at start.

Shapes: G graphs, N atoms, B bonds, T tasks, M molecule features.

A store is a folder::

    store.json            format, tasks, feature blocks, source, metric, flags, split
    atoms.npy             (ΣN, 9) uint8, OGB vocabulary       atom_offsets.npy    (G + 1,) int64
    bonds.npy             (ΣB, 2) int16, local ends           bond_offsets.npy    (G + 1,) int64
    bond_features.npy     (ΣB, 3) uint8
    labels.npy            (G, T) int8, -1 missing, if all tasks are binary; else float32, NaN
    split.npy             (G, T) uint8 codes of graphadapt.data.split
    flags_<name>.npy      (G, T) bool
    features_<kind>.npy   (G, M)
    smiles.npy            uint8 text                          smiles_offsets.npy  (G + 1,) int64
    row_numbers.npy       (G,) int64 row of the source        rejected.csv        what was left out
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from graphadapt.data.ragged import GraphColumns
from graphadapt.errors import DataError
from graphadapt.molecules.arrays import MoleculeArrays
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION

__all__ = ["STORE_FORMAT", "GraphStore", "TaskInfo", "TaskKind", "is_store"]

STORE_FORMAT: Final = 1
"""What :class:`GraphStore` reads and the writer writes."""

TaskKind = Literal["binary", "regression"]


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One thing that is predicted."""

    name: str
    kind: TaskKind
    units: str = ""
    """Of the labels as stored, such as ``-log10(nmol/L)``; empty where unknown or binary."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(TaskKind):
            raise DataError(
                f"task {self.name!r} has kind {self.kind!r}; use 'binary' or 'regression'"
            )

    def to_dict(self) -> dict[str, str]:
        """Plain values that ``TaskInfo(**...)`` takes back."""
        return {"name": self.name, "kind": self.kind, "units": self.units}


def is_store(folder: Path) -> bool:
    """Whether the folder says that it is a graph store."""
    return (folder / "store.json").is_file()


class GraphStore:
    """A prepared store, opened read-only; columns stay on disk until they are used.

    Args:
        folder: where ``prepare`` wrote it.

    Raises:
        DataError: if the folder is no store, is damaged, or was made by another version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.settings = _read_settings(self.folder)
        self.tasks = tuple(TaskInfo(**task) for task in self.settings["tasks"])
        self.feature_blocks = tuple(
            FeatureBlock.from_dict(block) for block in self.settings["feature_blocks"]
        )
        self.atoms: NDArray[np.uint8] = self._column("atoms")
        self.bonds: NDArray[np.int16] = self._column("bonds")
        self.bond_features: NDArray[np.uint8] = self._column("bond_features")
        self.atom_offsets: NDArray[np.int64] = self._column("atom_offsets")
        self.bond_offsets: NDArray[np.int64] = self._column("bond_offsets")
        self.labels: NDArray[np.int8] | NDArray[np.float32] = self._column("labels")
        self.split: NDArray[np.uint8] = self._column("split")
        self.row_numbers: NDArray[np.int64] = self._column("row_numbers")
        self._check()

    def __len__(self) -> int:
        return int(self.settings["molecules"])

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in the order of the label columns."""
        return tuple(task.name for task in self.tasks)

    @property
    def is_binary(self) -> NDArray[np.bool_]:
        """Which tasks are binary, ``(T,)``."""
        return np.array([task.kind == "binary" for task in self.tasks], np.bool_)

    @property
    def metric(self) -> str | None:
        """``rocauc``, ``ap`` or ``rmse`` where the source prescribes one."""
        return self.settings["metric"]

    @property
    def source(self) -> str:
        """What the molecules were read from."""
        return self.settings["source"]

    @property
    def ogb_set(self) -> str:
        """Name of the OGB set that these molecules are, such as ``ogbg-moltox21``; else empty."""
        return self.source if self.metric and self.source.startswith("ogbg-") else ""

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Names that :meth:`flags` knows."""
        return tuple(self.settings["flags"])

    @property
    def columns(self) -> GraphColumns:
        """The graphs alone, for :meth:`GraphColumns.take`."""
        return GraphColumns(
            self.atoms, self.bonds, self.bond_features, self.atom_offsets, self.bond_offsets
        )

    def molecule(self, row: int) -> MoleculeArrays:
        """One molecule's arrays, as views of the columns; rows count from 0."""
        return self.columns.molecule(self._row(row))

    def smiles(self, row: int) -> str:
        """The molecule as its source wrote it."""
        row = self._row(row)
        text, offsets = self._smiles
        return text[offsets[row] : offsets[row + 1]].tobytes().decode("utf-8")

    def labels_float(self, rows: NDArray[np.integer] | None = None) -> NDArray[np.float32]:
        """Labels of all molecules or of ``rows``, NaN where there is none, ``(G, T)``."""
        stored = self.labels if rows is None else self.labels[rows]
        labels_GT = np.array(stored, np.float32)
        if self.labels.dtype == np.int8:
            labels_GT[labels_GT < 0] = np.nan
        return labels_GT

    def cells(self, code: int) -> NDArray[np.bool_]:
        """Which cells have this split code, ``(G, T)``."""
        return np.asarray(self.split == code)

    def flags(self, name: str) -> NDArray[np.bool_]:
        """Marked cells, such as ``cliff``, ``(G, T)``."""
        if name not in self.flag_names:
            known = ", ".join(self.flag_names) or "none"
            raise DataError(f"{self.folder} has no flag {name!r}; it has {known}")
        return self._column(f"flags_{name}")

    def features(self, blocks: Sequence[FeatureBlock | str]) -> NDArray[np.generic]:
        """Molecule-level features of the blocks side by side, untransformed, ``(G, M)``.

        One block is the memory map itself, in its stored type; several are joined as float32.

        Args:
            blocks: stored blocks, or their kinds.

        Raises:
            DataError: if a block was not prepared with these settings.
        """
        kinds = [self._stored_kind(block) for block in blocks]
        if not kinds:
            return np.zeros((len(self), 0), np.float32)
        columns = [self._column(f"features_{kind}") for kind in kinds]
        if len(columns) == 1:
            return columns[0]
        return np.concatenate(columns, axis=1, dtype=np.float32, casting="unsafe")

    def feature_block(self, kind: str) -> FeatureBlock:
        """Settings of the stored block of this kind."""
        for block in self.feature_blocks:
            if block.kind == kind:
                return block
        known = ", ".join(block.kind for block in self.feature_blocks) or "none"
        option = f"{kind}:NAME" if kind == "columns" else kind
        raise DataError(
            f"{self.folder} has no {kind!r} features; it has {known}: "
            f"prepare again with --features {option}"
        )

    def _stored_kind(self, block: FeatureBlock | str) -> str:
        if isinstance(block, str):
            return self.feature_block(block).kind
        if block != self.feature_block(block.kind):
            raise DataError(
                f"{self.folder} holds {block.kind!r} features of other settings; prepare again"
            )
        return block.kind

    def _row(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} is outside a store of {len(self)} molecules")
        return row % len(self)

    @cached_property
    def _smiles(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        return self._column("smiles"), self._column("smiles_offsets")

    def _column(self, name: str) -> NDArray[Any]:
        path = self.folder / f"{name}.npy"
        try:
            column: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            raise DataError(f"{self.folder} is damaged: {path.name} is missing") from None
        except (ValueError, EOFError, OSError) as error:
            raise DataError(f"{path} is damaged ({error}); prepare again") from error
        return column

    def _check(self) -> None:
        """Hold the columns' shapes against each other."""
        cells = (len(self), len(self.tasks))
        expected = {
            "atom_offsets": (len(self) + 1,),
            "bond_offsets": (len(self) + 1,),
            "atoms": (int(self.atom_offsets[-1]), 9),
            "bonds": (int(self.bond_offsets[-1]), 2),
            "bond_features": (int(self.bond_offsets[-1]), 3),
            "labels": cells,
            "split": cells,
            "row_numbers": (len(self),),
        }
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise DataError(
                    f"{self.folder} is damaged: {name} has shape {found}, not {shape}; "
                    "prepare again"
                )


def _read_settings(folder: Path) -> dict[str, Any]:
    if not is_store(folder):
        what = "is not a folder" if not folder.is_dir() else "has no store.json"
        raise DataError(f"{folder} {what}; make a store with 'graphadapt prepare SOURCE -o STORE'")
    try:
        settings: dict[str, Any] = json.loads((folder / "store.json").read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{folder / 'store.json'} is not JSON: {error}; prepare again") from error
    wanted = {"format": STORE_FORMAT, "featurisation_version": FEATURISATION_VERSION}
    for key, version in wanted.items():
        if settings.get(key) != version:
            raise DataError(
                f"{folder} has {key} {settings.get(key)!r}, this program reads {version}; "
                "prepare again"
            )
    return settings
