"""Ways to replace a model that are known to be bad, and two that are good: the rig must tell them apart.

``python -m tests.power.protocols setup|NAME FOLDER``. Between their steps the kernel is made to do what it may do by
itself at any moment: write everything back, or commit its journal because somebody else syncs a file.
"""

import hashlib
import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.adapters import durable
from tests.power.marks import mark

OLD, NEW = (random.Random(number).randbytes(200_000) for number in (1, 2))  # noqa: S311 - filling, no secret
PIECE_BYTES = 65_536
ACKNOWLEDGED = "acknowledged"


def digest(content: bytes) -> str:
    """How a model is called in the store."""
    return hashlib.sha256(content).hexdigest()


def unrelated(folder: Path) -> None:
    """Another program syncs a file of its own: ext4 commits its journal, and with it every name so far."""
    durable.sync(folder / "unrelated")


def setup(folder: Path) -> None:
    """The old model, in each form."""
    durable.replace(folder / "model", OLD)
    durable.replace(folder / "store" / digest(OLD), OLD)
    durable.replace(folder / "pointer", json.dumps(digest(OLD)).encode())
    durable.replace(folder / "unrelated", b"")


def overwrite(folder: Path) -> None:
    """In place, slowly."""
    with (folder / "model").open("wb") as stream:
        for start in range(0, len(NEW), PIECE_BYTES):
            stream.write(NEW[start : start + PIECE_BYTES])
            stream.flush()
            os.sync()
    mark(ACKNOWLEDGED)


def rename_unsynced(folder: Path) -> None:
    """Beside it, and renamed: what python-tuf's client does."""
    (folder / "new").write_bytes(NEW)
    (folder / "new").replace(folder / "model")
    mark(ACKNOWLEDGED)
    unrelated(folder)


def rename_unsynced_folder(folder: Path) -> None:
    """The file is synced, its name is not."""
    (folder / "new").write_bytes(NEW)
    durable.sync(folder / "new")
    (folder / "new").replace(folder / "model")
    mark(ACKNOWLEDGED)


def store_unsynced(folder: Path) -> None:
    """By content, with a pointer; nothing is synced."""
    (folder / "store" / "new").write_bytes(NEW)
    (folder / "store" / "new").rename(folder / "store" / digest(NEW))
    (folder / "new").write_text(json.dumps(digest(NEW)))
    (folder / "new").replace(folder / "pointer")
    mark(ACKNOWLEDGED)
    unrelated(folder)


def pointer_in_place(folder: Path) -> None:
    """By content and synced, but the pointer is written in place."""
    durable.replace(folder / "store" / digest(NEW), NEW)
    with (folder / "pointer").open("wb") as stream:
        unrelated(folder)
        stream.write(json.dumps(digest(NEW)).encode())
        stream.flush()
        os.fsync(stream.fileno())
    mark(ACKNOWLEDGED)


def rename_synced(folder: Path) -> None:
    """Both are synced."""
    durable.replace(folder / "model", NEW)
    mark(ACKNOWLEDGED)


def store_synced(folder: Path) -> None:
    """By content, with a pointer; everything is synced."""
    durable.replace(folder / "store" / digest(NEW), NEW)
    durable.replace(folder / "pointer", json.dumps(digest(NEW)).encode())
    mark(ACKNOWLEDGED)


def read_file(folder: Path) -> bytes:
    """Return what serves. Raises OSError."""
    return (folder / "model").read_bytes()


def read_store(folder: Path) -> bytes:
    """Return what serves. Raises OSError, ValueError."""
    return (folder / "store" / str(json.loads((folder / "pointer").read_bytes()))).read_bytes()


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a model is replaced, and how what serves is found."""

    replace: Callable[[Path], None]
    read: Callable[[Path], bytes]


PROTOCOLS = {
    "overwrite": Protocol(overwrite, read_file),
    "rename_unsynced": Protocol(rename_unsynced, read_file),
    "rename_unsynced_folder": Protocol(rename_unsynced_folder, read_file),
    "store_unsynced": Protocol(store_unsynced, read_store),
    "pointer_in_place": Protocol(pointer_in_place, read_store),
    "rename_synced": Protocol(rename_synced, read_file),
    "store_synced": Protocol(store_synced, read_store),
}


if __name__ == "__main__":
    _, chosen, place = sys.argv
    (setup if chosen == "setup" else PROTOCOLS[chosen].replace)(Path(place))
