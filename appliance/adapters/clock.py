"""The device's clocks: the kernel's monotonic one, and a wall clock that is believed only as far as there is proof.

A Raspberry Pi has no battery for its clock: after a power cut it starts in the past and jumps, any distance, when the
network returns. Nothing but display may depend on the wall clock.
"""

import contextlib
import ctypes
import os
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock

from appliance.core.types import ClockState

RELEASED_UTC = datetime(2026, 11, 1, tzinfo=UTC)
"""A time before this is wrong, whoever says it: the code did not exist. Moved on with each release."""
LOOK_INTERVAL_S = 1.0
"""How long the kernel's answer and the floor are taken to stand."""
FLOOR_INTERVAL_S = 3600.0
"""How often ``record_floor`` really writes: 24 small writes a day are nothing to an SD card."""
FLOOR_FILE = "clock-floor"
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
TIMESYNCD_FILE = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd makes this file when it has synchronised the clock in this boot."""

_TIME_ERROR = 5
"""Return value of adjtimex(2): the clock is not synchronised to a reliable server."""
_TIMEX_SIZE_BYTES = 512
"""More than ``struct timex`` takes on any architecture (208 on 64 bits). All zero, it asks and changes nothing."""


def kernel_synced() -> bool:
    """Is the wall clock synchronised? Asks adjtimex(2); where a sandbox refuses that, systemd-timesyncd's file."""
    timex = ctypes.create_string_buffer(_TIMEX_SIZE_BYTES)
    answer = int(ctypes.CDLL(None).adjtimex(timex))
    if answer < 0:
        return TIMESYNCD_FILE.exists()
    return answer != _TIME_ERROR


def judge(wall_utc: datetime, floor_utc: datetime, *, synced: bool) -> ClockState:
    """How far ``wall_utc`` can be believed.

    Args:
        wall_utc: What the wall clock says.
        floor_utc: The newest time that was certainly reached: of the release, or of the floor file.
        synced: Whether the kernel says that the clock is synchronised.

    Returns:
        UNSYNCED before the release whatever the kernel says (a server can lie, too); else SYNCED when synchronised;
        else FLOOR when not before the floor.
    """
    if wall_utc < RELEASED_UTC:
        return ClockState.UNSYNCED
    if synced:
        return ClockState.SYNCED
    return ClockState.FLOOR if wall_utc >= floor_utc else ClockState.UNSYNCED


def _read_boot_id() -> str:
    """The kernel's id of this boot. Where a sandbox hides it, one for this process orders its events as well."""
    try:
        return BOOT_ID_FILE.read_text("ascii").strip()
    except OSError:
        return str(uuid.uuid4())


def _wall_utc() -> datetime:
    return datetime.now(UTC)


class SystemClock:
    """Implements ``ports.Clock``; for any thread."""

    def __init__(
        self,
        state_dir: Path | None = None,
        *,
        wall_utc: Callable[[], datetime] = _wall_utc,
        synced: Callable[[], bool] = kernel_synced,
    ) -> None:
        """Keep the floor in ``state_dir``; without one, only the release is a floor.

        ``wall_utc`` and ``synced`` stand for the kernel, so that its wall clock can jump where nobody may set it.
        """
        self._floor_file = state_dir / FLOOR_FILE if state_dir else None
        self._wall_utc = wall_utc
        self._ask_synced = synced
        self._boot_id = _read_boot_id()
        self._lock = Lock()
        self._looked_s = -LOOK_INTERVAL_S
        self._floor_utc = RELEASED_UTC
        self._synced = False
        self._recorded_s: float | None = None

    @property
    def boot_id(self) -> str:
        """The kernel's random id of this boot."""
        return self._boot_id

    def monotonic_s(self) -> float:
        """``CLOCK_MONOTONIC`` in seconds."""
        return time.monotonic()

    def now_utc(self) -> datetime | None:
        """The wall clock, or None while it is before what is certain."""
        wall_utc = self._wall_utc()
        return None if self._judge(wall_utc) is ClockState.UNSYNCED else wall_utc

    def state(self) -> ClockState:
        """How far the wall clock can be believed; a synchronisation is noticed within ``LOOK_INTERVAL_S``."""
        return self._judge(self._wall_utc())

    def wait(self, event: Event, timeout_s: float) -> bool:
        """Block until ``event`` is set or ``timeout_s`` has passed; Python waits on ``CLOCK_MONOTONIC``."""
        return event.wait(timeout_s)

    def record_floor(self) -> bool:
        """Keep the present time as proof for the next boot, if it is synchronised; say whether it was written now.

        To be called now and then: it writes once in ``FLOOR_INTERVAL_S``. A clock that is not synchronised is never
        recorded: one jump into the future would make every right time look wrong. A file system that refuses
        (full, read-only) costs the proof, and nothing else.
        """
        now_s = self.monotonic_s()
        wall_utc = self._wall_utc()
        if self._floor_file is None or self._judge(wall_utc) is not ClockState.SYNCED:
            return False
        with self._lock:
            if self._recorded_s is not None and now_s - self._recorded_s < FLOOR_INTERVAL_S:
                return False
            self._recorded_s = now_s
        with contextlib.suppress(OSError):
            self._floor_file.touch()
            os.utime(self._floor_file, (wall_utc.timestamp(), wall_utc.timestamp()))
            return True
        return False

    def _judge(self, wall_utc: datetime) -> ClockState:
        with self._lock:
            now_s = self.monotonic_s()
            if now_s - self._looked_s >= LOOK_INTERVAL_S:
                self._looked_s = now_s
                self._synced = self._ask_synced()
                self._floor_utc = self._read_floor()
            return judge(wall_utc, self._floor_utc, synced=self._synced)

    def _read_floor(self) -> datetime:
        if self._floor_file is None:
            return RELEASED_UTC
        try:
            recorded_utc = datetime.fromtimestamp(self._floor_file.stat().st_mtime, UTC)
        except (OSError, ValueError, OverflowError):  # no file yet, or a time no calendar knows
            return RELEASED_UTC
        return max(RELEASED_UTC, recorded_utc)
