"""What a store has promised, told in marks; and whether a store still holds it, whatever happened since.

``Told`` stands between a program and its store: it tells what the program is about to have done, and that it was done.
``Claims`` reads that; ``faults`` holds what is on a disk against it. Promised is what was done; of what was only about
to be done, all or nothing may be there.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.adapters.model_folder import read_model
from appliance.adapters.slots import Slots
from appliance.adapters.slots.partial import DiskPartial
from appliance.adapters.slots.shelf import Shelf
from appliance.adapters.slots.store import IN_USE
from appliance.errors import ModelError
from appliance.trust.manifest import Bundle
from appliance.trust.state import ModelState
from tests.power.marks import mark

ABOUT, DONE = "about", "done"
Op = dict[str, Any]


@contextmanager
def _telling(**op: object) -> Iterator[Op]:
    """Tell before and after; what is put into the yielded values is told after."""
    mark(f"{ABOUT} {json.dumps(op)}")
    yield op
    mark(f"{DONE} {json.dumps(op)}")


class ToldPartial:
    """A ``ports.Partial`` that tells what is promised of it."""

    def __init__(self, inner: DiskPartial) -> None:
        self._inner = inner
        self.size_bytes, self.tag, self.file = inner.size_bytes, inner.tag, inner.file
        self._sha256 = inner.file.stem

    def begin(self, tag: str) -> None:
        with _telling(op="begin", part=self._sha256):
            self._inner.begin(tag)

    def append(self, content: bytes) -> None:
        self._inner.append(content)
        mark(f"{DONE} {json.dumps({'op': 'part', 'part': self._sha256, 'size_bytes': self._inner.size_bytes})}")

    def sync(self) -> None:
        self._inner.sync()
        mark(f"{DONE} {json.dumps({'op': 'part', 'part': self._sha256, 'size_bytes': self._inner.size_bytes})}")

    def digest(self) -> str:
        return self._inner.digest()

    def remove(self) -> None:
        with _telling(op="drop", part=self._sha256):
            self._inner.remove()


class Told:
    """A ``ports.SlotStore`` over the real one that tells what is promised."""

    def __init__(self, inner: Slots) -> None:
        self._inner = inner
        self._ids: set[str] = set()

    def load(self, model: str) -> ModelState:
        return self._inner.load(model)

    def locked(self, model: str) -> AbstractContextManager[None]:
        return self._inner.locked(model)

    def save(self, state: ModelState) -> ModelState:
        next_one = state.model_copy(update={"generation": state.generation + 1})
        with _telling(op="save", stage=state.stage, record=next_one.model_dump_json()):
            return self._inner.save(state)

    def folder(self, model_id: str) -> Path | None:
        return self._inner.folder(model_id)

    def add(self, model_id: str, make: Callable[[Path], None]) -> Path:
        with _telling(op="add", id=model_id):
            return self._inner.add(model_id, make)

    def commit(self, model_id: str, sequence: int) -> None:
        with _telling(op="commit", id=model_id, sequence=sequence):
            self._inner.commit(model_id, sequence)

    def condemn(self, model_id: str, reason: str) -> None:
        with _telling(op="condemn", id=model_id, reason=reason):
            self._inner.condemn(model_id, reason)

    def pardon(self, model_id: str) -> None:
        with _telling(op="pardon", id=model_id):
            self._inner.pardon(model_id)

    def condemned(self) -> Mapping[str, str]:
        return self._inner.condemned()

    def partial(self, bundle: Bundle) -> ToldPartial:
        return ToldPartial(self._inner.partial(bundle))

    def collect(self, keep: Iterable[str], bundles: Iterable[str]) -> None:
        kept, parts = list(keep), list(bundles)
        with _telling(op="collect", keep=kept, parts=parts):
            self._inner.collect(kept, parts)

    def free_bytes(self) -> int:
        return self._inner.free_bytes()

    def file(self, name: str) -> bytes | None:
        return self._inner.file(name)

    def write_file(self, name: str, content: bytes) -> None:
        with _telling(op="file", name=name, digest=hashlib.sha256(content).hexdigest()):
            self._inner.write_file(name, content)

    def files(self, folder: str) -> tuple[str, ...]:
        return self._inner.files(folder)

    def remove_file(self, name: str) -> None:
        with _telling(op="file", name=name, digest=None):
            self._inner.remove_file(name)


@dataclass(slots=True)
class Claims:
    """What was promised by the marks so far."""

    model: str
    record: ModelState
    stored: set[str] = field(default_factory=set)
    served: dict[str, int] = field(default_factory=dict)
    condemned: dict[str, str] = field(default_factory=dict)
    parts: dict[str, int] = field(default_factory=dict)
    files: dict[str, str | None] = field(default_factory=dict)
    flying: Op = field(default_factory=dict)
    """What was about to be done; empty for nothing."""

    @classmethod
    def of(cls, marks: Iterable[str], model: str) -> "Claims":
        """Read marks; those that are not ours are passed over."""
        claims = cls(model, ModelState(model=model))
        for line in marks:
            what, _, values = line.partition(" ")
            if what == ABOUT:
                claims.flying = json.loads(values)
            elif what == DONE:
                claims.flying = {}
                claims._take(json.loads(values))
        return claims

    def _take(self, op: Op) -> None:
        match op["op"]:
            case "save":
                self.record = ModelState.model_validate_json(op["record"])
            case "collect":
                self.stored, self.parts = self.surviving(op)
                self.served = {each: sequence for each, sequence in self.served.items() if each in self.stored}
            case "part":
                self.parts[op["part"]] = op["size_bytes"]
            case "begin" | "drop":
                self.parts.pop(op["part"], None)
            case "file":
                self.files[op["name"]] = op["digest"]
            case what:
                self._take_model(what, op)

    def _take_model(self, what: str, op: Op) -> None:
        match what:
            case "add":
                self.stored.add(op["id"])
            case "commit":
                self.served[op["id"]] = op["sequence"]
            case "condemn":
                self.condemned[op["id"]] = op["reason"]
            case "pardon":
                self.condemned.pop(op["id"], None)

    def surviving(self, op: Op) -> tuple[set[str], dict[str, int]]:
        """Return the stored models and the parts that a collection must leave."""
        named, parts = {self.record.committed, self.record.previous, *op["keep"]}, set(op["parts"])
        candidate = self.record.candidate
        if candidate is not None:
            named |= {candidate.manifest.model_id} - self.condemned.keys()
            parts |= {candidate.bundle.sha256} if self.record.stage in IN_USE else set()
        return self.stored & named, {part: size for part, size in self.parts.items() if part in parts}


def faults(folder: Path, claims: Claims, bundles: Mapping[str, tuple[Bundle, bytes]]) -> Iterator[str]:
    """Yield everything in which the store of ``folder`` is not as was promised.

    Args:
        folder: of the store.
        claims: what was promised.
        bundles: what is received, whole, by its digest.
    """
    slots = Slots(folder)
    yield from _record_faults(slots, claims)
    yield from _stored_faults(slots, folder / "store", claims)
    yield from _small_faults(slots, claims)
    for bundle, content in bundles.values():
        yield from _part_faults(slots.partial(bundle), content, claims)


def _record_faults(slots: Slots, claims: Claims) -> Iterator[str]:
    state = slots.load(claims.model)
    possible = [claims.record]
    if claims.flying.get("op") == "save":
        possible.append(ModelState.model_validate_json(claims.flying["record"]))
    if state not in possible:
        yield f"a record that was never promised: {state}, not {possible}"
    if state.committed is not None:
        folder = slots.folder(state.committed)
        if folder is None:
            yield f"what was committed is not there: {state.committed}"
            return
        try:
            read_model(folder)
        except ModelError as error:
            yield f"what was committed cannot be loaded: {error}"


def _stored_faults(slots: Slots, folder: Path, claims: Claims) -> Iterator[str]:
    flying = claims.flying
    stored = claims.surviving(flying)[0] if flying.get("op") == "collect" else claims.stored
    there = {slot.name for slot in folder.glob("[!.]*")}
    yield from (f"stored, and not there: {each}" for each in stored - there)
    yield from (f"there, and never stored: {each}" for each in there - claims.stored - {flying.get("id")})
    yield from (f"there, and not as its name says: {each}" for each in there if slots.folder(each) is None)
    marks = {mark.model_id: mark.sequence for mark in Shelf(folder, _never).marks(claims.model)}
    served = {each: sequence for each, sequence in claims.served.items() if each in stored}
    yield from (f"served, and not marked: {each}" for each in served if marks.get(each) != served[each])


def _small_faults(slots: Slots, claims: Claims) -> Iterator[str]:
    flying = claims.flying
    maybe = {flying["id"]: flying["reason"]} if flying.get("op") == "condemn" else {}
    pardoned = {flying["id"]} if flying.get("op") == "pardon" else set()
    bad = slots.condemned()
    yield from (f"condemned, and forgotten: {each}" for each in claims.condemned.keys() - bad.keys() - pardoned)
    known = {**maybe, **claims.condemned}
    yield from (f"condemned otherwise: {each}" for each in bad if bad[each] != known.get(each))
    for name in {*claims.files, *([flying["name"]] if flying.get("op") == "file" else [])}:
        content = slots.file(name)
        found = hashlib.sha256(content).hexdigest() if content is not None else None
        possible = {claims.files.get(name), *([flying["digest"]] if flying.get("name") == name else [])}
        if found not in possible:
            yield f"not the promised file: {name}"


def _part_faults(part: DiskPartial, content: bytes, claims: Claims) -> Iterator[str]:
    sha256, flying = part.file.stem, claims.flying
    if part.size_bytes and part.file.read_bytes()[: part.size_bytes] != content[: part.size_bytes]:
        yield f"not what was received: {part.file}"
    dropped = flying.get("part") == sha256 or (flying.get("op") == "collect" and sha256 not in flying["parts"])
    if not dropped and part.size_bytes < claims.parts.get(sha256, 0):
        yield f"received, and lost: {part.size_bytes} of {claims.parts[sha256]} bytes of {part.file}"


def _never() -> AbstractContextManager[None]:
    raise AssertionError("nothing is written here")
