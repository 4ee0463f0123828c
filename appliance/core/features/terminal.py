"""What is remembered of one terminal: what was bought there lately, and what was reported as fraud.

Sums fade exponentially with the time constants below, by the time of the purchases: ``sum * exp(-elapsed / constant)``.
"""

from dataclasses import dataclass, field
from math import exp, log, log1p

from appliance.core.features.card import DAY_S, HOUR_S
from appliance.core.features.purchase import Purchase

REPORTS_MAX = 16
"""Reports of fraud that are kept, the latest to arrive."""
REPORT_AGE_MAX_S = 35 * DAY_S
"""From a purchase that was fraud until it says nothing of its terminal any more."""
LATE_MAX_S = DAY_S
"""How far before the newest a purchase may lie and still belong to the same course of time."""
_WEEK_S, _MONTH_S = 7 * DAY_S, 28 * DAY_S
_FADING_S = (HOUR_S, _WEEK_S, _MONTH_S, 2 * DAY_S, 2 * DAY_S, DAY_S, DAY_S, 6 * HOUR_S, 6 * HOUR_S)
"""Of ``Terminal.sums``, in order."""
_PRIOR = 3.0
"""Purchases added to a denominator: one purchase is no share."""
_PRIOR_REPORTS = 8.0

NAMES = (
    "terminal_pace",
    "terminal_amounts",
    "terminal_strangers",
    "terminal_small",
    "terminal_reports",
    "terminal_report_rate",
)
"""The order of ``Terminal.describe``."""
LAYOUT = f"{REPORTS_MAX + 1}d{len(_FADING_S)}f{REPORTS_MAX}I2B"
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
    """Purchases of an hour, a week, a month; judged ones and their unusualness, two days; judged ones and strangers
    among them, a day; judged ones and small ones among them, six hours. As of ``newest_s``."""
    report_times_s: list[float] = field(default_factory=list)
    report_cards: list[int] = field(default_factory=list)
    """Purchases reported as fraud, the oldest report first."""
    strays: int = 0
    """Purchases in a row whose time was far before ``newest_s``."""

    def numbers(self) -> tuple[float, ...]:
        """Return all of it in the order of LAYOUT."""
        spare = [0] * (REPORTS_MAX - len(self.report_times_s))
        times, cards = (*self.report_times_s, *spare), (*self.report_cards, *spare)
        return (self.newest_s, *times, *self.sums, *cards, self.strays, len(self.report_times_s))

    @classmethod
    def of(cls, numbers: tuple[float, ...]) -> "Terminal":
        """Return the terminal that gave these numbers."""
        *cards, strays, reports = (int(number) for number in numbers[REPORTS_MAX + 1 + len(_FADING_S) :])
        sums = numbers[REPORTS_MAX + 1 : REPORTS_MAX + 1 + len(_FADING_S)]
        return cls(numbers[0], sums, list(numbers[1 : 1 + reports]), cards[:reports], strays)

    def describe(self, time_s: float) -> tuple[float, ...]:
        """Return what NAMES says of the terminal at this time."""
        hour, week, month, near, unusual, day, strangers, quarter, small = self._faded(time_s)
        recent = sum(
            time_s - REPORT_AGE_MAX_S < reported_s <= time_s + LATE_MAX_S for reported_s in self.report_times_s
        )
        return (
            log((hour + 0.5) / (week * (HOUR_S / _WEEK_S) + 0.5)),
            unusual / (near + _PRIOR),
            strangers / (day + _PRIOR),
            small / (quarter + _PRIOR),
            log1p(recent),
            recent / (month + _PRIOR_REPORTS),
        )

    def add(self, time_s: float, impression: Impression | None) -> None:
        """Let a purchase enter the history; one that comes late counts as much as it would by now."""
        sums = self._faded(time_s)
        late_s = max(self.newest_s - time_s, 0.0)
        judged = impression is not None
        news = (
            *(1.0, 1.0, 1.0, judged, impression.unusual if impression else 0.0),
            *(judged, bool(impression and impression.stranger), judged, bool(impression and impression.small)),
        )
        self.sums = tuple(
            held + new * exp(-late_s / fading_s) for held, new, fading_s in zip(sums, news, _FADING_S, strict=True)
        )
        self.newest_s = max(self.newest_s, time_s)

    def report(self, purchase: Purchase) -> bool:
        """Note that an earlier purchase was fraud; say whether it was news and can have been one of this terminal."""
        card = int.from_bytes(purchase.card[:4], "little")
        if purchase.time_s > self.newest_s or (purchase.time_s, card) in zip(
            self.report_times_s, self.report_cards, strict=True
        ):
            return False
        self.report_times_s = [*self.report_times_s, purchase.time_s][-REPORTS_MAX:]
        self.report_cards = [*self.report_cards, card][-REPORTS_MAX:]
        return True

    def _faded(self, time_s: float) -> tuple[float, ...]:
        """Return the sums as of this time, or as of ``newest_s`` when that is later."""
        elapsed_s = max(time_s - self.newest_s, 0.0)
        return tuple(held * exp(-elapsed_s / fading_s) for held, fading_s in zip(self.sums, _FADING_S, strict=True))
