"""What is known of an Edge TPU over a reboot, in one small file for each: ``tpu-<name>.json`` in the state folder.

A power cut at any moment leaves the file as it was or as it was to be: the new content is written and synced beside
it, takes its name in one step, and the folder is synced after that. A file that cannot be read costs what was kept,
and a disk that cannot be written keeps nothing new; both are logged, and neither ends anything.
"""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from appliance.adapters import durable
from appliance.log import FaultLog, get
from appliance.schema import Section

FORM_VERSION: Literal[1] = 1
FILE_BYTES_MAX = 1024
"""A file larger than this is not one of ours: the largest of them takes some 200 bytes."""
COUNT_MAX = 1000
"""A count above it is absurd, and is read as this: still beyond every budget."""
_PATH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What kernel names of ports and devices look like; it becomes part of a path under ``/sys``."""

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of one Edge TPU. The default is what is known of one that was never seen."""

    replace_hardware: bool = False
    """It was given up, and has not been stable since."""
    rounds: int = 0
    """Rounds of the recovery ladder without a stable return."""
    dfu_rounds: int = 0
    """Of these, in a row, those that ended with the device in its bootloader."""
    path: str = ""
    """Where it was last seen: ``1-1.4`` as the kernel names USB ports, or ``apex_0``; empty: never."""


class _Form(Section):
    """The file."""

    version: Literal[1]
    replace_hardware: bool
    rounds: int
    dfu_rounds: int
    path: str


class LadderFile:
    """Keeps what is known of one Edge TPU. For one thread at a time, and not for the loop's: a disk may be slow."""

    def __init__(self, folder: Path, name: str, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        """Touches nothing yet.

        Args:
            folder: the appliance's state folder; made by the first ``save`` where it is not there.
            name: the Edge TPU's key under ``tpus`` of the configuration.
            monotonic_s: spaces repeated complaints about the disk.
        """
        self._file = folder / f"tpu-{name}.json"
        self._part = folder / f"tpu-{name}.json.part"
        self._faults = FaultLog(_log, monotonic_s)
        self._on_disk: Kept | None = None
        """What the file would be read as; None while that is not known."""

    def load(self) -> Kept:
        """Return what was kept; an empty Kept where there is no file, or none that can be used."""
        try:
            with self._file.open("rb") as stream:
                raw = stream.read(FILE_BYTES_MAX + 1)
            kept = _parse(raw)
        except FileNotFoundError:
            _log.info("nothing is kept of this Edge TPU yet", file=str(self._file))
            kept = Kept()
        except OSError as error:
            return self._unusable(f"{self._file}: cannot be read: {error.strerror}")
        except ValueError as error:
            return self._unusable(f"{self._file}: damaged, or of another version: {error}")
        self._on_disk = kept
        return kept

    def save(self, kept: Kept) -> None:
        """Write ``kept``, unless it is there already. Never raises for a disk that cannot be written.

        Once it has returned without a complaint in the log, a power cut does not undo it.
        """
        kept = _sound(kept)
        if kept == self._on_disk:
            return
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._on_disk = None  # until it has ended, it may be the one or the other
            content = _Form(version=FORM_VERSION, **asdict(kept)).model_dump_json().encode() + b"\n"
            durable.replace(self._file, content, part=self._part)
        except OSError as error:
            self._faults.failed(self._file.name, f"{self._file}: cannot be written: {error.strerror}")
            return
        self._on_disk = kept
        self._faults.recovered(self._file.name)

    def _unusable(self, reason: str) -> Kept:
        self._on_disk = None
        self._faults.failed(self._file.name, reason)
        return Kept()


def _parse(raw: bytes) -> Kept:
    """Read a file's content. Raises ValueError for what is not of this form."""
    if len(raw) > FILE_BYTES_MAX:
        msg = f"larger than {FILE_BYTES_MAX} bytes"
        raise ValueError(msg)
    try:
        form = _Form.model_validate_json(raw, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        msg = f"{'.'.join(str(part) for part in fault['loc'])} {fault['msg']}".strip()
        raise ValueError(msg) from error
    return _sound(Kept(form.replace_hardware, form.rounds, form.dfu_rounds, form.path))


def _sound(kept: Kept) -> Kept:
    """Clamp counts, and drop a path that no kernel gives: what is sound beside them must not be lost with them."""
    return Kept(
        kept.replace_hardware,
        rounds=min(max(0, kept.rounds), COUNT_MAX),
        dfu_rounds=min(max(0, kept.dfu_rounds), COUNT_MAX),
        path=kept.path if _PATH.fullmatch(kept.path) else "",
    )
