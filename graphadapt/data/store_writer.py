"""Write a graph store as a stream: a chunk in memory at a time, and all or nothing on disk.

Shapes: G graphs of one chunk, N atoms, B bonds, T tasks, M molecule features.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import DTypeLike, NDArray

from graphadapt.data.ragged import GraphColumns, offsets_of
from graphadapt.data.split import UNUSED
from graphadapt.data.store import STORE_FORMAT, TaskInfo, is_store
from graphadapt.errors import DataError
from graphadapt.molecules.features import FeatureBlock
from graphadapt.molecules.vocabulary import (
    ATOM_FEATURE_SIZES,
    BOND_FEATURE_SIZES,
    FEATURISATION_VERSION,
)

__all__ = ["ColumnFile", "StoreWriter", "check_replaceable"]

_HEADER_BYTES = 128


class ColumnFile:
    """One ``.npy`` file that grows by rows; its header is completed when it is closed.

    Args:
        path: file to make.
        dtype: of the items.
        row_shape: shape of one row.
    """

    def __init__(self, path: Path, dtype: DTypeLike, row_shape: tuple[int, ...] = ()) -> None:
        self.dtype = np.dtype(dtype)
        self.row_shape = row_shape
        self.rows = 0
        self._file = path.open("wb")
        self._file.write(b" " * _HEADER_BYTES)

    def append(self, rows: NDArray[np.generic]) -> None:
        """Add rows at the end; they must be of the column's type and shape."""
        if rows.shape[1:] != self.row_shape or rows.dtype != self.dtype:
            raise ValueError(
                f"rows of {rows.dtype} {rows.shape[1:]} do not fit a column of "
                f"{self.dtype} {self.row_shape}"
            )
        self._file.write(np.ascontiguousarray(rows).data)
        self.rows += len(rows)

    def close(self, *, complete: bool = True) -> None:
        """Write the header, which makes the file readable, and let go of it."""
        if complete:
            self._file.seek(0)
            self._file.write(self._header())
        self._file.close()

    def _header(self) -> bytes:
        shape = (self.rows, *self.row_shape)
        text = repr(
            {"descr": npy_format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        )
        room = _HEADER_BYTES - npy_format.MAGIC_LEN - 2
        padded = text.ljust(room - 1).encode("latin1") + b"\n"
        return npy_format.magic(1, 0) + room.to_bytes(2, "little") + padded


def check_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Refuse a target inside a store, or one that is there and no store that may be replaced."""
    outer = next((parent for parent in folder.resolve().parents if is_store(parent)), None)
    if outer is not None:
        raise DataError(f"{folder} lies inside the graph store {outer}; choose another place")
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not is_store(folder):
        raise DataError(f"{folder} exists and is not a graph store; choose another place")
    if not overwrite:
        raise DataError(f"{folder} exists already; choose another place or replace it with --force")


class StoreWriter:
    """Append molecules to a store that appears only when it is complete.

    Columns grow in another folder, which is renamed at the end of the ``with`` block and removed if
    the block raises: readers see the whole store, the one before it, or none.

    Args:
        folder: the store to make.
        tasks: label columns, in order.
        feature_blocks: molecule-level features that every chunk brings.
        flags: names of the marks that every chunk brings.
        source: what the molecules were read from, for the record.
        metric: ``rocauc``, ``ap`` or ``rmse`` where the source prescribes one.
        split: how the split came about, for the record.
        workplace: folder in which columns grow, on the same disk; by default a hidden sibling.
        overwrite: whether an existing store may be replaced.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        tasks: Sequence[TaskInfo],
        feature_blocks: Sequence[FeatureBlock] = (),
        flags: Sequence[str] = (),
        source: str = "",
        metric: str | None = None,
        split: str = "",
        workplace: Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(folder)
        check_replaceable(self.folder, overwrite=overwrite)
        self.tasks = tuple(tasks)
        self.feature_blocks = tuple(feature_blocks)
        self.flag_names = tuple(flags)
        self._record = {"source": source, "metric": metric, "split": split}
        self._all_binary = all(task.kind == "binary" for task in self.tasks)
        sibling = self.folder.parent / f".{self.folder.name}.partial-{os.getpid()}"
        self._partial = workplace or sibling
        self._columns: dict[str, ColumnFile] = {}

    def __enter__(self) -> Self:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        count = (len(self.tasks),)
        layout: dict[str, tuple[DTypeLike, tuple[int, ...]]] = {
            "atoms": (np.uint8, (9,)),
            "bonds": (np.int16, (2,)),
            "bond_features": (np.uint8, (3,)),
            "labels": (np.int8 if self._all_binary else np.float32, count),
            "split": (np.uint8, count),
            "smiles": (np.uint8, ()),
            "row_numbers": (np.int64, ()),
            **{f"{name}_offsets": (np.int64, ()) for name in ("atom", "bond", "smiles")},
            **{f"flags_{name}": (np.bool_, count) for name in self.flag_names},
        }
        for name, (dtype, row_shape) in layout.items():
            self._columns[name] = ColumnFile(self._partial / f"{name}.npy", dtype, row_shape)
        for name in ("atom", "bond", "smiles"):
            self._columns[f"{name}_offsets"].append(np.zeros(1, np.int64))
        return self

    def __len__(self) -> int:
        return self._columns["row_numbers"].rows

    def extend(
        self,
        graphs: GraphColumns,
        *,
        smiles: Sequence[str],
        labels_GT: NDArray[np.float32],
        split_GT: NDArray[np.uint8],
        row_numbers: NDArray[np.integer],
        flags: Mapping[str, NDArray[np.bool_]] | None = None,
        features: Mapping[str, NDArray[np.generic]] | None = None,
    ) -> None:
        """Append a chunk of molecules.

        Args:
            graphs: atoms and bonds.
            smiles: one text a molecule.
            labels_GT: NaN where there is none.
            split_GT: codes of :mod:`graphadapt.data.split`; cells without label become UNUSED.
            row_numbers: where the molecules stood in their source.
            flags: ``(G, T)`` for each of the writer's flags.
            features: ``(G, M)`` by kind, for each of the writer's blocks.
        """
        _check_graphs(graphs)
        for name in ("atoms", "bonds", "bond_features"):
            self._columns[name].append(getattr(graphs, name))
        self._append_offsets("atom", graphs.atom_offsets)
        self._append_offsets("bond", graphs.bond_offsets)
        self._append_smiles(smiles)
        labelled_GT = ~np.isnan(labels_GT)
        self._columns["labels"].append(self._stored_labels(labels_GT, labelled_GT))
        self._columns["split"].append(np.where(labelled_GT, split_GT, np.uint8(UNUSED)))
        self._columns["row_numbers"].append(np.asarray(row_numbers, np.int64))
        for name in self.flag_names:
            self._columns[f"flags_{name}"].append((flags or {})[name])
        for block in self.feature_blocks:
            self._append_features(block.kind, (features or {})[block.kind])

    def write_table(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        r"""Put a CSV file beside the columns; bytes that are no text become ``\udcff``."""
        path = self._partial / name
        with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            table = csv.writer(file)
            table.writerow(header)
            table.writerows(rows)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for column in self._columns.values():
                column.close(complete=error is None)
            if error is None:
                self._write_settings()
                _move_into_place(self._partial, self.folder)
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)

    def _append_offsets(self, name: str, offsets: NDArray[np.int64]) -> None:
        column = self._columns[{"atom": "atoms", "bond": "bonds", "smiles": "smiles"}[name]]
        ends = column.rows - offsets[-1] + offsets[1:]
        self._columns[f"{name}_offsets"].append(ends.astype(np.int64, copy=False))

    def _append_smiles(self, smiles: Sequence[str]) -> None:
        encoded = [text.encode("utf-8") for text in smiles]
        self._columns["smiles"].append(np.frombuffer(b"".join(encoded), np.uint8))
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        self._append_offsets("smiles", offsets_of(lengths))

    def _append_features(self, kind: str, values: NDArray[np.generic]) -> None:
        name = f"features_{kind}"
        if name not in self._columns:
            path = self._partial / f"{name}.npy"
            self._columns[name] = ColumnFile(path, values.dtype, values.shape[1:])
        self._columns[name].append(values)

    def _stored_labels(
        self, labels_GT: NDArray[np.float32], labelled_GT: NDArray[np.bool_]
    ) -> NDArray[np.int8] | NDArray[np.float32]:
        if not self._all_binary:
            return labels_GT.astype(np.float32, copy=False)
        return np.where(labelled_GT, labels_GT, -1).astype(np.int8)

    def _write_settings(self) -> None:
        settings = {
            "format": STORE_FORMAT,
            "featurisation_version": FEATURISATION_VERSION,
            "molecules": len(self),
            "tasks": [task.to_dict() for task in self.tasks],
            "feature_blocks": [block.to_dict() for block in self.feature_blocks],
            "flags": list(self.flag_names),
            **self._record,
        }
        text = json.dumps(settings, indent=1, ensure_ascii=False)
        (self._partial / "store.json").write_text(text + "\n", encoding="utf-8")


def _check_graphs(graphs: GraphColumns) -> None:
    """Refuse codes outside the vocabulary and bonds that leave their molecule."""
    for name, sizes in (("atoms", ATOM_FEATURE_SIZES), ("bond_features", BOND_FEATURE_SIZES)):
        if (getattr(graphs, name) >= np.asarray(sizes)).any():
            raise DataError(f"{name} hold codes outside the vocabulary of sizes {tuple(sizes)}")
    counts_G = np.diff(graphs.atom_offsets)
    limit_B = np.repeat(counts_G, np.diff(graphs.bond_offsets))
    if (graphs.bonds < 0).any() or (graphs.bonds >= limit_B[:, None]).any():
        raise DataError("a bond names an atom that its molecule does not have")


def _move_into_place(partial: Path, folder: Path) -> None:
    """Rename the finished folder over an absent, empty or older one."""
    retired = folder.parent / f".{folder.name}.replaced-{os.getpid()}"
    if folder.exists():
        folder.rename(retired)
    try:
        partial.rename(folder)
    except OSError:
        if retired.exists():
            retired.rename(folder)
        raise
    shutil.rmtree(retired, ignore_errors=True)
