"""A window of vibration as numbers that mean the same at any speed of the shaft.

The shaft's speed is read from the spectrum itself, and what belongs to the shaft is measured in orders (multiples of
the speed) and corrected for the speed; so a model that learned a machine at some speeds can judge it at others.
All features are decibels, of three families:

- lines at ``ORDERS``: imbalance shows at 1, misalignment at 2 and 3, looseness at odd halves;
- levels in bands of equal width on a logarithmic scale of frequency: flow, friction, resonances;
- the envelope of a high band, where a damaged bearing rings at each blow (Randall and Antoni, Rolling element bearing
  diagnostics, Mechanical Systems and Signal Processing 25, 2011): how far its spectrum rises above its own floor at
  each half order, so that no bearing's geometry need be known.

Where the speed is read wrong: a machine that rattles in a pattern of two turns reads as one at half the speed; the
even blows of a damaged bearing may be taken for a shaft that turns that fast, where ``shaft_hz`` reaches so far;
without any line a speed is guessed. The lines are then taken at wrong orders, which is unusual in itself, but the
names of the features mislead. A narrow ``shaft_hz`` is the cure.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from appliance.core.model import SpectrumExtract
from appliance.core.types import Array, Frame
from appliance.errors import FrameError, NoScoreError

ORDERS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
ENVELOPE_ORDERS = tuple(half / 2 for half in range(1, 17))
"""0.5 to 8. Of bearings with 6 to 12 balls, one passes the outer race 2.3 to 5 times a turn, the inner 3.6 to 7.4."""
REFERENCE_HZ = 25.0
"""Speed for which corrected levels are stated."""
NOT_RUNNING = "the machine is not running"

_WORDS: Mapping[str, str] = {
    "level": "the whole machine vibrates more or less than it did",
    "envelope_level": "more or less high frequency than there was",
    "kurtosis": "the vibration has blows in it",
    "crest": "the vibration has blows in it",
    "envelope_kurtosis": "the high frequencies come in blows",
    "envelope_crest": "the high frequencies come in blows",
    "order_1": "the line at the shaft's speed changed, as with imbalance",
    "order_2": "the line at twice the shaft's speed changed, as with misalignment",
    "order_3": "the line at three times the shaft's speed changed, as with misalignment",
    **{f"order_{order:g}": "the line at an odd half order changed, as with looseness" for order in (0.5, 1.5, 2.5)},
    "envelope_1": "the high frequencies come and go once a turn",
    **{
        f"envelope_{half / 2:g}": "the high frequencies come and go as balls pass a damage in a bearing"
        for half in range(5, 16)
    },
}
"""What a technician may think of first; a hint, not a diagnosis."""
_Real = NDArray[np.float64]
_LINE_BINS = 2
"""Half width of a line in the spectrum of a Hann window."""
_LINE_WIDTH = 0.01
"""Half width of a line, as a fraction of its frequency: the speed is not quite steady, nor read exactly."""
_COMB = np.arange(1.0, 7.0)
_COMB_STEP = 0.001
"""Candidates for the speed stand this far apart, relatively: half a bin at order 6 of 60 Hz in 0.8 Hz bins."""
_RISE_MAX = 3.0
"""Nepers (of power) by which one line can speak for a speed: no single strong line decides."""
_FADE = 1 / 16
"""Fraction of the window, at each end, over which it is faded before its high band is taken."""
_NEIGHBOURS = 33
"""Bins whose median is taken as the spectrum's floor around the one in their middle."""
_TINY = 1e-30
"""Keeps logarithms and quotients finite where a signal has no power at all."""


class Spectrum:
    """Implements ``Extractor``; remembers nothing."""

    def __init__(self, extract: SpectrumExtract) -> None:
        """All that depends on the settings alone is computed here, once. ``extract`` is verified."""
        self.names = _names(extract.bands)
        self.words: Mapping[str, str] = {name: words for name, words in _WORDS.items() if name in self.names}
        self._extract = extract
        length, rate_hz = extract.length, extract.rate_hz
        self._bin_hz = rate_hz / length
        self._taper = np.hanning(length + 1)[:length]
        # One sided, so that the powers of all bins sum up to the signal's mean square.
        self._scale = 2.0 / (length * float(np.square(self._taper).sum()))
        ends = np.minimum(np.arange(length), np.arange(length)[::-1]) / (_FADE * length)
        self._fade = 0.5 - 0.5 * np.cos(np.pi * np.minimum(ends, 1.0))
        self._floor = extract.floor**2
        bins = np.arange(length // 2 + 1) * self._bin_hz
        self._ringing = (bins >= extract.envelope_hz[0]) & (bins <= extract.envelope_hz[1])
        edges = np.searchsorted(bins, np.geomspace(extract.shaft_hz[0] / 2, rate_hz / 2, extract.bands + 1))
        self._edges = np.maximum(edges, edges[0] + np.arange(len(edges)))[:-1]
        slow_hz, fast_hz = extract.shaft_hz
        self._candidates_hz = np.geomspace(slow_hz, fast_hz, 2 + int(np.log(fast_hz / slow_hz) / _COMB_STEP))

    def __call__(self, frame: Frame) -> tuple[Array, ...]:
        """Return one vector: float32 ``[features]``.

        Raises FrameError unless the frame is float32 ``[length, 1]`` of finite numbers, NoScoreError when the machine
        stands still.
        """
        signal = self._signal(frame.data)
        if float(signal.std()) < self._extract.rms_min:
            raise NoScoreError(NOT_RUNNING)
        power, envelope = self._powers(signal), self._envelope(signal)
        shaft_hz = self._shaft_hz(power)
        speed_db = 20.0 * self._extract.speed_exponent * np.log10(shaft_hz / REFERENCE_HZ)
        levels = np.array((power.sum(), np.square(envelope).mean()))
        vector = np.concatenate(
            (
                self._decibels(levels) - speed_db,
                _shape(signal),
                _shape(envelope),
                self._decibels(self._lines(power, shaft_hz)) - speed_db,
                self._decibels(np.add.reduceat(power, self._edges)) - speed_db,
                self._rises(envelope, shaft_hz),
            )
        )
        return (vector.astype(np.float32),)

    def shaft_hz(self, window: Array) -> float:
        """Return the shaft's speed as read from a window, in turns a second; always within ``shaft_hz``."""
        return self._shaft_hz(self._powers(self._signal(window)))

    def changes(self, entries_max: int) -> dict[str, bytes]:  # noqa: ARG002 - as the protocol has it
        """Give nothing: nothing is remembered."""
        return {}

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Take nothing: nothing is remembered."""

    def _signal(self, window: Array) -> _Real:
        """Return a window's samples less their mean (gravity, an offset), wide enough for fourth powers."""
        wanted = (self._extract.length, 1)
        if window.shape != wanted or window.dtype != np.float32:
            msg = f"the frame is {window.dtype} {list(window.shape)}; the model takes float32 {list(wanted)}"
            raise FrameError(msg)
        signal = window[:, 0].astype(np.float64)
        if not np.isfinite(signal).all():
            raise FrameError("the window holds NaN or infinity; finite numbers are wanted")
        return np.asarray(signal - signal.mean())

    def _powers(self, signal: _Real) -> _Real:
        """Return the mean square in each bin, ``[length // 2 + 1]``."""
        power: _Real = np.square(np.abs(np.fft.rfft(signal * self._taper))) * self._scale
        return power

    def _decibels(self, power: _Real) -> _Real:
        """Say mean squares as levels above 1; all under the sensor's own noise read alike."""
        return np.asarray(10.0 * np.log10(power + self._floor + _TINY))

    def _shaft_hz(self, power: _Real) -> float:
        """Find the speed at whose orders lines stand."""
        reach = min(len(power), int((_COMB[-1] + 1) * self._candidates_hz[-1] / self._bin_hz) + _NEIGHBOURS)
        rise = self._rise(power[:reach])
        at = np.rint(_COMB[:, np.newaxis] * self._candidates_hz / self._bin_hz).astype(np.intp)
        best = int(np.argmax((rise[at] / np.sqrt(_COMB)[:, np.newaxis]).sum(axis=0)))
        return self._refined(power, rise, float(self._candidates_hz[best]))

    def _rise(self, power: _Real) -> _Real:
        """Say how far each bin rises above the floor around it: 0 to ``_RISE_MAX`` nepers."""
        padded = np.pad(power, _NEIGHBOURS // 2, mode="reflect")
        floor = np.median(np.lib.stride_tricks.sliding_window_view(padded, _NEIGHBOURS), axis=1)
        above = np.log((power + self._floor / 100 + _TINY) / (floor + self._floor / 100 + _TINY))
        return np.asarray(np.clip(above - 1.0, 0.0, _RISE_MAX))

    def _refined(self, power: _Real, rise: _Real, shaft_hz: float) -> float:
        """Average what the lines say, each read at its centre of power; high orders say it more exactly."""
        middle = np.rint(_COMB * shaft_hz / self._bin_hz).astype(np.intp)
        bins = middle[:, np.newaxis] + np.arange(-_LINE_BINS, _LINE_BINS + 1)
        around = power[bins] + _TINY
        read_hz = (around * bins).sum(axis=1) / around.sum(axis=1) * self._bin_hz / _COMB
        trust = rise[middle] * _COMB + _TINY
        return float(np.clip((read_hz * trust).sum() / trust.sum(), *self._extract.shaft_hz))

    def _lines(self, power: _Real, shaft_hz: float) -> _Real:
        """Return the mean square of the line at each of ``ORDERS``."""
        line_hz = np.array(ORDERS) * shaft_hz
        half_bins = np.maximum(_LINE_BINS, line_hz * _LINE_WIDTH / self._bin_hz)
        first = np.ceil(line_hz / self._bin_hz - half_bins).astype(np.intp)
        last = np.floor(line_hz / self._bin_hz + half_bins).astype(np.intp)
        total = np.concatenate(([0.0], np.cumsum(power)))
        return np.asarray(total[last + 1] - total[first])

    def _envelope(self, signal: _Real) -> _Real:
        """Return the envelope of the high band, ``[length]``: the modulus of its analytic signal.

        Where the window fades, the envelope's mean: unfaded, the step from its end to its beginning would ring.
        """
        spectrum = np.zeros(len(signal), dtype=np.complex128)
        spectrum[: len(self._ringing)] = np.fft.rfft(signal * self._fade) * self._ringing * 2.0
        envelope = np.abs(np.fft.ifft(spectrum))
        inner = self._fade == 1.0
        return np.asarray(np.where(inner, envelope, envelope[inner].mean()))

    def _rises(self, envelope: _Real, shaft_hz: float) -> _Real:
        """Say how far the envelope's spectrum rises above its own floor around each of ``ENVELOPE_ORDERS``."""
        power = self._powers(envelope - envelope.mean()) + _TINY
        halves = np.array((*ENVELOPE_ORDERS, ENVELOPE_ORDERS[-1] + 0.5)) - 0.25
        edges = np.rint(halves * shaft_hz / self._bin_hz).astype(np.intp)
        peaks = np.maximum.reduceat(power[: edges[-1]], edges[:-1])
        return np.asarray(10.0 * np.log10(peaks / np.median(power[edges[0] : edges[-1]])))


def _names(bands: int) -> tuple[str, ...]:
    """Name the features, in the order of a vector."""
    return (
        *("level", "envelope_level", "kurtosis", "crest", "envelope_kurtosis", "envelope_crest"),
        *(f"order_{order:g}" for order in ORDERS),
        *(f"band_{number}" for number in range(1, bands + 1)),
        *(f"envelope_{order:g}" for order in ENVELOPE_ORDERS),
    )


def _shape(values: _Real) -> _Real:
    """Return how peaked a signal is, by its fourth moment and by its greatest value; decibels, bounded below by 0."""
    centred = values - values.mean()
    square = float(np.square(centred).mean()) + _TINY
    kurtosis = float(np.square(np.square(centred)).mean()) / square**2
    crest = float(np.square(centred).max()) / square
    return 10.0 * np.log10(np.array((kurtosis, crest)) + _TINY)
