"""How long an Edge TPU may take for one answer, from what the same model took before. Pure.

Opening the device takes 2 to 25 s, an invoke milliseconds: one number for both is wrong. ``invoke`` that stalls never
returns (libedgetpu, ``driver/usb/usb_driver.cc``: the time-out of a read is ignored and the read begun again), or ends
the process after 6 s; so the wait must be short of that, and still long enough that only a stall exceeds it.
"""

from appliance.core.window import Window

DEADLINE_FLOOR_S = 0.1
"""Below it, a busy host or a second model's weights on their way to the device would read as a stall."""
DEADLINE_CEILING_S = 2.0
"""A stalled frame costs at most this; and the deadline while little is known of the model."""
FACTOR = 10.0
"""Times the 99th percentile: what is slower by this much is stalled, not slow."""
QUANTILE = 0.99
WINDOW_INVOKES = 256
"""Invokes that the percentile is of: the third largest of them, so one or two hiccups do not loosen the deadline."""
ENOUGH_INVOKES = 20
"""Invokes before the percentile is believed; the first after loading also carry the weights to the device."""
RECOMPUTE_INVOKES = 16
"""The window is sorted once in so many invokes, which keeps an observation at a few microseconds on average."""


class InvokeDeadline:
    """The deadline of one model on one backend, which follows the model's successful invokes. For one thread at a time.

    It grows as the device slows down, bit by bit; what missed the deadline was not answered, and is not observed.
    """

    def __init__(self, fixed_s: float | None = None, ceiling_s: float = DEADLINE_CEILING_S) -> None:
        """Follow what is observed; ``fixed_s``, where it is given, takes the place of all that.

        Args:
            fixed_s: seconds above 0, as configured.
            ceiling_s: seconds above 0, never waited longer; below the floor it is the floor too.
        """
        assert fixed_s is None or fixed_s > 0.0, fixed_s
        assert ceiling_s > 0.0, ceiling_s
        self._fixed_s = fixed_s
        self._ceiling_s = ceiling_s
        self._took_s = Window(WINDOW_INVOKES)
        self._left = ENOUGH_INVOKES
        self._followed_s = ceiling_s

    @property
    def deadline_s(self) -> float:
        """Seconds that the next invoke may take."""
        return self._followed_s if self._fixed_s is None else self._fixed_s

    def observe(self, took_s: float) -> None:
        """Take into account an invoke that succeeded.

        Args:
            took_s: seconds that it took, 0 or more.
        """
        assert took_s >= 0.0, took_s
        self._took_s.add(took_s)
        self._left -= 1
        if self._left == 0:
            self._left = RECOMPUTE_INVOKES
            slow_s = self._took_s.quantile(QUANTILE)
            assert slow_s is not None, "something was observed"
            self._followed_s = min(max(FACTOR * slow_s, DEADLINE_FLOOR_S), self._ceiling_s)
