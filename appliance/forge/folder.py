"""Puts folders and files in place whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from appliance.errors import ForgeError


def put_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write ``folder`` with exactly these files, or leave what was there.

    The files are written beside it first. Whoever is killed on the way leaves the old folder or the new one, and
    perhaps a hidden folder ``.<name>-*`` beside it, which the next call removes. Between the old folder's going and
    the new one's coming nothing stands there; a folder cannot be renamed over one that has files. For that instant
    the old one lies complete in the hidden folder, and the next call puts it back before it begins.

    Args:
        folder: where to; its parents are made.
        files: content by path in the folder.

    Raises:
        ForgeError: the disk refuses.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover(folder)
        scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix(folder)))
        try:
            _write(scratch / "new", files)
            if folder.exists():
                folder.rename(scratch / "old")
            (scratch / "new").rename(folder)
            _sync(folder.parent)
        finally:
            _clear(scratch, folder)
    except OSError as error:
        msg = f"{folder}: cannot be written: {error.strerror}; what was there before is still there"
        raise ForgeError(msg) from error


def put_file(file: Path, content: bytes) -> None:
    """Write a file beside and rename it into place. Raises ForgeError when the disk refuses."""
    beside = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    except OSError as error:
        msg = f"{file}: cannot be written: {error.strerror}; what was there before is still there"
        raise ForgeError(msg) from error


def recover(folder: Path) -> None:
    """Put back what a killed ``put_folder`` had set aside, and remove what it left. Raises OSError."""
    for scratch in folder.parent.glob(f"{_prefix(folder)}*"):
        _clear(scratch, folder)


def _clear(scratch: Path, folder: Path) -> None:
    """Remove a hidden folder; an old folder in it whose place is empty goes back there first."""
    old = scratch / "old"
    if old.exists() and not folder.exists():
        old.rename(folder)
    shutil.rmtree(scratch)


def _prefix(folder: Path) -> str:
    return f".{folder.name}-forge-"


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files and see to it that they are on the disk."""
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
    """Have the disk take a folder's entries."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
