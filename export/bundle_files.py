"""A bundle's contract and the content of its files, only if they are what was written. No torch."""

from pathlib import Path

from graphadapt.errors import BundleError
from graphadapt.export.contract import BundleContract, FileInfo, read_contract
from graphadapt.molecules.vocabulary import FEATURISATION_VERSION

__all__ = ["read_bundle_files"]


def read_bundle_files(folder: Path) -> tuple[BundleContract, dict[str, bytes]]:
    """Read and check everything that a bundle's contract names.

    Returns:
        The contract, and the content of every file by name: what was checked is what is used.

    Raises:
        BundleError: if the bundle is missing, foreign, damaged, changed, of another version, or
            made for another featurisation; the text says which.
    """
    contract = read_contract(folder)
    if contract.featurisation_version != FEATURISATION_VERSION:
        raise BundleError(
            f"{folder} was made for featurisation {contract.featurisation_version}, this "
            f"graphadapt has {FEATURISATION_VERSION}; export again"
        )
    contents = {name: _read(folder, name, stated) for name, stated in contract.files.items()}
    return contract, contents


def _read(folder: Path, name: str, stated: FileInfo) -> bytes:
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
