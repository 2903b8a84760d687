"""A folder of results: written whole or not at all, and never over anything else. No torch."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from graphadapt.errors import BundleError
from graphadapt.export.adapter_files import SUFFIX
from graphadapt.export.contract import (
    CONTRACT_FILE,
    MODEL_FILE,
    PROBES_FILE,
    TUNING_FILE,
    is_bundle,
)

__all__ = ["check_place", "check_target", "write_whole"]

_OWN: Final = (CONTRACT_FILE, MODEL_FILE, PROBES_FILE, TUNING_FILE)
"""What lies in the folder of a bundle, beside adapter files."""


def check_target(folder: Path) -> None:
    """Refuse to write over anything that is not a bundle, or where nothing can be written.

    Raises:
        BundleError: if ``folder`` is a file, a folder of something else or of more than a bundle,
            the one that this process works in, or in a place that is not writable.
    """
    check_place(folder)
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if held and not is_bundle(folder):
        raise BundleError(f"{folder} holds something other than a bundle; choose another folder")
    others = [name for name in held if not _is_own(name)]
    if others:
        raise BundleError(
            f"{folder} holds {', '.join(others[:3])} beside its bundle, which a new one would "
            "remove; move that away, or choose another folder"
        )


def check_place(folder: Path) -> None:
    """Refuse a place where no folder can be put by :func:`write_whole`, whatever it holds.

    Raises:
        BundleError: if it is a file, the folder that this process works in, or not writable.
    """
    whole = folder.resolve()
    place = next(parent for parent in whole.parents if parent.exists())
    if not place.is_dir():
        raise BundleError(f"{folder} cannot be written: {place} is a file")
    if not os.access(place, os.W_OK | os.X_OK):
        raise BundleError(f"{folder} cannot be written: {place} is read-only for this user")
    if whole == Path.cwd() or whole in Path.cwd().parents:
        raise BundleError(f"{folder} is the folder that you are in; name one to be written")
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder} is a file; give a folder")


def _is_own(name: str) -> bool:
    """Whether a bundle, or a tuning of it that was stopped, leaves a file of that name."""
    return name in _OWN or name.endswith(SUFFIX) or name.startswith(f".{TUNING_FILE}.")


def write_whole(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write beside the target, then put the new folder in its place; the old one is never lost."""
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    old = beside / "old"
    try:
        fresh = beside / "new"
        fresh.mkdir()
        for name, content in files.items():
            with (fresh / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if folder.exists():
            folder.replace(old)
        _put_in_place(fresh, folder, old)
    finally:
        if folder.exists() or not old.exists():
            shutil.rmtree(beside, ignore_errors=True)


def _put_in_place(fresh: Path, folder: Path, old: Path) -> None:
    """Move the new folder, or put the old one back."""
    try:
        fresh.replace(folder)
    except OSError as error:
        if not old.exists():
            raise
        try:
            old.replace(folder)
        except OSError:
            raise BundleError(
                f"{folder} cannot be written ({error.strerror}); what was there is kept in {old}"
            ) from error
        raise
