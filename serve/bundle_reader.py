"""A bundle from disk, only if it is exactly what was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from graphadapt.export.bundle_files import read_bundle_files
from graphadapt.export.contract import MODEL_FILE, BundleContract

__all__ = ["Bundle", "read_bundle"]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, in memory."""

    folder: Path
    contract: BundleContract
    contents: Mapping[str, bytes]
    """Every file of the bundle by name: what was verified is what will run."""

    @property
    def model(self) -> bytes:
        """Content of the ONNX file."""
        return self.contents[MODEL_FILE]

    @property
    def sha256(self) -> str:
        """Of the ONNX file."""
        return self.contract.files[MODEL_FILE].sha256


def read_bundle(folder: str | Path) -> Bundle:
    """Read and verify a bundle.

    Raises:
        BundleError: if it is missing, foreign, damaged, changed, of another version, or made for
            another featurisation; the text says which.
    """
    folder = Path(folder)
    contract, contents = read_bundle_files(folder)
    return Bundle(folder, contract, contents)
