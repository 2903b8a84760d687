"""A bundle from disk, only if it is exactly what was written."""

from dataclasses import dataclass
from pathlib import Path

from graphadapt.errors import BundleError
from graphadapt.export.contract import MODEL_FILE, BundleContract, FileInfo, read_contract
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION

__all__ = ["Bundle", "read_bundle"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, in memory."""

    folder: Path
    contract: BundleContract
    model: bytes
    """Content of the ONNX file: what was verified is what will run."""


def read_bundle(folder: str | Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: if it is missing, foreign, damaged, changed, of another version, or made for
            another featurisation; the text says which.
    """
    folder = Path(folder)
    contract = read_contract(folder)
    if contract.featurisation_version != FEATURISATION_VERSION:
        raise BundleError(
            f"{folder} was made for featurisation {contract.featurisation_version}, this "
            f"graphadapt has {FEATURISATION_VERSION}; export again"
        )
    contents = {name: _read_file(folder, name, info) for name, info in contract.files.items()}
    return Bundle(folder, contract, contents[MODEL_FILE])


def _read_file(folder: Path, name: str, stated: FileInfo) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except FileNotFoundError:
        raise BundleError(f"{folder}: {name} is missing") from None
    except OSError as error:
        raise BundleError(f"{folder}: {name} cannot be read: {error.strerror}") from error
    found = FileInfo.of(content)
    if found.size != stated.size:
        raise BundleError(
            f"{folder}: {name} has {found.size:,} bytes where {stated.size:,} were written"
        )
    if found != stated:
        raise BundleError(f"{folder}: {name} was changed after it was written (sha256 differs)")
    return content
