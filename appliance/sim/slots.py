"""A store of models without a medium: what must have a path lies in a folder, the rest in memory. It fails as told."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import move, rmtree
from tempfile import mkdtemp
from threading import Lock, get_ident

from appliance.errors import StoreError
from appliance.ports.updates import CONDEMNED_MAX
from appliance.trust.manifest import DESCRIPTION, Bundle
from appliance.trust.state import ModelState, Stage
from appliance.trust.stored import Mark, committed, hold, rebuilt, settled

LOCK_WAIT_S = 10.0
FREE_BYTES = 1 << 30
_IN_USE = (Stage.FETCH, Stage.VERIFY, Stage.APPLY)


@dataclass(slots=True)
class StoreScript:
    """What goes wrong, and when. Change it at any time; it holds from the next thing that happens."""

    writes_left: int | None = None
    """After so many more writes the disk is full; None: never."""
    refuse: str = ""
    """Why every write is refused (``Read-only file system``); empty while none is."""
    unreadable: str = ""
    """Why nothing can be read; empty while it can."""
    free_bytes: int = FREE_BYTES


class VolatilePartial:
    """Implements ``ports.Partial``: a file, and a tag in memory."""

    def __init__(self, file: Path, store: "VolatileSlots") -> None:
        """It may be there in part already."""
        self._file = file
        self._store = store

    @property
    def size_bytes(self) -> int:
        """Bytes that are there."""
        return self._file.stat().st_size if self._file.exists() else 0

    @property
    def tag(self) -> str:
        """As ``begin`` was given it."""
        return self._store.tags.get(self._file.name, "")

    @property
    def file(self) -> Path:
        """Where it is."""
        return self._file

    def begin(self, tag: str) -> None:
        """Start from nothing."""
        self._store.write(self._file)
        self._store.tags[self._file.name] = tag
        self._file.write_bytes(b"")

    def append(self, content: bytes) -> None:
        """Add bytes."""
        self._store.write(self._file)
        with self._file.open("ab") as stream:
            stream.write(content)

    def sync(self) -> None:
        """Nothing to wait for."""
        self._store.read(self._file)

    def digest(self) -> str:
        """SHA-256 of what is there."""
        self._store.read(self._file)
        return sha256(self._file.read_bytes() if self._file.exists() else b"").hexdigest()

    def remove(self) -> None:
        """Let it go."""
        self._store.write(self._file)
        self._file.unlink(missing_ok=True)
        self._store.tags.pop(self._file.name, None)


class VolatileSlots:
    """Implements ``ports.SlotStore``. For any thread; two "processes" share one of it."""

    def __init__(self, folder: Path) -> None:
        """Keep model folders and bundles in ``folder``; nothing is stored yet, and nothing is wrong."""
        self.script = StoreScript()
        self.tags: dict[str, str] = {}
        self._store, self._inbox = folder / "store", folder / "inbox"
        self._store.mkdir(parents=True, exist_ok=True)
        self._inbox.mkdir(exist_ok=True)
        self._records: dict[str, ModelState] = {}
        self._marks: dict[str, Mark] = {}
        self._bad: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._locks: dict[str, Lock] = {}
        self._holders: dict[str, int] = {}

    def write(self, path: Path | str) -> None:
        """Count a write of ``path``, before it happens. Raises StoreError as the script says."""
        full = self.script.writes_left is not None and self.script.writes_left <= 0
        reason = self.script.refuse or ("No space left on device" if full else "")
        if reason:
            msg = f"{path}: {reason}"
            raise StoreError(msg)
        if self.script.writes_left is not None:
            self.script.writes_left -= 1

    def read(self, path: Path | str) -> None:
        """Raise StoreError as the script says."""
        if self.script.unreadable:
            msg = f"{path}: {self.script.unreadable}"
            raise StoreError(msg)

    def forget(self, model: str) -> None:
        """Lose the record of ``model``, as damage to the medium would."""
        self._records.pop(model, None)

    def load(self, model: str) -> ModelState:
        """Return where the updates of ``model`` stand."""
        self.read(model)
        state = self._records.get(model)
        if state is None:
            marks = [mark for mark in self._marks.values() if mark.model_id not in self._bad]
            return rebuilt(model, [mark for mark in marks if self._is(mark.model_id, model)], self._sound)
        return settled(state, self._sound, lambda model_id: self._marks.get(model_id, Mark(model_id, 0)).sequence)

    @contextmanager
    def locked(self, model: str) -> Iterator[None]:
        """Hold the right to change the record of ``model``."""
        lock = self._locks.setdefault(model, Lock())
        if not lock.acquire(timeout=LOCK_WAIT_S):
            msg = f"{model}: locked for more than {LOCK_WAIT_S:g} s"
            raise StoreError(msg)
        try:
            self._holders[model] = get_ident()
            yield
        finally:
            self._holders.pop(model, None)
            lock.release()

    def save(self, state: ModelState) -> ModelState:
        """Keep a record."""
        assert self._holders.get(state.model) == get_ident(), f"{state.model} is saved without its lock"
        there = self._records.get(state.model)
        assert state.generation == (there.generation if there else 0), f"a stale record of {state.model}"
        self.write(f"{state.model}.json")
        self._records[state.model] = state.model_copy(update={"generation": state.generation + 1})
        return self._records[state.model]

    def folder(self, model_id: str) -> Path | None:
        """Return the model folder of a stored model."""
        return next((self._store / model_id).glob("*/*/"), None)

    def add(self, model_id: str, make: Callable[[Path], None]) -> Path:
        """Store a model."""
        there = self.folder(model_id)
        if there is not None:
            return there
        self.write(self._store / model_id)
        made = Path(mkdtemp(dir=self._store, prefix=".new-"))
        try:
            make(made)
            self.write(self._store / model_id)
            files = [file for file in made.rglob("*") if file.is_file()]
            contents = {str(file.relative_to(made)): file.read_bytes() for file in files}
            digests = {path: sha256(content).hexdigest() for path, content in contents.items()}
            digests.pop(DESCRIPTION, "")
            description = hold(model_id, contents.get(DESCRIPTION, b""), digests)
            name = self._store / model_id / description.name
            name.mkdir(parents=True)
            move(made, name / description.version)
            return name / description.version
        finally:
            rmtree(made, ignore_errors=True)

    def commit(self, model_id: str, sequence: int) -> None:
        """Mark a stored model as one that served."""
        self.write(model_id)
        if self.folder(model_id) is None:
            msg = f"{model_id}: is not stored"
            raise StoreError(msg)
        self._marks[model_id] = committed(model_id, sequence, self._marks.values())

    def condemn(self, model_id: str, reason: str) -> None:
        """Remember that a model failed here."""
        self.write(model_id)
        self._bad.pop(model_id, None)
        self._bad[model_id] = reason
        while len(self._bad) > CONDEMNED_MAX:
            self._bad.pop(next(iter(self._bad)))

    def pardon(self, model_id: str) -> None:
        """Forget that."""
        self.write(model_id)
        self._bad.pop(model_id, None)

    def condemned(self) -> Mapping[str, str]:
        """Return the models that failed here."""
        self.read("bad")
        return dict(self._bad)

    def partial(self, bundle: Bundle) -> VolatilePartial:
        """Return what is there of a bundle."""
        self.read(bundle.sha256)
        return VolatilePartial(self._inbox / f"{bundle.sha256}.part", self)

    def collect(self, keep: Iterable[str], bundles: Iterable[str]) -> None:
        """Remove what is neither asked for nor named by a record."""
        self.write("store")
        kept, parts = set(keep), {f"{digest}.part" for digest in bundles}
        for state in map(self.load, [*self._records, *{path.parent.name for path in self._store.glob("*/*/*/")}]):
            kept |= {state.committed or "", state.previous or ""}
            if state.candidate is not None:
                kept |= {state.candidate.manifest.model_id} - self._bad.keys()
                parts |= {f"{state.candidate.bundle.sha256}.part"} if state.stage in _IN_USE else set()
        for folder in self._store.iterdir():
            if folder.name not in kept:
                rmtree(folder)
                self._marks.pop(folder.name, None)
        for file in self._inbox.iterdir():
            if file.name not in parts:
                file.unlink()
                self.tags.pop(file.name, None)

    def free_bytes(self) -> int:
        """As the script says."""
        self.read("store")
        return self.script.free_bytes

    def file(self, name: str) -> bytes | None:
        """Return a small file."""
        self.read(name)
        return self._files.get(name)

    def write_file(self, name: str, content: bytes) -> None:
        """Replace such a file."""
        self.write(name)
        self._files[name] = content

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the names of such files in a folder."""
        self.read(folder)
        return tuple(sorted(name for name in self._files if name.rpartition("/")[0] == folder))

    def remove_file(self, name: str) -> None:
        """Remove such a file."""
        self.write(name)
        self._files.pop(name, None)

    def _sound(self, model_id: str) -> bool:
        return self.folder(model_id) is not None

    def _is(self, model_id: str, model: str) -> bool:
        folder = self.folder(model_id)
        return folder is not None and folder.parent.name == model
