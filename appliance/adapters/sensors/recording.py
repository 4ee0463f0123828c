"""Arrays of an ``.npz`` file, row by row: a recording is read with one row in memory, however long it is.

NumPy's own reader would load an array whole; here the zip entry is read as a stream. Pickled objects are refused:
a recording may come with a bug report from anywhere.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import SensorError

ROW_BYTES_MAX = 100_000_000
"""One frame, window or sample may not be larger."""
ROWS_MAX = 10_000_000
"""Also the bound of a column that is read whole: 80 MB of times."""
TEXT_BYTES_MAX = 64
"""Longest word, as bytes of UTF-32: 16 characters."""
_FOREIGN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What zipfile and NumPy raise on files that are not what they say; RuntimeError for features that zipfile lacks."""
_HEADER_ERRORS = (tokenize.TokenError, SyntaxError, TypeError)
"""What NumPy raises beside on a header that is damaged: it reads one as a piece of Python."""


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Convert everything a broken recording makes the libraries raise into SensorError."""
    try:
        yield
    except FileNotFoundError as error:
        msg = f"{file}: no such recording"
        raise SensorError(msg) from error
    except _FOREIGN as error:
        msg = f"{file}: not a recording that can be read: {error}"
        raise SensorError(msg) from error


class Rows:
    """The rows of one array of an ``.npz``, in order. Use as a context or ``close`` it.

    ``row_shape`` is the shape of one row, ``count`` the number of rows.
    """

    def __init__(self, file: Path, name: str) -> None:
        """Open the array. Raises SensorError when the file or the array is missing, broken or out of bounds."""
        self._file = file
        self._name = name
        with reading(file):
            self._zip = zipfile.ZipFile(file)
            try:
                self._stream = self._entry()
                self._check()
            except BaseException:
                self._zip.close()
                raise

    def _entry(self) -> IO[bytes]:
        """Open the array's zip entry and read its header."""
        entry = f"{self._name}.npy"
        if entry not in self._zip.namelist():
            msg = f"it has no array {self._name!r}"
            raise ValueError(msg)
        stream = self._zip.open(entry)
        version = np.lib.format.read_magic(stream)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read_header:
            msg = f"array {self._name!r} has the format {version}, known are 1.0 and 2.0"
            raise ValueError(msg)
        try:
            self._shape, self._fortran, self.dtype = read_header[version](stream)
        except _HEADER_ERRORS as error:
            msg = f"array {self._name!r} has a damaged header ({error.args[0]}); copy the file again or record anew"
            raise ValueError(msg) from error
        return stream

    def _check(self) -> None:
        """Refuse what is no plain array of bounded rows."""
        plain = not self.dtype.hasobject and self.dtype.subdtype is None
        if not plain or self._fortran or not self._shape or min(self._shape) < 0:
            msg = f"array {self._name!r} must be rows of plain numbers in C order"
            raise ValueError(msg)
        self.count, *shape = self._shape
        self.row_shape = tuple(shape)
        self._row_bytes = math.prod(shape) * self.dtype.itemsize
        if self.count > ROWS_MAX or not 0 < self._row_bytes <= ROW_BYTES_MAX:
            msg = f"array {self._name!r} has {self.count} rows of {self._row_bytes} bytes; too large or empty"
            raise ValueError(msg)

    def read(self, rows: int) -> Array:
        """Return the next ``rows`` rows, ``[rows, *row_shape]``. Raises SensorError when the file is cut off."""
        with reading(self._file):
            raw = bytearray(rows * self._row_bytes)
            view = memoryview(raw)
            filled = 0
            while filled < len(raw):
                part = self._stream.readinto(view[filled:])  # type: ignore[attr-defined]  # IO[bytes] lacks readinto
                if not part:
                    msg = f"array {self._name!r} is cut off"
                    raise EOFError(msg)
                filled += part
        return np.frombuffer(raw, self.dtype).reshape(rows, *self.row_shape)

    def skip(self, rows: int) -> None:
        """Pass over the next ``rows`` rows, holding one of them at a time."""
        for _ in range(rows):
            self.read(1)

    def close(self) -> None:
        """Let the file go. Idempotent."""
        self._stream.close()
        self._zip.close()


class Contexts:
    """The words that came with each record of a recording (a card's token), in order: optional arrays of its file.

    ``context_keys`` are k words, ``context`` holds ``[n, k]`` words; an empty one is left out.
    """

    def __init__(self, file: Path, count: int) -> None:
        """Open them for ``count`` frames. Raises SensorError when they are broken or of another length."""
        self._rows: Rows | None = None
        self._keys: list[str] = []
        if not has_array(file, "context"):
            return
        rows = Rows(file, "context")
        try:
            with reading(file):
                if rows.count != count or len(rows.row_shape) != 1 or not _is_short(rows.dtype):
                    msg = f"context must be [{count}, k] words of at most {TEXT_BYTES_MAX // 4} characters"
                    raise ValueError(msg)
            self._keys = read_words(file, "context_keys", rows.row_shape[0])
        except SensorError:
            rows.close()
            raise
        self._rows = rows

    def read(self) -> dict[str, str | float]:
        """Return the next frame's words. Raises SensorError when the file is cut off."""
        if self._rows is None:
            return {}
        words = self._rows.read(1)[0]
        return {key: str(word) for key, word in zip(self._keys, words, strict=True) if word}

    def skip(self, rows: int) -> None:
        """Pass over the next frames."""
        if self._rows is not None:
            self._rows.skip(rows)

    def close(self) -> None:
        """Let the file go. Idempotent."""
        if self._rows is not None:
            self._rows.close()


def has_array(file: Path, name: str) -> bool:
    """Whether the ``.npz`` has an array of this name. Raises SensorError."""
    with reading(file), zipfile.ZipFile(file) as entries:
        return f"{name}.npy" in entries.namelist()


def read_times(file: Path, name: str, count: int) -> NDArray[np.float64]:
    """Return the times of ``count`` rows: seconds, never falling. Raises SensorError."""
    column = Rows(file, name)
    try:
        with reading(file):
            if column.count != count or column.row_shape or column.dtype.kind not in "fiu":
                msg = f"{name} must be {count} numbers, one a row; it is {column.dtype} [{column.count}]"
                raise ValueError(msg)
            times_s = column.read(count).astype(np.float64) if count else np.empty(0)
            if not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
                msg = f"{name} must be finite and never fall"
                raise ValueError(msg)
    finally:
        column.close()
    return times_s


def read_words(file: Path, name: str, count: int) -> list[str]:
    """Return ``count`` short words. Raises SensorError."""
    column = Rows(file, name)
    try:
        with reading(file):
            if not _is_short(column.dtype) or column.row_shape or column.count != count:
                msg = f"{name} must be {count} words of at most {TEXT_BYTES_MAX // 4} characters"
                raise ValueError(msg)
        return [str(word) for word in column.read(count)]
    finally:
        column.close()


def _is_short(dtype: np.dtype[Any]) -> bool:
    """Whether an element is a word of bounded length."""
    return dtype.kind == "U" and dtype.itemsize <= TEXT_BYTES_MAX
