"""Pack the tables of the MoleculeACE wheel into the two small files that come with graphadapt.

Run as ``python -m graphadapt.data.moleculeace_pack MoleculeACE-3.0.0-py3-none-any.whl``. The files:

- ``molecules.smi.gz``: one SMILES a line, in the order in which the tables, sorted by name, first
  mention them;
- ``measurements.csv.gz``: target, molecule (line of that file, from 0), concentration in nmol/L as
  written, activity-cliff flag and official split, in the order of the tables.
"""

import csv
import gzip
import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from graphadapt.errors import DataError

__all__ = ["pack_moleculeace"]

_TABLES = "MoleculeACE/Data/benchmark_data/"


def pack_moleculeace(wheel: str | Path, folder: str | Path) -> tuple[int, int]:
    """Write both files into ``folder``; returns how many molecules and measurements they hold.

    Raises:
        DataError: if the wheel cannot be read or holds no benchmark tables.
    """
    position: dict[str, int] = {}
    lines = ["target,molecule,nanomolar,cliff,split"]
    for target, row in _measurements(Path(wheel)):
        molecule = position.setdefault(row["smiles"], len(position))
        written = (row["exp_mean [nM]"], row["cliff_mol"], row["split"])
        lines.append(",".join((target, str(molecule), *written)))
    if not position:
        raise DataError(f"{wheel} holds no {_TABLES}*.csv; give the MoleculeACE 3.0.0 wheel")
    target_folder = Path(folder)
    target_folder.mkdir(parents=True, exist_ok=True)
    _write(target_folder / "molecules.smi.gz", list(position))
    _write(target_folder / "measurements.csv.gz", lines)
    return len(position), len(lines) - 1


def _measurements(wheel: Path) -> Iterator[tuple[str, dict[str, str]]]:
    try:
        archive = zipfile.ZipFile(wheel)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel} is not a readable wheel: {error}") from error
    with archive:
        for name in sorted(archive.namelist()):
            if name.startswith(_TABLES) and name.endswith(".csv"):
                text = io.TextIOWrapper(archive.open(name), "utf-8", newline="")
                for row in csv.DictReader(text):
                    yield Path(name).stem, row


def _write(path: Path, lines: list[str]) -> None:
    # No time stamp, so that packing twice gives the same bytes.
    path.write_bytes(gzip.compress("\n".join([*lines, ""]).encode("utf-8"), 9, mtime=0))


if __name__ == "__main__":
    molecules, measurements = pack_moleculeace(
        sys.argv[1], sys.argv[2] if sys.argv[2:] else Path(__file__).parent / "moleculeace"
    )
    sys.stderr.write(f"{molecules} molecules, {measurements} measurements\n")
