"""Puts a folder in place whole or not at all, and reads one as the device does."""

import ctypes
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from appliance.core.model import Model
from appliance.errors import ForgeError, ModelError
from appliance.trust.model import DESCRIPTION_FILE, FILE_BYTES_MAX, parse_description, verify

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
"""Of renameat2(2), linux/fs.h: two names change places in one step."""


def put_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``folder`` with exactly these files, or leave what was there.

    The files are written beside it and take its place in one step. Whoever is killed on the way leaves the old folder
    or the new one, and perhaps a hidden one beside it, which the next call removes. Where the file system cannot
    exchange two names (NFS) there is an instant with neither: then the next call puts the old one back.

    Args:
        folder: where to; its parents are made.
        files: content by path in the folder.

    Raises:
        ForgeError: the disk refuses.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _recover(folder)
        scratch = folder.parent / f"{_prefix(folder)}{os.getpid()}"
        try:
            _write(scratch / "new", files)
            _exchange(scratch / "new", folder, aside=scratch / "old")
            _sync(folder.parent)
        finally:
            _clear(scratch, folder)
    except OSError as error:
        msg = f"{folder}: cannot be written: {error.strerror}; what was there before is still there"
        raise ForgeError(msg) from error


def read_folder(folder: Path) -> Model:
    """Read a model folder and verify it as the device does.

    Raises:
        ForgeError: it is no sound model folder; `appliance model verify` says the same.
    """
    try:
        description = parse_description(_read(folder, DESCRIPTION_FILE), file=str(folder / DESCRIPTION_FILE))
        return verify(description, {path: _read(folder, path) for path in description.files})
    except OSError as error:
        msg = f"{folder}: no model folder ({Path(error.filename).name}: {error.strerror}); give models/<name>/<version>"
        raise ForgeError(msg) from error
    except ModelError as error:
        msg = f"{folder}: {error}"
        raise ForgeError(msg) from error


def _read(folder: Path, path: str) -> bytes:
    """Read a file; one byte more than is allowed is enough for ``trust`` to refuse it. Raises OSError."""
    with (folder / path).open("rb") as stream:
        return stream.read(FILE_BYTES_MAX + 1)


def _exchange(new: Path, folder: Path, *, aside: Path) -> None:
    """Let ``new`` stand where ``folder`` is. Raises OSError."""
    if not folder.exists():
        new.rename(folder)
        return
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    swapped = rename is not None and rename(
        _AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(folder), _RENAME_EXCHANGE
    ) == 0  # fmt: skip
    if not swapped:
        folder.rename(aside)
        new.rename(folder)


def _recover(folder: Path) -> None:
    """Clear up behind packagings that were killed; those that still run are left alone. Raises OSError."""
    for scratch in folder.parent.glob(f"{_prefix(folder)}*"):
        if not _runs(scratch.name.removeprefix(_prefix(folder))):
            _clear(scratch, folder)


def _runs(pid: str) -> bool:
    """Say whether another process of this number is alive."""
    return pid.isdigit() and int(pid) != os.getpid() and Path("/proc", pid).exists()


def _clear(scratch: Path, folder: Path) -> None:
    """Remove a hidden folder; an old folder in it whose place is empty goes back there first. Raises OSError."""
    old = scratch / "old"
    if old.exists() and not folder.exists():
        old.rename(folder)
    if scratch.exists():
        shutil.rmtree(scratch)


def _prefix(folder: Path) -> str:
    return f".{folder.name}-forge-"


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and see to it that they are on the disk. Raises OSError."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        _sync(each)


def _sync(folder: Path) -> None:
    """Have the disk take a folder's entries. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
