"""Writes that a power cut leaves whole or undone, and that are on the medium when they return.

A file is written beside its place under a name that nobody reads, synced, renamed, and the folder synced: without the
first sync a new name can hold nothing, without the second the old name comes back. Every function raises OSError.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.errors import StoreError

FOLDER_MODE, FILE_MODE = 0o700, 0o600
NEW = ".new-"
"""What is not finished, or not needed any more, is called so; it is worth nothing after a power cut."""
_NAME_BYTES = 8


@contextmanager
def converting(path: Path) -> Iterator[None]:
    """Raise StoreError, naming the path, in place of OSError."""
    try:
        yield
    except OSError as error:
        msg = f"{error.filename or path}: {error.strerror or error}"
        raise StoreError(msg) from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let an OSError of a call that was given a descriptor say which file it was about."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def new_beside(path: Path) -> Path:
    """Return a name in the same folder that nobody else uses or reads."""
    return path.with_name(f"{NEW}{secrets.token_hex(_NAME_BYTES)}")


def replace(file: Path, content: bytes, *, part: Path | None = None) -> None:
    """Give ``file`` this content, whole or not at all; makes the folders above it.

    ``part`` is where it is written first, in the same folder. By default a name that nobody uses: for folders in which
    what a power cut leaves is swept. A fixed one, for a file with one writer, is written over the next time.
    """
    make_folder(file.parent)
    part = part or new_beside(file)
    try:
        _write(part, content)
        part.replace(file)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    sync(file.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, their names on the medium.

    Whoever made an empty one may have been killed before its name was synced, so that is done again.
    """
    if not folder.is_dir():
        make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=FOLDER_MODE)
    with os.scandir(folder) as entries:
        empty = next(entries, None) is None
    if empty:
        sync(folder.parent)


def remove(file: Path) -> None:
    """Remove a file, if it is there, for good."""
    file.unlink(missing_ok=True)
    if file.parent.is_dir():
        sync(file.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all that is in it; its name goes first, in one step."""
    gone = new_beside(folder)
    folder.rename(gone)
    sync(folder.parent)
    shutil.rmtree(gone)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the medium."""
    with _naming(path), _open(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)


def sync_tree(folder: Path) -> None:
    """Have everything below a folder on the medium, for its owner only; what is neither file nor folder is left out."""
    for place, _, names in os.walk(folder, topdown=False, onerror=raising):
        for file in (Path(place, name) for name in names):
            if file.is_file() and not file.is_symlink():
                file.chmod(FILE_MODE)
                sync(file)
        Path(place).chmod(FOLDER_MODE)
        sync(Path(place))


def raising(error: OSError) -> None:
    """For ``os.walk``, which would pass over what it cannot read."""
    raise error


def read(file: Path, size_bytes_max: int) -> bytes | None:
    """Return a small file, one byte more than allowed of a longer one; None where there is none."""
    try:
        with _naming(file), _open(file, os.O_RDONLY | os.O_NONBLOCK) as descriptor:
            return _all(descriptor, size_bytes_max + 1)
    except FileNotFoundError:
        return None


def write_at(file: Path, content: bytes, place: int) -> None:
    """Write into a file from byte ``place`` on, and cut off what was behind; not synced."""
    with _naming(file), _open(file, os.O_WRONLY) as descriptor:
        os.ftruncate(descriptor, place)
        left = memoryview(content)
        while left:
            count = os.pwrite(descriptor, left, place)
            left, place = left[count:], place + count


def _write(file: Path, content: bytes) -> None:
    with _naming(file), _open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)


def _all(descriptor: int, size_bytes_max: int) -> bytes:
    content = b""
    while piece := os.read(descriptor, size_bytes_max - len(content)):
        content += piece
    return content


@contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
