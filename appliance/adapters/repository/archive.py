"""A repository in one file, for a stick: an uncompressed tar of the files that a web server would have.

It is read where it lies: nothing is unpacked, and nothing in it but plain files with plain names is accepted. Python's
own reader takes links, sparse files and headers of any size, so the few fields that are needed are read here (POSIX
ustar, and the long names of GNU tar).
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from appliance.errors import BundleError, MetadataError, RefusedError, RepositoryError
from appliance.ports import Partial
from appliance.ports.updates import uncounted
from appliance.trust.manifest import Bundle
from appliance.updater.receiving import place_of, receive, standing

SUFFIX = ".update"
"""What the name of an archive ends with on a stick; of a file that is named, any."""
ON_A_STICK_MAX = 16
"""Archives of one stick that are looked at."""
BLOCK_BYTES = 512
MEMBERS_MAX = 4096
NAME_BYTES_MAX = 512

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*(/[A-Za-z0-9][A-Za-z0-9_.+-]*)*/?")
_NUMBER = re.compile(rb" *([0-7]{1,12})[ \0]*")
_FILE, _FOLDER, _LONG_NAME = b"0", b"5", b"L"


def archives(place: Path) -> list[Path]:
    """Return the archives to take, by name: a file itself, of a folder (a stick) those in it.

    Raises:
        RefusedError: there is none in the folder.
        RepositoryError: it cannot be read.
    """
    try:
        if not place.is_dir():
            return [place]
        with os.scandir(place) as entries:
            # A hidden one is a Mac's note about the other.
            found = [each.name for each in entries if each.name.lower().endswith(SUFFIX) and each.name[0] != "."]
    except OSError as error:
        msg = f"{place}: cannot be read: {error.strerror}"
        raise RepositoryError(msg) from error
    if not found:
        msg = f"{place.name}: there is no file in it whose name ends with {SUFFIX}"
        raise RefusedError(msg)
    return [place / name for name in sorted(found)]


@dataclass(frozen=True, slots=True)
class _Header:
    """What the header of a member says."""

    kind: bytes
    name: str
    size_bytes: int


class ArchiveRepository:
    """Implements ``ports.Repository``. For one thread; a context manager that closes the file."""

    def __init__(self, file: Path) -> None:
        """Read which members there are.

        Raises:
            RefusedError: it is no update archive, or a part of one.
            RepositoryError: it cannot be read.
        """
        self._file = file
        with self._reading():
            # Whatever else bears the name: a pipe is not waited for, a link not followed.
            self._descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            self._members = dict(self._listed())
        except (RefusedError, RepositoryError):
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the file go, so that the stick can be pulled. Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def metadata(self, name: str, size_bytes_max: int, received: Callable[[int], None] = uncounted) -> bytes | None:
        """Return a metadata file; None where the archive has none of that name.

        Raises RepositoryError, MetadataError: it is larger than allowed.
        """
        place = f"metadata/{name}"
        if place not in self._members:
            return None
        start, size_bytes = self._members[place]
        if size_bytes > size_bytes_max:
            msg = f"{place}: larger than {size_bytes_max} bytes"
            raise MetadataError(msg)
        content = self._read(start, size_bytes)
        received(len(content))
        return content

    def fetch(self, bundle: Bundle, into: Partial, received: Callable[[int], None]) -> None:
        """Bring ``into`` to the bundle's size. Raises as ``ports.Repository.fetch`` says."""
        place, begun = place_of(bundle), standing(bundle, into)
        if place not in self._members:
            msg = f"{place}: is not in {self._file.name}"
            raise RefusedError(msg)
        start, size_bytes = self._members[place]
        if size_bytes != bundle.size_bytes:
            msg = f"{bundle.path}: has {size_bytes} bytes where {bundle.size_bytes} are signed"
            raise BundleError(msg)
        if not begun:
            into.begin("")
        place_bytes = start + begun

        def read(size: int) -> bytes:
            nonlocal place_bytes
            piece = self._read(place_bytes, min(size, start + size_bytes - place_bytes))
            place_bytes += len(piece)
            return piece

        receive(bundle, into, begun, read, received)

    def _listed(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield name, and place and size in bytes, of each member. Raises RefusedError, RepositoryError."""
        with self._reading():
            mode = os.fstat(self._descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise self._refused("is no plain file")
        names: set[str] = set()
        place_bytes, long_name = 0, ""
        for _ in range(2 * MEMBERS_MAX):  # a long name is a member of its own
            header = self._header(place_bytes)
            if header is None:
                return
            start = place_bytes + BLOCK_BYTES
            place_bytes = start + -(-header.size_bytes // BLOCK_BYTES) * BLOCK_BYTES
            if header.kind == _LONG_NAME and header.size_bytes <= NAME_BYTES_MAX:
                long_name = self._name(self._read(start, header.size_bytes))
                continue
            name, long_name = long_name or header.name, ""
            if not _NAME.fullmatch(name) or name in names or header.kind == _LONG_NAME:
                raise self._refused("has a member whose name is none, or is there twice")
            names.add(name)
            if header.kind == _FILE:
                yield name, (start, header.size_bytes)
        raise self._refused("has too many members")

    def _header(self, place_bytes: int) -> _Header | None:
        """Read the header of a member; None for the end of the archive. Raises RefusedError, RepositoryError."""
        block = self._read(place_bytes, BLOCK_BYTES)
        if block.count(0) == BLOCK_BYTES:
            return None
        size, checksum = _NUMBER.fullmatch(block[124:136]), _NUMBER.fullmatch(block[148:156])
        if len(block) < BLOCK_BYTES or not size or not checksum:
            raise self._refused("is no tar, or was cut off")
        if sum(block) - sum(block[148:156]) + 8 * ord(" ") != int(checksum[1], 8):
            raise self._refused("is damaged")
        kind = block[156:157].replace(b"\0", _FILE)
        if kind not in (_FILE, _FOLDER, _LONG_NAME):
            raise self._refused("has a member that is no plain file")
        prefix = self._name(block[345:500]) if block[257:263] == b"ustar\0" else ""
        name = self._name(block[:100])
        return _Header(kind, f"{prefix}/{name}" if prefix else name, int(size[1], 8))

    def _name(self, raw: bytes) -> str:
        return raw.partition(b"\0")[0].decode("ascii", errors="replace")

    def _read(self, place_bytes: int, size_bytes: int) -> bytes:
        """Return what is there; less at the end of the file. Raises RepositoryError."""
        with self._reading():
            return os.pread(self._descriptor, size_bytes, place_bytes)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            msg = f"{self._file}: cannot be read: {error.strerror}"
            raise RepositoryError(msg) from error

    def _refused(self, why: str) -> RefusedError:
        return RefusedError(f"{self._file.name}: {why}; it is no update archive of `appliance hub export`")
