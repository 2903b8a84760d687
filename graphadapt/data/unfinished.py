"""The place of work that goes on after an interruption, and whose work lies in it.

A store ``STORE`` is made in the hidden folder ``.STORE.unfinished`` beside it, which stays when
the process is interrupted or killed. ``settings.json`` says what the work in it depends on; work of
other settings is thrown away, never gone on with. A lock keeps a second process out meanwhile
(not on Windows, where two processes must not prepare one store at a time).
"""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from graphadapt.data.store_writer import check_replaceable
from graphadapt.errors import DataError
from graphadapt.progress import note

__all__ = ["unfinished_work"]

_LOCK: Final = "lock"
_SETTINGS: Final = "settings.json"


@contextmanager
def unfinished_work(
    store: Path, settings: Mapping[str, str], *, overwrite: bool, shown: bool
) -> Iterator[Path]:
    """The folder to work in, with what an earlier process of the same settings left there.

    It is removed when the ``with`` block ends well, or with a ``DataError``, which would only come
    again; any other end leaves it for the next call.

    Args:
        store: what is being made.
        settings: everything that the work depends on, by a word for the user.
        overwrite: whether a store in this place may be replaced.
        shown: whether notes go to standard error.

    Raises:
        DataError: if the place is taken, also by a process that was waited for.
    """
    check_replaceable(store, overwrite=overwrite)
    folder = store.parent / f".{store.name}.unfinished"
    with _claimed(folder, store, shown=shown):
        try:
            check_replaceable(store, overwrite=overwrite)
            _keep_only_work_of(settings, folder, store, shown=shown)
            yield folder
        except DataError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _keep_only_work_of(
    settings: Mapping[str, str], folder: Path, store: Path, *, shown: bool
) -> None:
    other = _differences(folder / _SETTINGS, settings)
    if other is None:
        return
    if other:
        note(
            f"unfinished work on {store} was with other {' and '.join(other)}: "
            "it is thrown away, and all begins anew",
            shown=shown,
        )
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != _LOCK:
            path.unlink()
    (folder / _SETTINGS).write_text(json.dumps(dict(settings), indent=1), encoding="utf-8")


def _differences(path: Path, settings: Mapping[str, str]) -> list[str] | None:
    """Names of settings that differ from those on file; none of them if it cannot be read.

    None where everything is the same.
    """
    try:
        before = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    names = [name for name in settings if before.get(name) != settings[name]]
    return names or None


@contextmanager
def _claimed(folder: Path, store: Path, *, shown: bool) -> Iterator[None]:
    """Make the folder and hold its lock, after waiting for a process that has it."""
    if sys.platform == "win32":
        folder.mkdir(parents=True, exist_ok=True)
        yield
        return
    lock = _locked(folder, store, shown=shown)
    with lock:
        yield


def _locked(folder: Path, store: Path, *, shown: bool) -> IO[str]:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = (folder / _LOCK).open("a")
        except FileNotFoundError:  # the process that had it has just removed the folder
            continue
        _wait_for(lock, store, shown=shown)
        if _still_there(lock, folder / _LOCK):
            return lock
        lock.close()


def _wait_for(lock: IO[str], store: Path, *, shown: bool) -> None:
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        note(f"waiting for another process that prepares {store}", shown=shown)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _still_there(lock: IO[str], path: Path) -> bool:
    """Whether the file that is locked is the one that others find."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False
