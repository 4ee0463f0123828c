"""The stored models: ``<model id>/<name>/<version>/``, and beside ``<name>`` a mark of those that served.

A folder takes its id as its name when the medium has given back what the id promises, and not before.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from appliance.adapters import durable
from appliance.adapters.slots import medium
from appliance.adapters.slots.lock import claimed
from appliance.adapters.slots.partial import Writing
from appliance.errors import BundleError, StateError, StoreError
from appliance.trust.description import Description
from appliance.trust.manifest import DESCRIPTION
from appliance.trust.model import DESCRIPTION_BYTES_MAX, FOLDER_BYTES_MAX
from appliance.trust.stored import NOTE_BYTES_MAX, Mark, committed, hold, read_note, write_note

_MODEL_ID = re.compile(r"[0-9a-f]{64}")
_MARK = "committed"
_FILLING = "filling"
_DAMAGE = {errno.EIO, errno.EBADMSG, errno.EUCLEAN}
"""What a medium says of content that it cannot give back; other errors are no fault of the stored model."""
_Seen = list[tuple[Path, int, int, int]]
"""File, inode, length and time of change: while they are the same, so is the content."""


class Shelf:
    """Puts models on the shelf and takes them off. A stored model is read and verified once in a process.

    Every method raises OSError, and asserts that an id is one.
    """

    def __init__(self, folder: Path, writing: Writing) -> None:
        """Touches nothing yet."""
        self._folder = folder
        self._writing = writing
        self._checked: dict[str, tuple[_Seen, str]] = {}
        """What is wrong with a stored model, empty for nothing, as it was when it was seen so."""

    def folder(self, model_id: str) -> Path | None:
        """Return the model folder of a stored model that is whole, else None."""
        return None if self.fault(model_id) else _place(self._slot(model_id))

    def fault(self, model_id: str) -> str:
        """Say what is wrong with a stored model: empty for nothing."""
        place = _place(self._slot(model_id))
        if place is None:
            return f"{self._slot(model_id)}: is not there"
        try:
            seen = [(file, found.st_ino, found.st_size, found.st_ctime_ns) for file, found in _files(place)]
        except BundleError as error:
            return str(error)
        if model_id not in self._checked or self._checked[model_id][0] != seen:
            self._checked[model_id] = seen, _fault(place, model_id, medium.cached)
        return self._checked[model_id][1]

    def add(self, model_id: str, make: Callable[[Path], None]) -> Path:
        """Store a model, or find it stored; see ``ports.SlotStore``."""
        slot = self._slot(model_id)
        there = _place(slot)
        if there is not None and not _fault(there, model_id, medium.blocks):
            with self._writing():
                durable.sync(self._folder)  # whoever stored it may have been killed just before that
            return there
        with ExitStack() as stack:
            made = self._begun(slot, stack)
            filling = made / _FILLING
            filling.mkdir(mode=durable.FOLDER_MODE)
            make(filling)
            durable.sync_tree(filling)
            description = _check(filling, model_id, medium.blocks)
            name = made / description.name
            name.mkdir(mode=durable.FOLDER_MODE)
            filling.rename(name / description.version)
            durable.sync(name)
            with self._writing():
                self._put(made, slot)
        return slot / description.name / description.version

    def _begun(self, slot: Path, stack: ExitStack) -> Path:
        """Make a folder that nobody else touches, and that is gone after ``stack`` unless it was renamed."""
        made = durable.new_beside(slot)
        with self._writing():
            durable.make_folder(self._folder)
            made.mkdir(mode=durable.FOLDER_MODE)
            stack.callback(shutil.rmtree, made, ignore_errors=True)
            stack.enter_context(claimed(made))
        return made

    def _put(self, made: Path, slot: Path) -> None:
        """Let ``made`` be the slot; a damaged one makes room, but that it served stays known."""
        if slot.is_dir():
            mark = _mark(slot)
            if mark is not None:
                _write_mark(made, mark)
            durable.remove_folder(slot)
        durable.sync(made)
        made.rename(slot)
        durable.sync(self._folder)

    def commit(self, model_id: str, sequence: int) -> None:
        """Mark a stored model as one that served. Idempotent. Raises StoreError where it is not stored."""
        slot = self._slot(model_id)
        place = _place(slot)
        if place is None:
            msg = f"{slot}: is not there"
            raise StoreError(msg)
        mark = committed(model_id, sequence, self.marks(place.parent.name))
        if _mark(slot) == mark:
            durable.sync(slot)  # whoever wrote it may have been killed just before that
        else:
            _write_mark(slot, mark)

    def marks(self, model: str) -> list[Mark]:
        """Return the marks of stored models of that name, whole or not."""
        return [mark for place in self._places() if place.parent.name == model and (mark := _mark(place.parent.parent))]

    def sequence(self, model_id: str) -> int:
        """Return the sequence of a stored model that served; 0 where that is not known."""
        mark = _mark(self._slot(model_id))
        return mark.sequence if mark is not None else 0

    def models(self) -> set[str]:
        """Return the names of stored models."""
        return {place.parent.name for place in self._places()}

    def keep(self, ids: Collection[str]) -> None:
        """Take every other model off the shelf."""
        for slot in self._slots():
            if slot.name not in ids:
                durable.remove_folder(slot)
                self._checked.pop(slot.name, None)

    def _slot(self, model_id: str) -> Path:
        assert _MODEL_ID.fullmatch(model_id), f"{model_id!r} is no model's id"
        return self._folder / model_id

    def _slots(self) -> list[Path]:
        return [slot for slot in self._folder.glob("*/") if _MODEL_ID.fullmatch(slot.name)]

    def _places(self) -> list[Path]:
        return [place for slot in self._slots() if (place := _place(slot)) is not None]


def _place(slot: Path) -> Path | None:
    """Return the one ``<name>/<version>`` of a slot."""
    places = list(slot.glob("[!.]*/[!.]*/"))
    return places[0] if len(places) == 1 else None


def _fault(place: Path, model_id: str, read: medium.Blocks) -> str:
    """Say what is wrong with a stored model: empty for nothing. Raises OSError."""
    try:
        description = _check(place, model_id, read)
    except BundleError as error:
        return f"{place}: {error}"
    except OSError as error:
        if error.errno not in _DAMAGE:
            raise
        return f"{place}: {error.strerror}"
    right = (place.parent.name, place.name) == (description.name, description.version)
    return "" if right else f"{place}: is {description.name}/{description.version}"


def _check(folder: Path, model_id: str, read: medium.Blocks) -> Description:
    """Hold a model folder against its id. Raises BundleError, OSError."""
    sizes_bytes = {str(file.relative_to(folder)): found.st_size for file, found in _files(folder)}
    if DESCRIPTION not in sizes_bytes:
        msg = f"{DESCRIPTION}: is missing"
        raise BundleError(msg)
    if sizes_bytes[DESCRIPTION] > DESCRIPTION_BYTES_MAX or sum(sizes_bytes.values()) > FOLDER_BYTES_MAX:
        msg = f"{sum(sizes_bytes.values())} bytes in its files: more than a model may have"
        raise BundleError(msg)
    raw = b"".join(read(folder / DESCRIPTION))
    digests = {path: medium.digest(folder / path, read) for path in sizes_bytes if path != DESCRIPTION}
    return hold(model_id, raw, digests)


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield every file below a folder. Raises BundleError for what is neither a file nor a folder, OSError."""
    for place, folders, names in os.walk(folder, onerror=durable.raising):
        for path in (Path(place, name) for name in sorted((*folders, *names))):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                yield path, found
            elif not stat.S_ISDIR(found.st_mode):
                msg = f"{path}: is neither a file nor a folder"
                raise BundleError(msg)


def _mark(slot: Path) -> Mark | None:
    """Return the mark of a slot, if it is sound. Raises OSError."""
    raw = durable.read(slot / _MARK, NOTE_BYTES_MAX)
    try:
        note = read_note(raw or b"")
    except StateError:
        return None
    sequence, number = note.get("sequence"), note.get("number", 0)
    if note.get("model_id") != slot.name or not isinstance(sequence, int) or not isinstance(number, int):
        return None
    return Mark(slot.name, sequence, number)


def _write_mark(slot: Path, mark: Mark) -> None:
    durable.replace(slot / _MARK, write_note(asdict(mark)))
