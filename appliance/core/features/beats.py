"""Heartbeats of one ECG lead, each against the wearer's own: the extractor behind ``[extract] kind = "beats"``."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.core.features.beat_features import NAMES, WORDS, BeatWindow, compare
from appliance.core.features.ecg import Signal, find_beats, measure_quality, quality_fault
from appliance.core.features.wearer import Wearer
from appliance.core.model import BeatsExtract
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import FrameError, NoScoreError, NoSignalError

AFTER_S = 2.0
"""What follows the judged region: the next beat, and the pause after an early one, must be seen."""
KEY = "baseline"
"""The one thing that is remembered."""
LEARNING = "learning the wearer's own heartbeat"


@dataclass(frozen=True, slots=True, eq=False)
class JudgedBeat:
    """One heartbeat of a window, as a vector of ``NAMES``."""

    position: float
    """Samples from the window's start."""
    vector: NDArray[np.float32]


class Beats:
    """Implements ``Extractor``: each heartbeat of the judged region against the wearer's own.

    The judged region has the length of the stride and ends ``AFTER_S`` before the window does, so that windows that
    follow one another judge every beat once. Where it holds none, the last beat before it is judged again: a pause is
    not silence. A window that was superseded leaves its beats unjudged.
    """

    names = NAMES
    words = WORDS

    def __init__(self, extract: BeatsExtract) -> None:
        """Know nothing about the wearer yet."""
        self._rate_hz = extract.rate_hz
        self._length = extract.length
        self._to = extract.length - round(AFTER_S * extract.rate_hz)
        self._from = self._to - extract.stride
        self._wearer = Wearer(extract.calibration_beats)

    def __call__(self, frame: Frame) -> tuple[Array, ...]:
        """Return one vector a heartbeat of the judged region.

        Raises FrameError when the frame is no window of one lead of the right length, NoSignalError when it is no ECG
        that could be judged, NoScoreError while the wearer's own beat is being learned.
        """
        return tuple(beat.vector for beat in self.judge(frame))

    def judge(self, frame: Frame) -> tuple[JudgedBeat, ...]:
        """As calling it, with the position of each beat."""
        signal = self._signal(frame)
        positions = find_beats(signal, self._rate_hz)
        fault = quality_fault(measure_quality(signal, self._rate_hz, positions))
        if fault:
            raise NoSignalError(fault)
        window = BeatWindow(signal, positions, self._rate_hz)
        judged = self._judged(window)
        if self._wearer.baseline is None:
            self._wearer.add([window.candidate(index) for index in judged if window.usable(index)])
            raise NoScoreError(LEARNING)
        compared = compare(window, self._wearer.baseline)
        beats = tuple(JudgedBeat(positions[index], compared.vector(index)) for index in judged)
        for index in judged:
            if window.usable(index):
                self._wearer.follow(window.candidate(index, compared.shifts_s[index]))
        return beats

    def changes(self, entries_max: int) -> dict[str, bytes]:
        """Hand out the wearer's baseline when it was learned or has changed enough since."""
        if entries_max < 1:
            return {}
        data = self._wearer.handed_out()
        return {} if data is None else {KEY: data}

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Go on with the baseline that was handed out; without it, or with a damaged one, learn anew."""
        if KEY in entries:
            self._wearer.take_back(entries[KEY])

    def _signal(self, frame: Frame) -> Signal:
        """Return the lead. Raises FrameError."""
        data = frame.data
        if frame.kind is not FrameKind.WINDOW or data.shape != (self._length, 1):
            msg = f"the frame is {frame.kind.value} {list(data.shape)}; beats are found in window [{self._length}, 1]"
            raise FrameError(msg)
        signal: Signal = data[:, 0].astype(np.float64)
        if not np.isfinite(signal).all():
            raise FrameError("some samples are NaN or infinite; finite numbers are wanted")
        return signal

    def _judged(self, window: BeatWindow) -> list[int]:
        """Indices of the beats in the judged region, or of the last one before it, or of the first there is."""
        inside = np.flatnonzero((window.positions >= self._from) & (window.positions < self._to))
        if len(inside):
            return [int(index) for index in inside]
        return [max(0, int(np.searchsorted(window.positions, self._from)) - 1)]
