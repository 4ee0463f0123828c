"""What is remembered of one terminal: how busy it is, and how unusual for their cards the purchases there were.

Sums fade exponentially with the time constants below, by the time of the purchases: ``sum * exp(-elapsed / constant)``.
"""

from dataclasses import dataclass
from math import exp, log

from appliance.core.features.card import DAY_S, HOUR_S

LATE_MAX_S = DAY_S
"""How far before the newest a purchase may lie and still belong to the same course of time."""
_WEEK_S = 7 * DAY_S
_FADING_S = (HOUR_S, _WEEK_S, 2 * DAY_S, 2 * DAY_S, DAY_S, DAY_S, 6 * HOUR_S, 6 * HOUR_S)
"""Of ``Terminal.sums``, in order."""
_PRIOR = 3.0
"""Purchases added to a denominator: one purchase is no share."""

NAMES = (
    "terminal_pace",
    "terminal_amounts",
    "terminal_strangers",
    "terminal_small",
)
"""The order of ``Terminal.describe``."""
LAYOUT = f"d{len(_FADING_S)}fB"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Impression:
    """What one purchase says of its terminal; only of a card that has a history."""

    unusual: float
    stranger: bool
    small: bool


@dataclass(slots=True)
class Terminal:
    """A terminal's history; all of it is bounded."""

    newest_s: float = 0.0
    """Newest time of a purchase."""
    sums: tuple[float, ...] = (0.0,) * len(_FADING_S)
    """Purchases of an hour, a week; judged ones and their unusualness, two days; judged ones and strangers
    among them, a day; judged ones and small ones among them, six hours. As of ``newest_s``."""
    strays: int = 0
    """Purchases in a row whose time was far before ``newest_s``."""

    def numbers(self) -> tuple[float, ...]:
        """Return all of it in the order of LAYOUT."""
        return (self.newest_s, *self.sums, self.strays)

    @classmethod
    def of(cls, numbers: tuple[float, ...]) -> "Terminal":
        """Return the terminal that gave these numbers."""
        newest_s, *sums, strays = numbers
        return cls(newest_s, tuple(sums), int(strays))

    def describe(self, time_s: float) -> tuple[float, ...]:
        """Return what NAMES says of the terminal at this time."""
        hour, week, near, unusual, day, strangers, quarter, small = self._faded(time_s)
        return (
            log((hour + 0.5) / (week * (HOUR_S / _WEEK_S) + 0.5)),
            unusual / (near + _PRIOR),
            strangers / (day + _PRIOR),
            small / (quarter + _PRIOR),
        )

    def add(self, time_s: float, impression: Impression | None) -> None:
        """Let a purchase enter the history; one that comes late counts as much as it would by now."""
        sums = self._faded(time_s)
        late_s = max(self.newest_s - time_s, 0.0)
        judged = impression is not None
        news = (
            *(1.0, 1.0, judged, impression.unusual if impression else 0.0),
            *(judged, bool(impression and impression.stranger), judged, bool(impression and impression.small)),
        )
        self.sums = tuple(
            held + new * exp(-late_s / fading_s) for held, new, fading_s in zip(sums, news, _FADING_S, strict=True)
        )
        self.newest_s = max(self.newest_s, time_s)

    def _faded(self, time_s: float) -> tuple[float, ...]:
        """Return the sums as of this time, or as of ``newest_s`` when that is later."""
        elapsed_s = max(time_s - self.newest_s, 0.0)
        return tuple(held * exp(-elapsed_s / fading_s) for held, fading_s in zip(self.sums, _FADING_S, strict=True))
