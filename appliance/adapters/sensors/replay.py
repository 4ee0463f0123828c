"""A recording played as a sensor: for benches, bug reports and golden runs.

An ``.npz`` (compressed or not) with the arrays

=================  ==================  =============================================================================
``kind``           one word, ``[1]``   ``image``, ``window`` or ``record``
``frames``         ``[n, ...]``        image: uint8 ``[n, height, width, 3]``, BGR; window: float32
                                       ``[n, length, channels]``; record: float64 or float32 ``[n, fields]``
``times_s``        ``[n]``             when each was captured, seconds from any start, never falling
``signal_faults``  ``[n]`` words       optional: why a frame is no signal; empty for good ones
``context``        ``[n, k]`` words    optional: words that came with each record, a card's token for one
``context_keys``   ``[k]`` words       what those words are
=================  ==================  =============================================================================

At speed ``real``, frames come at their times; a slow loop sees the newest image or window, and every record (a
question is not superseded by the next one). At speed ``fast`` each frame comes at once and none is left out. A
recording closed in its middle goes on when it is opened again, as the world would; after its end it starts anew.
One frame is in memory at a time, and 8 bytes for each time.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

import numpy as np
from numpy.typing import ArrayLike, NDArray

from appliance.adapters.sensors.recording import ROWS_MAX, Contexts, Rows, has_array, read_times, read_words
from appliance.config import ReplayConfig
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import EndOfRecording, Idle, SensorError
from appliance.ports import SensorContext

INTERVAL_S = 0.1
"""From the last frame to the first of the next round where the recording has only one."""
_FORM = {
    FrameKind.IMAGE: (("uint8",), 4),
    FrameKind.WINDOW: (("float32",), 3),
    FrameKind.RECORD: (("float64", "float32"), 2),
}
"""Element types and number of dimensions of ``frames``."""


def write_recording(
    file: Path,
    kind: FrameKind,
    frames: Array,
    times_s: ArrayLike,
    signal_faults: Sequence[str] = (),
    *,
    context: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write a recording that ``Replay`` plays; ``frames`` as in the table above, ``context`` by key. Raises OSError."""
    times = np.asarray(times_s, dtype=np.float64)
    dtypes, dimensions = _FORM[kind]
    assert frames.dtype in dtypes, f"{kind} frames are {dtypes[0]}, not {frames.dtype}"
    assert frames.ndim == dimensions, f"{kind} frames have {dimensions} dimensions, not {frames.ndim}"
    assert times.shape == (len(frames),), "one time a frame"
    assert np.isfinite(times).all(), "times are finite"
    assert (np.diff(times) >= 0).all(), "times never fall"
    assert len(signal_faults) in {0, len(frames)}, "one signal fault a frame, or none at all"
    faults = np.array(signal_faults or [""] * len(frames), "U16")
    arrays = {"kind": np.array([kind.value], "U16"), "frames": frames, "times_s": times, "signal_faults": faults}
    if context:
        arrays["context_keys"] = np.array(list(context), "U16")
        arrays["context"] = np.ascontiguousarray(np.array(list(context.values()), "U16").T)
    with file.open("wb") as stream:  # a stream: NumPy would add .npz to the name
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]  # its keyword `allow_pickle` confuses the checker


class Replay:
    """Implements ``ports.Sensor``."""

    def __init__(self, config: ReplayConfig, context: SensorContext) -> None:
        """Touches nothing yet."""
        self._file = config.file
        self._real = self.newest_only = config.speed == "real"
        self._repeat = config.repeat
        self._context = context
        self._rows: Rows | None = None
        self._contexts: Contexts | None = None
        self._kind = FrameKind.IMAGE
        self._times_s: NDArray[np.float64] = np.empty(0)
        self._signal_faults: list[str] = []
        self._position = 0
        self._seq = 0
        self._starts_s = 0.0
        """When the first frame of this round is due."""

    def open(self) -> None:
        """Read the times, find the first frame. Raises SensorError."""
        assert self._rows is None, f"{self._file}: opened twice"
        self._kind = self._read_kind()
        rows = self._open_rows()
        try:
            self._times_s = read_times(self._file, "times_s", rows.count)
            self._times_s -= self._times_s[0]
            has_faults = has_array(self._file, "signal_faults")
            self._signal_faults = read_words(self._file, "signal_faults", rows.count) if has_faults else []
            if not 0 < self._position < rows.count:
                self._position = 0
                self._starts_s = self._context.clock.monotonic_s()
            self._contexts = Contexts(self._file, rows.count)
            self._contexts.skip(self._position)
            rows.skip(self._position)
        except SensorError:
            rows.close()
            raise
        self._rows = rows

    def capture(self, timeout_s: float) -> Frame:
        """Return the newest frame that is due. Raises SensorError, Idle (records only), EndOfRecording."""
        assert self._rows is not None, f"{self._file}: capture before open"
        if self._position == len(self._times_s):
            self._rows = self._next_round(self._rows)
        if self._real:
            self._wait(timeout_s)
            self._skip_superseded(self._rows)
        return self._frame(self._rows)

    def close(self) -> None:
        """Let the file go. Idempotent; never raises."""
        if self._rows is not None:
            self._rows.close()
            self._rows = None
        if self._contexts is not None:
            self._contexts.close()
            self._contexts = None

    def _read_kind(self) -> FrameKind:
        """Return what the recording is of."""
        kind = read_words(self._file, "kind", 1)[0]
        if kind not in set(FrameKind):
            msg = f"{self._file}: is of kind {kind!r}, known are {', '.join(FrameKind)}"
            raise SensorError(msg)
        return FrameKind(kind)

    def _open_rows(self) -> Rows:
        """Open the frames and check their form."""
        rows = Rows(self._file, "frames")
        dtypes, dimensions = _FORM[self._kind]
        fits = rows.dtype.name in dtypes and len(rows.row_shape) + 1 == dimensions
        if not fits or (self._kind is FrameKind.IMAGE and rows.row_shape[-1] != 3):  # noqa: PLR2004 - BGR
            rows.close()
            msg = f"{self._file}: frames of kind {self._kind} cannot be {rows.dtype} {[rows.count, *rows.row_shape]}"
            raise SensorError(msg)
        if not 0 < rows.count <= ROWS_MAX:
            rows.close()
            msg = f"{self._file}: has no frames"
            raise SensorError(msg)
        return rows

    def _due_s(self, position: int) -> float:
        """When a frame of this round comes."""
        return self._starts_s + float(self._times_s[position])

    def _wait(self, timeout_s: float) -> None:
        """Wait for the next frame's time. When it does not come within ``timeout_s``, raises Idle or SensorError.

        A terminal that asks nothing is well; a camera that shows nothing has stalled.
        """
        early_s = self._due_s(self._position) - self._context.clock.monotonic_s()
        if early_s <= 0:
            return
        self._context.clock.wait(Event(), min(early_s, timeout_s))
        if early_s <= timeout_s:
            return
        if self._kind is FrameKind.RECORD:
            raise Idle("the recording has no record for this moment")
        msg = f"{self._file}: no frame for {timeout_s:g} s; the recording has a hole here"
        raise SensorError(msg)

    def _skip_superseded(self, rows: Rows) -> None:
        """Pass over images and windows whose successor is due as well."""
        if self._kind is FrameKind.RECORD:
            return
        now_s = self._context.clock.monotonic_s()
        while self._position + 1 < len(self._times_s) and self._due_s(self._position + 1) <= now_s:
            rows.skip(1)
            self._words().skip(1)
            self._position += 1
            self._seq += 1
            self._context.meter.count("edge_frames_dropped_total", channel=self._context.channel, reason="superseded")

    def _frame(self, rows: Rows) -> Frame:
        """Read the frame at the position and step on."""
        data = rows.read(1)[0]
        if self._kind is FrameKind.RECORD:
            data = data.astype(np.float64)
        context = self._words().read()
        fault = self._signal_faults[self._position] if self._signal_faults else ""
        now_s = self._context.clock.monotonic_s()
        captured_s = min(self._due_s(self._position), now_s) if self._real else now_s
        frame = Frame(self._kind, data, captured_s, self._seq, signal_fault=fault, context=context)
        self._position += 1
        self._seq += 1
        return frame

    def _next_round(self, rows: Rows) -> Rows:
        """Begin again. Raises EndOfRecording when the recording is played once only."""
        if not self._repeat:
            msg = f"{self._file}: played to its end"
            raise EndOfRecording(msg)
        frames = len(self._times_s)
        length_s = float(self._times_s[-1])
        self._starts_s += length_s + (length_s / (frames - 1) if length_s else INTERVAL_S)
        rows.close()
        self._words().close()
        self._position = 0
        self._contexts = Contexts(self._file, frames)
        return self._open_rows()

    def _words(self) -> Contexts:
        """The words of the open recording."""
        assert self._contexts is not None, "words of a recording that is not open"
        return self._contexts
