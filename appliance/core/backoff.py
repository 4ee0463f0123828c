"""How long to leave alone what has just failed: exponential, jittered over the whole range, capped.

After "full jitter" of Marc Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015), but never
shorter than ``min_s``: what we wait for is local, so an unlucky zero would only burn power.
"""

from dataclasses import dataclass

DOUBLINGS_MAX = 60
"""2**60 times any ``min_s`` is beyond any ``max_s``; more would overflow a float after a year of failures."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delays between attempts, in seconds. Pure: the caller counts attempts and supplies the randomness.

    ``max_s`` below ``min_s`` reads as ``min_s``. Starting again at attempt 0 is the reset.
    """

    min_s: float
    max_s: float

    def delay_s(self, attempt: int, fraction: float) -> float:
        """Say how long to wait after failure number ``attempt`` (0 is the first).

        Args:
            attempt: Failures since the last success, 0 or more.
            fraction: Random, in [0, 1): where in the range this delay falls.

        Returns:
            Seconds from ``min_s`` up to, but not including, ``min(max_s, min_s * 2 ** (attempt + 1))``;
            ``min_s`` itself when that range is empty.
        """
        assert attempt >= 0, "attempts are counted from 0"
        assert 0.0 <= fraction < 1.0, "a fraction of the range"
        ceiling_s = max(self.min_s, min(self.max_s, self.min_s * 2.0 ** min(attempt + 1, DOUBLINGS_MAX)))
        return self.min_s + fraction * (ceiling_s - self.min_s)
