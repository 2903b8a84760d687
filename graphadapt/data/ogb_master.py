"""What OGB's own table says of a molecule set: its metric, kind, split and where to get it.

The table is ``master.csv`` beside the set's folder, otherwise the copy inside the installed ogb.
"""

import csv
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile

from graphadapt.data.names import require_name
from graphadapt.data.store import TaskKind
from graphadapt.errors import DataError, DependencyError

__all__ = ["OgbFacts", "download_ogb", "ogb_facts"]


@dataclass(frozen=True, slots=True)
class OgbFacts:
    """One molecule set's line of the table."""

    name: str
    metric: str
    """``rocauc``, ``ap`` or ``rmse``."""

    kind: TaskKind
    split: str
    """Name of the official split's folder."""

    url: str
    """Where its zip file lies."""

    download_name: str
    """Folder inside that zip file."""


def ogb_facts(name: str, folder: Path) -> OgbFacts | None:
    """Facts of the set called ``name``, or None if no table at hand has it.

    Args:
        name: such as ``ogbg-molbbbp``.
        folder: the set's folder; ``master.csv`` beside it goes before the one of ogb.
    """
    for path in (folder.parent / "master.csv", _packaged_table()):
        if path is not None and path.is_file():
            facts = _read(path).get(name)
            if facts is not None:
                return facts
    return None


def download_ogb(name: str, root: Path) -> Path:
    """Fetch a molecule set with ogb's own downloader, unless its folder is there already.

    Args:
        name: such as ``ogbg-molbbbp``.
        root: folder of all sets; the set becomes ``root/ogbg_molbbbp``.

    Returns:
        The set's folder.

    Raises:
        DataError: for a name that OGB does not have, or when the network fails.
        DependencyError: if ogb is not installed.
    """
    folder = root / name.replace("-", "_")
    if folder.is_dir():
        return folder
    facts = _downloadable(name, root)
    try:
        from ogb.utils.url import download_url, extract_zip
    except ImportError as error:
        raise DependencyError(
            f"{folder} is not there, and fetching it needs ogb; run: pip install ogb"
        ) from error
    root.mkdir(parents=True, exist_ok=True)
    # Everything happens in a folder of its own, so that an interrupted fetch leaves no half set.
    with TemporaryDirectory(dir=root, prefix=".fetching-") as place:
        try:
            with redirect_stdout(sys.stderr):
                extract_zip(download_url(facts.url, place), place)
            (Path(place) / facts.download_name).rename(folder)
        except (OSError, RuntimeError, BadZipFile) as error:
            raise DataError(
                f"cannot fetch {facts.url} ({error}); fetch it elsewhere and unpack it as {folder}"
            ) from error
    return folder


def _downloadable(name: str, root: Path) -> OgbFacts:
    tables = [path for path in (root / "master.csv", _packaged_table()) if path and path.is_file()]
    if not tables:
        raise DependencyError(
            f"{root} has no {name!r}, and fetching it needs ogb; run: pip install ogb"
        )
    known = {key: facts for path in reversed(tables) for key, facts in _read(path).items()}
    require_name(name, known, "molecule set of OGB")
    return known[name]


def _packaged_table() -> Path | None:
    """The master table inside the ogb package, found without importing it (and torch)."""
    spec = find_spec("ogb")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "graphproppred" / "master.csv"


def _read(path: Path) -> dict[str, OgbFacts]:
    """Facts of every molecule set of a table whose rows are settings and columns are sets."""
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = list(csv.reader(file))
    settings = {row[0]: dict(zip(header[1:], row[1:], strict=False)) for row in rows if row}
    kinds = settings.get("data type", {})
    return {name: _facts(name, settings) for name in header[1:] if kinds.get(name) == "mol"}


def _facts(name: str, settings: Mapping[str, Mapping[str, str]]) -> OgbFacts:
    regression = settings["task type"][name] == "regression"
    return OgbFacts(
        name=name,
        metric=settings["eval metric"][name],
        kind="regression" if regression else "binary",
        split=settings["split"][name],
        url=settings["url"][name],
        download_name=settings["download_name"][name],
    )
