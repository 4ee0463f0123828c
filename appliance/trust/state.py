"""Where an update of one model stands: a small record that proves itself, read by two processes from disk alone."""

import json
import zlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.errors import StateError
from appliance.trust.manifest import Bundle, Manifest, Name, Sha256

FORMAT = 1
RECORD_BYTES_MAX = 256 * 1024
"""A record larger than this is not one."""
REASON_CHARACTERS_MAX = 500
REMEMBERED_MAX = 16
"""Updates that a record remembers a failure of, or a retry; the oldest is forgotten first."""


class Stage(StrEnum):
    """Where an update stands. ``plan.TABLE`` says what follows what."""

    IDLE = "idle"
    METADATA = "metadata"
    PLAN = "plan"
    FETCH = "fetch"
    VERIFY = "verify"
    APPLY = "apply"
    SELFTEST = "selftest"
    TRIAL = "trial"
    COMMITTED = "committed"
    ROLLBACK = "rollback"
    REPORT = "report"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Candidate(_Record):
    """The update under way: its terms as they were signed when it was accepted, and the bundle that brings it."""

    manifest: Manifest
    bundle: Bundle


class Failure(_Record):
    """An update that failed here before its self-test."""

    model_id: Sha256
    times: int = Field(default=0, ge=0)
    """That are held against it: not those when the device could not keep what it must."""
    prefer_whole: bool = False
    """Whether a delta to it did not apply here: next time the whole is fetched, where that is allowed."""


class ModelState(_Record):
    """Everything that must be known of a model's updates after a power cut."""

    model: Name
    generation: int = Field(default=0, ge=0)
    """Rises by one with each record that is written."""
    stage: Stage = Stage.IDLE
    committed: Sha256 | None = None
    """Id of the model that serves; None: the factory's."""
    sequence: int = Field(default=0, ge=0)
    """Of ``committed``; 0 of the factory's."""
    previous: Sha256 | None = None
    """Id of the model that was committed before."""
    candidate: Candidate | None = None
    tries_left: int = Field(default=0, ge=0)
    """Starts of the self-test and the trial that are left: counted down on disk before each, and given back where the
    candidate cannot have ended it."""
    failures: int = Field(default=0, ge=0)
    """Attempts in a row that failed before a self-test, at whichever updates."""
    failed: Annotated[tuple[Failure, ...], Field(max_length=REMEMBERED_MAX)] = ()
    """At which updates, the newest failure last."""
    retried: Annotated[tuple[Sha256, ...], Field(max_length=REMEMBERED_MAX)] = ()
    """Ids of models that failed here and were tried once more, because their publisher asked for it; newest last."""
    writes: int = Field(default=0, ge=0)
    """Records written for the present attempt (Mender's counter): too many of them end it."""
    beginnings: int = Field(default=0, ge=0)
    """How often APPLY was begun and came to no end."""
    skip_runs: int = Field(default=0, ge=0)
    """Runs of the updater that are left out, to back off, unless there is something newer."""
    outcome: Annotated[str, Field(max_length=40)] = ""
    """How the newest attempt ended: ``committed``, ``rolled_back``, ``failed``; empty while there was none."""
    reason: Annotated[str, Field(max_length=REASON_CHARACTERS_MAX)] = ""
    """Why, in words."""
    latest_id: Sha256 | None = None
    """Id of the newest update that is signed for this model."""
    latest_version: Annotated[str, Field(max_length=32)] = ""
    held: Annotated[str, Field(max_length=40)] = ""
    """What the newest update waits for, a word of ``plan.HELD_WORDS``; empty for nothing."""
    fetched_bytes: int = Field(default=0, ge=0)
    """Received and kept in the present attempt, those of a bundle that had to be fetched anew too."""
    seconds: float = Field(default=0.0, ge=0.0)
    """That the updater has worked on the present attempt."""
    attempt: int = Field(default=0, ge=0)
    """Number of the attempt, for reports."""
    told: int = Field(default=0, ge=0)
    """Checksum of the newest report: what repeats itself with every run is told once."""


@dataclass(frozen=True, slots=True)
class Bad:
    """A model that failed here and is not tried again."""

    model_id: str
    reason: str


def encode(state: ModelState) -> bytes:
    """Return a record: JSON with a checksum over its body, one line; the body is a text in it."""
    body = state.model_dump_json()
    crc = zlib.crc32(body.encode())
    return json.dumps({"format": FORMAT, "crc32": crc, "body": body}).encode() + b"\n"


def decode(raw: bytes, model: str) -> ModelState:
    """Read a record of ``model``.

    Raises:
        StateError: it is torn, damaged, of another format or another model.
    """
    try:
        state = ModelState.model_validate_json(_body(raw))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, ValidationError) as error:
        msg = f"the record of {model}'s updates cannot be read: {str(error).partition(chr(10))[0]}"
        raise StateError(msg) from error
    if state.model != model:
        msg = f"the record of {model}'s updates is that of {state.model}"
        raise StateError(msg)
    return state


def _body(raw: bytes) -> str:
    """Return the part that the checksum is over. Raises ValueError, KeyError, TypeError, AttributeError."""
    outer = json.loads(raw[: RECORD_BYTES_MAX + 1])
    body = str(outer["body"])
    if outer["format"] != FORMAT or zlib.crc32(body.encode()) != outer["crc32"]:
        raise ValueError("its checksum does not fit")
    return body


def shorten(reason: str) -> str:
    """Cut a reason to what a record holds."""
    return reason if len(reason) <= REASON_CHARACTERS_MAX else f"{reason[: REASON_CHARACTERS_MAX - 1]}…"


__all__ = ["Bad", "Candidate", "Failure", "ModelState", "Stage", "decode", "encode", "shorten"]
