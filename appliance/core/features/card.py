"""What is remembered of one card, and how a purchase compares with it.

Averages are exponentially weighted: of n purchases until there are ``1 / FORGETTING`` of them, then of the recent ones.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import cos, expm1, hypot, log, log1p, pi, sin, sqrt

from appliance.core.features.purchase import CATEGORIES, Purchase

RECENT_MAX = 16
"""Purchases of which time and amount are kept: counts and sums of a day see no more."""
KNOWN_MAX = 24
"""Terminals that a card is remembered to have used."""
FORGETTING = 0.02
"""Least weight of a new purchase in an average."""
HOUR_S, DAY_S = 3600.0, 86_400.0
SMALL_RATIO = 6.0
"""A purchase is small when it is this many times smaller than the card's usual: how stolen numbers are tried."""
_SPREAD_START, _SPREAD_MIN = 0.6, 0.15
"""Of the logarithm of amounts: assumed before there are any; added so that a card of equal amounts has a scale."""
_UNUSUAL_MAX = 8.0
_SAME_AMOUNT = 1e-5
"""Of logarithms that are kept as float32."""
_HOURS_MIN = 0.05
"""Added to a time between two places: clocks of two terminals differ, and a short way in no time is no journey."""
_COUNT_MAX = 1_000_000

NAMES = (
    "amount",
    "amount_unusual",
    "amount_over_largest",
    "pace",
    "speed",
    "km_from_last",
    "km_from_usual",
    "purchases_1h",
    "purchases_24h",
    "spent_24h",
    "small_24h",
    "hour_unusual",
    "card_not_present",
    "card_not_present_unusual",
    "category_unusual",
    "terminal_unknown",
    "history",
)
"""The order of ``Card.compare``; the card of the model says how each is computed."""

LAYOUT = f"{RECENT_MAX + 2}d{RECENT_MAX + 10 + CATEGORIES}f{KNOWN_MAX}I2I3B"
VERSION = 1


@dataclass(slots=True)
class Card:
    """A card's history; all of it is bounded."""

    newest_s: float = 0.0
    """Newest time of a purchase."""
    placed_s: float = 0.0
    """Newest time of a purchase with the card present, and below where that was."""
    placed_x_km: float = 0.0
    placed_y_km: float = 0.0
    count: int = 0
    placed: int = 0
    """Purchases, and those with the card present."""
    strays: int = 0
    """Purchases in a row whose time was far before ``newest_s``."""
    mean: float = 0.0
    variance: float = _SPREAD_START**2
    """Of log(1 + amount)."""
    x_km: float = 0.0
    y_km: float = 0.0
    """Where the card is used on average."""
    online: float = 0.0
    """Share of purchases without the card."""
    hour_sin: float = 0.0
    hour_cos: float = 0.0
    """Mean direction of the hour of day on the clock's face: no time zone is needed to find an hour unusual."""
    gap: float = log1p(DAY_S)
    """Mean of log(1 + seconds between purchases)."""
    categories: list[float] = field(default_factory=lambda: [1.0 / CATEGORIES] * CATEGORIES)
    """Share of each."""
    times_s: list[float] = field(default_factory=list)
    amounts: list[float] = field(default_factory=list)
    """Of the last RECENT_MAX purchases, oldest first; amounts as log(1 + amount)."""
    known: list[int] = field(default_factory=list)
    """Terminals used, the latest first: the first 4 bytes of their digests."""

    def numbers(self) -> tuple[float, ...]:
        """Return all of it in the order of LAYOUT."""
        recent, known = len(self.times_s), len(self.known)
        spare = [0.0] * (RECENT_MAX - recent)
        return (
            *(self.newest_s, self.placed_s, *self.times_s, *spare),
            *(self.placed_x_km, self.placed_y_km, self.mean, self.variance, self.x_km, self.y_km, self.online),
            *(self.hour_sin, self.hour_cos, self.gap, *self.categories, *self.amounts, *spare),
            *(*self.known, *([0] * (KNOWN_MAX - known))),
            *(self.count, self.placed, self.strays, recent, known),
        )

    @classmethod
    def of(cls, numbers: tuple[float, ...]) -> "Card":
        """Return the card that gave these numbers."""
        times, rest = numbers[: RECENT_MAX + 2], numbers[RECENT_MAX + 2 :]
        averages, rest = rest[:10], rest[10:]
        categories, rest = rest[:CATEGORIES], rest[CATEGORIES:]
        amounts, rest = rest[:RECENT_MAX], rest[RECENT_MAX:]
        count, placed, strays, recent, known = (int(number) for number in rest[KNOWN_MAX:])
        placed_x, placed_y, mean, variance, x, y, online, hour_sin, hour_cos, gap = averages
        return cls(
            *(times[0], times[1], placed_x, placed_y, count, placed, strays, mean, variance, x, y),
            *(online, hour_sin, hour_cos, gap, list(categories), list(times[2 : 2 + recent]), list(amounts[:recent])),
            [int(terminal) for terminal in rest[:known]],
        )

    def seen(self, purchase: Purchase) -> bool:
        """Say whether this very purchase was added before: a request may be delivered twice."""
        return any(self._same(time_s, amount, purchase) for time_s, amount in self._recent())

    def unusual(self, purchase: Purchase) -> float:
        """Return how many spreads the amount lies above the card's usual one, within -8 to 8."""
        spread = sqrt(max(self.variance, 0.0)) + _SPREAD_MIN
        return min(max((log1p(purchase.amount) - self.mean) / spread, -_UNUSUAL_MAX), _UNUSUAL_MAX)

    def small(self, amount: float) -> bool:
        """Say whether log(1 + amount) is far below the card's usual one."""
        return amount < self.mean - log(SMALL_RATIO)

    def compare(self, purchase: Purchase) -> tuple[float, ...]:
        """Return what NAMES says of a purchase; the card has at least one, and this one is not added yet.

        Only purchases at or before its time count, so that one that comes late is judged as of its time.
        """
        amount = log1p(purchase.amount)
        before = [
            (purchase.time_s - time_s, earlier)
            for time_s, earlier in self._recent()
            if time_s <= purchase.time_s and not self._same(time_s, earlier, purchase)
        ]
        day = [(age_s, earlier) for age_s, earlier in before if age_s < DAY_S]
        gap = log1p(before[-1][0] if before else 0.0)
        hour_sin, hour_cos = _direction(purchase.time_s)
        return (
            amount,
            self.unusual(purchase),
            amount - max((earlier for _, earlier in before), default=amount),
            self.gap - gap,
            *self._places(purchase),
            log1p(sum(age_s < HOUR_S for age_s, _ in day)),
            log1p(len(day)),
            log1p(sum(expm1(earlier) for _, earlier in (*day, (0.0, amount))) / (1.0 + expm1(max(self.mean, 0.0)))),
            log1p(sum(self.small(earlier) for _, earlier in (*day, (0.0, amount)))),
            1.0 - self.hour_sin * hour_sin - self.hour_cos * hour_cos,
            float(purchase.online),
            purchase.online - self.online,
            1.0 - self.categories[purchase.category],
            float(_mark(purchase) not in self.known),
            log1p(self.count),
        )

    def stranger(self, purchase: Purchase) -> bool:
        """Say whether the card is not known to have used this terminal."""
        return _mark(purchase) not in self.known

    def add(self, purchase: Purchase) -> None:
        """Let a purchase enter the history; one that is not far before ``newest_s``."""
        amount = log1p(purchase.amount)
        gap = log1p(max(purchase.time_s - self.newest_s, 0.0)) if self.count else self.gap
        self.count = min(self.count + 1, _COUNT_MAX)
        weight = max(1.0 / self.count, FORGETTING)
        # The assumed spread, rhythm and categories count as four purchases, so that three of them are no habit yet.
        cautious = max(1.0 / (self.count + 4), FORGETTING)
        off = amount - self.mean
        self.mean += weight * off
        self.variance += cautious * (off * (amount - self.mean) - self.variance)
        self.gap += cautious * (gap - self.gap)
        self.online += weight * (purchase.online - self.online)
        hour_sin, hour_cos = _direction(purchase.time_s)
        self.hour_sin += weight * (hour_sin - self.hour_sin)
        self.hour_cos += weight * (hour_cos - self.hour_cos)
        self.categories = [
            share + cautious * ((kind == purchase.category) - share) for kind, share in enumerate(self.categories)
        ]
        if not purchase.online:
            self._add_place(purchase)
        self._add_recent(purchase.time_s, amount)
        mark = _mark(purchase)
        self.known = [mark, *(other for other in self.known if other != mark)][:KNOWN_MAX]
        self.newest_s = max(self.newest_s, purchase.time_s)

    def _recent(self) -> Iterator[tuple[float, float]]:
        return zip(self.times_s, self.amounts, strict=True)

    @staticmethod
    def _same(time_s: float, amount: float, purchase: Purchase) -> bool:
        return time_s == purchase.time_s and abs(amount - log1p(purchase.amount)) < _SAME_AMOUNT

    def _places(self, purchase: Purchase) -> tuple[float, float, float]:
        """Return log(1 + ...) of the speed in km/h and of the km from the last place and from the usual one.

        0 where a place says nothing: without the card, or with no place to compare with.
        """
        if purchase.online or not self.placed:
            return 0.0, 0.0, 0.0
        from_last_km = hypot(purchase.x_km - self.placed_x_km, purchase.y_km - self.placed_y_km)
        from_usual_km = hypot(purchase.x_km - self.x_km, purchase.y_km - self.y_km)
        hours = abs(purchase.time_s - self.placed_s) / HOUR_S + _HOURS_MIN
        return log1p(from_last_km / hours), log1p(from_last_km), log1p(from_usual_km)

    def _add_place(self, purchase: Purchase) -> None:
        self.placed = min(self.placed + 1, _COUNT_MAX)
        weight = max(1.0 / self.placed, FORGETTING)
        self.x_km += weight * (purchase.x_km - self.x_km)
        self.y_km += weight * (purchase.y_km - self.y_km)
        if purchase.time_s >= self.placed_s:
            self.placed_s, self.placed_x_km, self.placed_y_km = purchase.time_s, purchase.x_km, purchase.y_km

    def _add_recent(self, time_s: float, amount: float) -> None:
        """Put it in its place by time; the oldest makes room."""
        place = bisect_right(self.times_s, time_s)
        self.times_s.insert(place, time_s)
        self.amounts.insert(place, amount)
        del self.times_s[:-RECENT_MAX], self.amounts[:-RECENT_MAX]


def _mark(purchase: Purchase) -> int:
    """Return the number by which a card remembers a terminal."""
    return int.from_bytes(purchase.terminal[:4], "little")


def _direction(time_s: float) -> tuple[float, float]:
    """Return sine and cosine of the hour of day."""
    angle = time_s % DAY_S * (2.0 * pi / DAY_S)
    return sin(angle), cos(angle)
