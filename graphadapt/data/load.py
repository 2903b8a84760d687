"""One way in to every kind of molecule source."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from graphadapt.data.moleculeace import moleculeace_source
from graphadapt.data.names import require_name
from graphadapt.data.ogb_layout import is_ogb_folder, ogb_source
from graphadapt.data.ogb_master import download_ogb
from graphadapt.data.source import MoleculeSource, detect_kind
from graphadapt.data.store import TaskInfo, TaskKind
from graphadapt.data.table_rows import TABLE_SUFFIXES
from graphadapt.data.user_table import table_source
from graphadapt.errors import DataError

__all__ = ["load_source"]


def load_source(
    spec: str | Path,
    *,
    smiles_column: str | None = None,
    tasks: Sequence[str] = (),
    kinds: Mapping[str, TaskKind] | None = None,
    units: Mapping[str, str] | None = None,
    columns: Sequence[str] = (),
    split_column: str | None = None,
    root: str | Path = "dataset",
) -> MoleculeSource:
    """Read molecules and labels from wherever ``spec`` points.

    Args:
        spec: a ``.csv``, ``.tsv``, ``.smi`` or ``.parquet`` file, ``-`` for standard input, a
            folder in OGB's layout, the name of an OGB molecule set (fetched into ``root`` when it
            is not there), or ``moleculeace``.
        smiles_column: of a table; found by name when not given.
        tasks: names of the tasks to keep; otherwise all.
        kinds: ``binary`` or ``regression`` by task, overriding what was found.
        units: units of the labels by task.
        columns: molecule-level feature columns of a table.
        split_column: column of a table that says ``train``, ``valid`` or ``test``.
        root: folder of OGB sets.

    Raises:
        DataError: if nothing is there, or it cannot be read.
    """
    path = Path(spec)
    if str(spec) == "-" or path.is_file():
        return table_source(
            spec,
            smiles_column=smiles_column,
            tasks=tasks,
            kinds=kinds,
            units=units,
            columns=columns,
            split_column=split_column,
        )
    _refuse_table_settings(spec, smiles_column, columns, split_column)
    source = _published(str(spec), path, Path(root), tasks)
    return _with_overrides(source, kinds or {}, units or {})


def _refuse_table_settings(
    spec: str | Path,
    smiles_column: str | None,
    columns: Sequence[str],
    split_column: str | None,
) -> None:
    given = {
        "a SMILES column": smiles_column,
        "feature columns": ", ".join(columns),
        "a split column": split_column,
    }
    for what, value in given.items():
        if value:
            raise DataError(f"{spec} is not a table file, so {what} ({value}) cannot be read")


def _published(spec: str, path: Path, root: Path, tasks: Sequence[str]) -> MoleculeSource:
    if spec == "moleculeace":
        return moleculeace_source(tasks)
    if is_ogb_folder(path):
        folder = path
    elif spec.replace("_", "-").startswith("ogbg-"):
        folder = download_ogb(spec.replace("_", "-"), root)
    else:
        state = "is a folder without mapping/mol.csv.gz" if path.is_dir() else "does not exist"
        raise DataError(
            f"{spec} {state}; give a table file ({', '.join(TABLE_SUFFIXES)}), a folder in OGB's "
            "layout, a set's name such as ogbg-moltox21, or moleculeace"
        )
    source = ogb_source(folder)
    return source.choose_tasks(tasks) if tasks else source


def _with_overrides(
    source: MoleculeSource, kinds: Mapping[str, TaskKind], units: Mapping[str, str]
) -> MoleculeSource:
    for name in (*kinds, *units):
        require_name(name, source.task_names, f"task of {source.name}")
    infos = []
    for info, labels_G in zip(source.tasks, source.labels.T, strict=True):
        kind = kinds.get(info.name, info.kind)
        if kind == "binary" and info.kind != "binary" and detect_kind(labels_G) != "binary":
            raise DataError(
                f"task {info.name!r} of {source.name} has labels other than 0 and 1, "
                "so it cannot be binary; leave it a regression"
            )
        infos.append(TaskInfo(info.name, kind, units.get(info.name, info.units)))
    return replace(source, tasks=tuple(infos))
