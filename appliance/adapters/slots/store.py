"""The device's store of models on its medium: the port, made of its rooms."""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import get_ident

from appliance.adapters import durable
from appliance.adapters.slots.lock import alone, claimed, together
from appliance.adapters.slots.partial import DiskPartial
from appliance.adapters.slots.records import Records
from appliance.adapters.slots.shelf import Shelf
from appliance.errors import StateError, StoreError
from appliance.log import FaultLog, get
from appliance.ports.updates import CONDEMNED_MAX
from appliance.trust.manifest import Bundle
from appliance.trust.state import ModelState, Stage
from appliance.trust.stored import NOTE_BYTES_MAX, read_note, rebuilt, settled, write_note

RESERVE_BYTES = 16 * 1024 * 1024
"""Space that is left to the rest of the device: its outbox, its logs."""
FILE_BYTES_MAX = 8 * 1024 * 1024
"""Largest small file."""
REASON_LOST = "it failed here; why cannot be read any more"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}")
_MODEL_ID = re.compile(r"[0-9a-f]{64}")
IN_USE = (Stage.FETCH, Stage.VERIFY, Stage.APPLY)
"""Stages that need the candidate's bundle."""

_log = get(__name__)


class Slots:
    """Implements ``ports.SlotStore`` in a folder. For any thread, and for any number of processes on one folder."""

    def __init__(
        self, folder: Path, *, reserve_bytes: int = RESERVE_BYTES, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        """Touches nothing yet.

        Args:
            folder: ``<state_dir>/models``; made by the first write.
            reserve_bytes: left free for the rest of the device.
            monotonic_s: spaces repeated complaints about one fault.
        """
        self._folder, self._reserve_bytes = folder, reserve_bytes
        self._shelf = Shelf(folder / "store", self._writing)
        self._records = Records(folder / "state")
        self._bad, self._inbox, self._files = folder / "bad", folder / "inbox", folder / "files"
        self._faults = FaultLog(_log, monotonic_s)
        self._held: set[tuple[str, int]] = set()
        """Models whose lock is held, and by which thread."""

    def load(self, model: str) -> ModelState:
        """Return where the updates of ``model`` stand; rebuilt where its record is damaged. Writes nothing."""
        with durable.converting(self._folder):
            try:
                state = self._records.read(model)
            except StateError as error:
                self._faults.failed(f"record of {model}", f"{error}; what served last serves")
                return self._rebuilt(model)
            if state is None:
                return self._rebuilt(model)
            self._faults.recovered(f"record of {model}")
            return self._settled(state)

    def _rebuilt(self, model: str) -> ModelState:
        condemned = self.condemned()
        marks = [mark for mark in self._shelf.marks(model) if mark.model_id not in condemned]
        return rebuilt(model, marks, lambda model_id: not self._shelf.fault(model_id))

    def _settled(self, state: ModelState) -> ModelState:
        kept = settled(state, lambda model_id: not self._shelf.fault(model_id), self._shelf.sequence)
        key = f"committed model of {state.model}"
        if kept.committed == state.committed:
            self._faults.recovered(key)
        else:
            instead = f"{kept.committed} serves" if kept.committed else "the factory's serves"
            self._faults.failed(key, f"{self._shelf.fault(state.committed or '')}; {instead}")
        return kept

    @contextmanager
    def locked(self, model: str) -> Iterator[None]:
        """Hold the right to change the record of ``model``, for this thread. Not to be nested."""
        with ExitStack() as stack:
            with durable.converting(self._folder):
                stack.enter_context(alone(self._records.lock(model)))
            me = model, get_ident()
            self._held.add(me)
            stack.callback(self._held.discard, me)
            yield

    def save(self, state: ModelState) -> ModelState:
        """Write a record that was loaded under the lock that is still held."""
        assert (state.model, get_ident()) in self._held, f"the record of {state.model} is saved without its lock"
        with self._writing():
            with suppress(StateError):  # a damaged record has no generation; it is set aside
                there = self._records.read(state.model)
                assert state.generation == (there.generation if there else 0), f"a stale record of {state.model}"
            saved = state.model_copy(update={"generation": state.generation + 1})
            self._records.write(saved)
        return saved

    def folder(self, model_id: str) -> Path | None:
        """Return the model folder of a stored model that is whole, else None."""
        with durable.converting(self._folder):
            return self._shelf.folder(model_id)

    def add(self, model_id: str, make: Callable[[Path], None]) -> Path:
        """Store a model, or find it stored; a damaged one is replaced."""
        with durable.converting(self._folder):
            return self._shelf.add(model_id, make)

    def commit(self, model_id: str, sequence: int) -> None:
        """Mark a stored model as one that served."""
        with self._writing():
            self._shelf.commit(model_id, sequence)

    def condemn(self, model_id: str, reason: str) -> None:
        """Remember that a model failed here."""
        note = self._bad / _sound_id(model_id)
        with self._writing():
            others = {file: number for file, (_, number) in self._notes().items() if file != note}
            number = 1 + max(others.values(), default=0)
            durable.replace(note, write_note({"reason": reason, "number": number}))
            # By number, not by the time of a clock that may be wrong. One that is forgotten fails once more, where it
            # is still offered at all.
            for file in sorted(others, key=others.__getitem__)[: max(0, len(others) + 1 - CONDEMNED_MAX)]:
                durable.remove(file)

    def pardon(self, model_id: str) -> None:
        """Forget that."""
        with self._writing():
            durable.remove(self._bad / _sound_id(model_id))

    def condemned(self) -> Mapping[str, str]:
        """Return the ids of models that failed here, and why; a damaged note still condemns, by its name."""
        with durable.converting(self._bad):
            return {file.name: reason for file, (reason, _) in self._notes().items()}

    def _notes(self) -> dict[Path, tuple[str, int]]:
        """Return why each model failed, and the place in the order in which they did. Raises OSError."""
        return {file: _note(file) for file in self._bad.glob("*") if _MODEL_ID.fullmatch(file.name)}

    def partial(self, bundle: Bundle) -> DiskPartial:
        """Return what is there of a bundle."""
        with durable.converting(self._inbox):
            return DiskPartial(self._inbox / f"{bundle.sha256}.part", self._writing)

    def collect(self, keep: Iterable[str], bundles: Iterable[str]) -> None:
        """Remove what is neither asked for nor named by a record.

        What a record names as committed or previous stays; its candidate too, unless it is condemned, and the
        candidate's bundle while it is needed.
        """
        with durable.converting(self._folder):
            durable.make_folder(self._folder)
            with alone(self._lock):
                named, needed = self._named()
                self._sweep()
                self._shelf.keep({*keep, *named})
                parts = {*bundles, *needed}
                for file in self._inbox.glob("*"):
                    if file.stem not in parts:
                        durable.remove(file)

    def free_bytes(self) -> int:
        """Return how much more may be stored, less a reserve for the rest of the device."""
        place = next(place for place in (self._folder, *self._folder.absolute().parents) if place.is_dir())
        with durable.converting(place):
            found = os.statvfs(place)
        return max(0, found.f_bavail * found.f_frsize - self._reserve_bytes)

    def file(self, name: str) -> bytes | None:
        """Return a small file."""
        file = self._small(name)
        with durable.converting(file):
            content = durable.read(file, FILE_BYTES_MAX)
        if content is not None and len(content) > FILE_BYTES_MAX:
            raise _too_large(file)
        return content

    def write_file(self, name: str, content: bytes) -> None:
        """Replace such a file."""
        if len(content) > FILE_BYTES_MAX:
            raise _too_large(self._small(name))
        with self._writing():
            durable.replace(self._small(name), content)

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the names of such files in a folder."""
        with durable.converting(self._files):
            found = [file.name for file in self._small(folder).glob("[!.]*") if file.is_file()]
        return tuple(sorted(f"{folder}/{name}" for name in found))

    def remove_file(self, name: str) -> None:
        """Remove such a file."""
        with self._writing():
            durable.remove(self._small(name))

    @property
    def _lock(self) -> Path:
        return self._folder / ".lock"

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Surround each write, so that nobody clears away what is being written."""
        with durable.converting(self._folder):
            durable.make_folder(self._folder)
            with together(self._lock):
                yield

    def _named(self) -> tuple[set[str], set[str]]:
        """Return the ids of models, and the digests of bundles, that records name."""
        ids, bundles, condemned = set[str](), set[str](), self.condemned()
        for state in map(self.load, self._records.models() | self._shelf.models()):
            ids |= {model_id for model_id in (state.committed, state.previous) if model_id}
            if state.candidate is not None:
                ids |= {state.candidate.manifest.model_id} - condemned.keys()
                bundles |= {state.candidate.bundle.sha256} if state.stage in IN_USE else set()
        return ids, bundles

    def _sweep(self) -> None:
        """Remove what was left unfinished, unless somebody is at it."""
        for place, folders, names in os.walk(self._folder, onerror=durable.raising):
            for name in (name for name in names if name.startswith(durable.NEW)):
                Path(place, name).unlink()
            for name in (name for name in folders if name.startswith(durable.NEW)):
                with claimed(Path(place, name)) as free:
                    if free:
                        shutil.rmtree(Path(place, name))
            folders[:] = [name for name in folders if not name.startswith(durable.NEW)]

    def _small(self, name: str) -> Path:
        assert _FILE.fullmatch(name), f"{name!r} is no name of a small file"
        return self._files / name


def _sound_id(model_id: str) -> str:
    assert _MODEL_ID.fullmatch(model_id), f"{model_id!r} is no model's id"
    return model_id


def _note(file: Path) -> tuple[str, int]:
    """Return why a model failed, and its number; 0 where that was not written down, or is lost. Raises OSError."""
    try:
        note = read_note(durable.read(file, NOTE_BYTES_MAX) or b"")
        number = note.get("number", 0)
        return str(note["reason"]), number if isinstance(number, int) else 0
    except (StateError, KeyError):
        return REASON_LOST, 0


def _too_large(file: Path) -> StoreError:
    return StoreError(f"{file}: larger than {FILE_BYTES_MAX} bytes")
