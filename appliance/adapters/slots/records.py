"""The records of where updates stand, one file a model: never changed, only another takes its place."""

import re
from contextlib import suppress
from pathlib import Path

from appliance.adapters import durable
from appliance.errors import StateError, StoreError
from appliance.trust.state import RECORD_BYTES_MAX, ModelState, decode, encode

SET_ASIDE_MAX = 3
"""Damaged records that are kept of a model; the oldest goes first."""
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SUFFIX = ".json"
_DAMAGED = ".damaged-"


class Records:
    """Reads and writes records. Every method raises OSError, and asserts that a model's name is one."""

    def __init__(self, folder: Path) -> None:
        """Touches nothing yet."""
        self._folder = folder
        self._synced: dict[str, tuple[int, int]] = {}
        """Inode and time of change of a record whose name is known to be on the medium."""

    def read(self, model: str) -> ModelState | None:
        """Return the record; None where there is none. Raises StateError for one that is damaged."""
        file = self._file(model)
        raw = durable.read(file, RECORD_BYTES_MAX)
        if raw is None:
            return None
        state = decode(raw, model)
        self._settle(file)
        return state

    def _settle(self, file: Path) -> None:
        """Have a record's name on the medium before anybody acts on it: its writer may have been killed before."""
        with suppress(OSError):  # gone again, or a medium that turned read-only: then it is as good as it gets
            seen = _seen(file)
            if self._synced.get(file.name) != seen:
                durable.sync(self._folder)
                self._synced[file.name] = seen

    def write(self, state: ModelState) -> None:
        """Write a record; a damaged one in its place is set aside. Raises StoreError for one that is too large."""
        raw = encode(state)
        file = self._file(state.model)
        if len(raw) > RECORD_BYTES_MAX:
            msg = f"{file}: {len(raw)} bytes are more than a record may have"
            raise StoreError(msg)
        try:
            self.read(state.model)
        except StateError:
            self._set_aside(file)
        durable.replace(file, raw)
        with suppress(OSError):
            self._synced[file.name] = _seen(file)

    def models(self) -> set[str]:
        """Return the names of models that have, or had, a record."""
        names = {file.name.partition(".")[0] for file in self._folder.glob("*.*")}
        return {name for name in names if _MODEL.fullmatch(name)}

    def lock(self, model: str) -> Path:
        """Where the lock of a model's record is; its folder is made."""
        durable.make_folder(self._folder)
        return self._file(model).with_suffix(".lock")

    def _file(self, model: str) -> Path:
        assert _MODEL.fullmatch(model), f"{model!r} is no model's name"
        return self._folder / f"{model}{_SUFFIX}"

    def _set_aside(self, file: Path) -> None:
        prefix = f"{file.name}{_DAMAGED}"
        endings = (path.name.removeprefix(prefix) for path in self._folder.glob(f"{prefix}*"))
        numbers = sorted(int(ending) for ending in endings if ending.isdecimal())
        for number in numbers[: len(numbers) - SET_ASIDE_MAX + 1]:
            file.with_name(f"{prefix}{number}").unlink()
        file.rename(file.with_name(f"{prefix}{max(numbers, default=0) + 1}"))


def _seen(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_ino, found.st_ctime_ns
