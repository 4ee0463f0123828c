"""What a store of models says of itself: is a folder the model that its id names, which served, what to fall back on.

Pure; whoever keeps the store brings the bytes and the digests.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice

from appliance.errors import BundleError, ModelError, StateError
from appliance.trust.description import Description
from appliance.trust.manifest import DESCRIPTION
from appliance.trust.model import parse_description
from appliance.trust.state import ModelState

FORMAT = 1
NOTE_BYTES_MAX = 16 * 1024
"""A note larger than this is not one."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A stored model that served, and its place in the order of versions."""

    model_id: str
    sequence: int
    number: int = 0
    """Rises with each commit of the store; 0 where it was not written down yet."""


def committed(model_id: str, sequence: int, marks: Iterable[Mark]) -> Mark:
    """Return the mark of what is committed now; the same again where it was committed last of all the ``marks``."""
    last = max(marks, key=lambda mark: mark.number, default=Mark("", 0))
    same = last.number and (last.model_id, last.sequence) == (model_id, sequence)
    return last if same else Mark(model_id, sequence, last.number + 1)


def hold(model_id: str, raw: bytes, digests: Mapping[str, str]) -> Description:
    """Hold a folder against the id that it is stored under.

    Args:
        model_id: what the SHA-256 of its description must be.
        raw: content of its ``model.toml``.
        digests: SHA-256 of every other file that is there, by path.

    Raises:
        BundleError: it is another model, or damaged; the message names the file.
    """
    got = sha256(raw).hexdigest()
    if got != model_id:
        msg = f"{DESCRIPTION}: its sha256 is {got}, the model's id is {model_id}"
        raise BundleError(msg)
    try:
        description = parse_description(raw)
    except ModelError as error:
        raise BundleError(str(error)) from error
    listed = description.files
    wrong = sorted(path for path in {*listed, *digests} if listed.get(path) != digests.get(path))
    if wrong:
        path = wrong[0]
        msg = f"{path}: its sha256 is {digests.get(path)}, {DESCRIPTION} says {listed.get(path)}"
        raise BundleError(msg)
    return description


def write_note(values: Mapping[str, str | int]) -> bytes:
    """Return a small file that proves itself: JSON with a checksum, one line."""
    body = json.dumps(dict(values))
    return json.dumps({"format": FORMAT, "crc32": zlib.crc32(body.encode()), "body": body}).encode() + b"\n"


def read_note(raw: bytes) -> Mapping[str, object]:
    """Read what ``write_note`` made.

    Raises:
        StateError: it is torn, damaged or of another format.
    """
    try:
        outer = json.loads(raw[: NOTE_BYTES_MAX + 1])
        body = str(outer["body"])
        sound = outer["format"] == FORMAT and outer["crc32"] == zlib.crc32(body.encode())
        values = json.loads(body) if sound else None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StateError("a note cannot be read") from error
    if not isinstance(values, dict):
        raise StateError("a note's checksum does not fit")
    return values


def rebuilt(model: str, marks: Iterable[Mark], sound: Callable[[str], bool]) -> ModelState:
    """Return the record of a model whose record is lost: what served last serves, nothing is under way.

    Args:
        model: its name.
        marks: of the stored models of that name.
        sound: whether a stored model is whole; asked of as few as possible, as it may read all of it.
    """
    by_commit = sorted(marks, key=lambda mark: (-mark.number, -mark.sequence, mark.model_id))
    newest = list(islice((mark for mark in by_commit if sound(mark.model_id)), 2))
    if not newest:
        return ModelState(model=model)
    previous = newest[1].model_id if len(newest) > 1 else None
    return ModelState(model=model, committed=newest[0].model_id, sequence=newest[0].sequence, previous=previous)


def settled(state: ModelState, sound: Callable[[str], bool], sequence: Callable[[str], int]) -> ModelState:
    """Return the record with a committed model that is there: else the one before it, else the factory's.

    Args:
        state: as it was read.
        sound: whether a stored model is whole.
        sequence: of a stored model that served.
    """
    if state.committed is None or sound(state.committed):
        return state
    before = state.previous if state.previous is not None and sound(state.previous) else None
    return state.model_copy(
        update={"committed": before, "sequence": sequence(before) if before else 0, "previous": None}
    )
