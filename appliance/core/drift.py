"""Heat of a device without a thermometer: its invokes grow slower, and a lower clock for a while is the answer. Pure.

The Coral USB stick neither measures its temperature nor slows itself down (libedgetpu has no throttling for USB), but
its clock is a choice of software, made when it is loaded. So ``Drift`` watches each model's invoke times, and
``Cooling`` chooses the level for the device. Steps, baselines and waits are choices of ours, with these reasons:

- A baseline is learned anew after each load, because it belongs to a level, and because what else runs on the device
  changes it too: a second model costs one step and half an hour, not a fall to the lowest level and oscillation for
  ever. The price: a device that is loaded while it is hot is judged by what it does when it is hot.
- One step down at most in ``STEP_INTERVAL_S``: heat takes minutes to come and to go.
- One step up after ``COOLING_S`` without drift, towards what is configured and never above it.
- Each step is a load of some seconds, in which the CPU answers.
"""

import math

from appliance.core.window import Window

PERFORMANCES = ("low", "medium", "high", "max")
"""Levels of libedgetpu's ``Performance``, slowest and coolest first."""
SETTLING_INVOKES = 8
"""The first invokes after a load, which carry the weights to the device, are no measure."""
WINDOW_INVOKES = 64
"""Invokes of the baseline, and of what is compared with it: medians of so many stand still under single hiccups."""
DRIFT_S_MIN = 0.001
"""Slower by this at least: a model of a tenth of a millisecond doubles its time when the host is busy."""
DRIFT_FACTOR = 1.5
"""Slower than the baseline by this: far beyond what medians scatter, and early (the PCIe driver's first step is 2)."""
_LEARNING_INVOKES = SETTLING_INVOKES + WINDOW_INVOKES
"""When so many were observed, the window holds the baseline, and what came before has left it."""
RECOMPUTE_INVOKES = 16
"""The window is sorted once in so many invokes, which keeps an observation at a few microseconds on average."""
STEP_INTERVAL_S = 300.0
"""At most one step down in this time, counted from the last step, or from the start."""
COOLING_S = 1800.0
"""Without drift for this long, one step back up."""


class Drift:
    """Whether one model on one device has become slow since it was loaded. For one thread at a time."""

    def __init__(self) -> None:
        """Begin as after a load."""
        self._took_s = Window(WINDOW_INVOKES)
        self._left = _LEARNING_INVOKES
        self._baseline_s: float | None = None
        self._slow = False
        self._told = False

    @property
    def slow(self) -> bool:
        """Whether its newest invokes are slower than the baseline by more than DRIFT_FACTOR now."""
        return self._slow

    def reloaded(self) -> None:
        """Learn another baseline: the device was loaded again, perhaps at another level."""
        self._left = _LEARNING_INVOKES
        self._baseline_s = None
        self._slow = False
        self._told = False

    def observe(self, took_s: float) -> bool:
        """Take into account an invoke that succeeded; say whether it has become slow, once after each load.

        Args:
            took_s: seconds that it took, 0 or more.
        """
        assert took_s >= 0.0, took_s
        self._took_s.add(took_s)
        self._left -= 1
        if self._left > 0:
            return False
        self._left = RECOMPUTE_INVOKES
        # By nearest rank, which of an even number is the lower of the two in the middle, in both medians.
        median_s = self._took_s.quantile(0.5)
        assert median_s is not None, "something was observed"
        if self._baseline_s is None:
            self._baseline_s = median_s
        self._slow = median_s > max(DRIFT_FACTOR * self._baseline_s, self._baseline_s + DRIFT_S_MIN)
        first, self._told = self._slow and not self._told, self._told or self._slow
        return first


def slower(performance: str) -> str | None:
    """Return the level below ``performance``, one of PERFORMANCES; None below the lowest."""
    place = PERFORMANCES.index(performance)
    return PERFORMANCES[place - 1] if place else None


class Cooling:
    """The level that one device is run at, by its models' drift. For one thread at a time.

    Whoever runs the device says ``slowed`` while a model's ``Drift`` is ``slow`` after an invoke, asks ``choose`` about
    once a second, loads the device again when that returns another level, and says ``reloaded`` to every ``Drift``.
    """

    def __init__(self, configured: str, now_s: float) -> None:
        """Begin at the level that is configured.

        Args:
            configured: one of PERFORMANCES.
            now_s: monotonic time, seconds.
        """
        self._configured = PERFORMANCES.index(configured)
        self._level = self._configured
        self._stepped_s = now_s
        self._slowed_s = -math.inf

    @property
    def performance(self) -> str:
        """Level for the next load; one of PERFORMANCES."""
        return PERFORMANCES[self._level]

    @property
    def active(self) -> bool:
        """Whether that is below what is configured."""
        return self._level < self._configured

    def slowed(self, now_s: float) -> None:
        """Hear that a model's invokes are slow at ``now_s``. One that was slow stays so until the next step."""
        self._slowed_s = max(self._slowed_s, now_s)

    def choose(self, now_s: float) -> str:
        """Return the level to run at from ``now_s`` on, at most one step from the one before."""
        lower = slower(self.performance)
        if lower is not None and self._slowed_s > self._stepped_s and now_s - self._stepped_s >= STEP_INTERVAL_S:
            self._step(lower, now_s)
        elif self.active and now_s - max(self._stepped_s, self._slowed_s) >= COOLING_S:
            self._step(PERFORMANCES[self._level + 1], now_s)
        return self.performance

    def _step(self, performance: str, now_s: float) -> None:
        self._level = PERFORMANCES.index(performance)
        self._stepped_s = now_s
