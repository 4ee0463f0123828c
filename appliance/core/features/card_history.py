"""A purchase against what its card and its terminal did before: the fraud model's features, computed as requests come.

Time is the purchases' own (event time). Purchases may come late: up to a day they are judged as of their time and enter
the history; further back they are not judged and do not enter, until three in a row say that it was the history whose
time was wrong, which then begins anew. One from far ahead of every card's purchases is not judged and does not enter
until others confirm the time (``now``). A request that comes twice is judged twice and enters once.

Memory is bounded by ``cards_max`` and ``terminals_max`` entries of about half a kilobyte and survives a restart.
"""

from collections.abc import Mapping
from itertools import chain, islice
from math import log1p

import numpy as np

from appliance.core.features import card as cards
from appliance.core.features import now as nows
from appliance.core.features import terminal as terminals
from appliance.core.features.book import Book, digest
from appliance.core.features.card import Card
from appliance.core.features.now import Now
from appliance.core.features.purchase import Purchase, read_purchase
from appliance.core.features.terminal import LATE_MAX_S, Impression, Terminal
from appliance.core.model import CardHistoryExtract
from appliance.core.types import Array, Frame
from appliance.errors import NoScoreError

NAMES: tuple[str, ...] = cards.NAMES + terminals.NAMES
"""The features, in the order of a vector. Means of the training data are their reference: normalised 0."""

WORDS: Mapping[str, str] = {
    "amount": "the amount itself",
    "amount_unusual": "amount unlike this card's usual",
    "amount_over_largest": "amount against this card's largest lately",
    "pace": "time since this card's last purchase",
    "speed": "travelling speed since this card's last purchase",
    "km_from_last": "distance from this card's last purchase",
    "km_from_usual": "distance from where this card is usually used",
    "purchases_1h": "number of this card's purchases within an hour",
    "purchases_24h": "number of this card's purchases within a day",
    "spent_24h": "sum of this card's purchases within a day",
    "small_24h": "tiny purchases within a day, as when a stolen number is tried",
    "hour_unusual": "hour of day unusual for this card",
    "card_not_present": "whether the card was present",
    "card_not_present_unusual": "whether the card was present, against this card's habit",
    "category_unusual": "kind of merchant unusual for this card",
    "terminal_unknown": "terminal new to this card",
    "history": "length of this card's history",
    "terminal_pace": "rush at this terminal",
    "terminal_amounts": "unusual amounts of other cards at this terminal",
    "terminal_strangers": "many cards new to this terminal lately",
    "terminal_small": "many tiny purchases at this terminal lately",
}
"""What a feature means when it moved a score."""

STRAYS_MAX = 3
"""Purchases in a row from far before the newest after which a history begins anew."""
NO_HISTORY = "no history of this card"
BACKWARDS = "the purchase lies more than a day before this card's newest"
AHEAD = "the purchase lies far ahead of the time that other purchases tell"
_NOW = digest("now")


class CardHistory:
    """Implements ``features.Extractor`` for transactions."""

    names: tuple[str, ...] = NAMES
    words: Mapping[str, str] = WORDS

    def __init__(self, extract: CardHistoryExtract) -> None:
        """Remembers nothing yet."""
        self._history_min = max(extract.history_min, 1)
        self._cards = Book("c", cards.VERSION, cards.LAYOUT, extract.cards_max)
        self._terminals = Book("t", terminals.VERSION, terminals.LAYOUT, extract.terminals_max)
        self._now = Book("n", nows.VERSION, nows.LAYOUT, 1)

    def __call__(self, frame: Frame) -> tuple[Array, ...]:
        """Return float32 ``[21]`` for a purchase and let it enter the history.

        Raises FrameError for a request that is not sound; NoScoreError for a card without a history, for a
        purchase from far before the card's newest, and for one from far ahead of all purchases.
        """
        purchase = read_purchase(frame)
        self._check_time(purchase)
        card = self._card(purchase)
        terminal = self._terminal(purchase)
        known = card.count >= self._history_min
        features = np.array(card.compare(purchase) + terminal.describe(purchase.time_s), np.float32) if known else None
        if not card.seen(purchase):
            self._enter(purchase, card, terminal, known=known)
        if features is None:
            raise NoScoreError(NO_HISTORY)
        return (features,)

    def changes(self, entries_max: int) -> dict[str, bytes]:
        """Hand out entries that changed, at most ``entries_max``: names of 17 characters, values below 1 kB."""
        # The time changes with every purchase: of a helping too small for three it has what the others leave.
        handed = dict(self._now.changes(entries_max // 3))
        left = entries_max - len(handed)
        # Terminals change less often than cards: first, or they would wait for a moment without cards.
        books = (self._terminals.changes((left + 1) // 2), self._cards.changes(left), self._now.changes(1))
        return handed | dict(islice(chain(*books), left))

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Take entries back. Damaged ones, and those of another version or book, are left out."""
        self._cards.restore(entries)
        self._terminals.restore(entries)
        self._now.restore(entries)

    def _check_time(self, purchase: Purchase) -> None:
        """Raise NoScoreError for a purchase from far ahead. The first one ever is believed."""
        numbers = self._now.read(_NOW)
        now = Now(purchase.time_s) if numbers is None else Now.of(numbers)
        believed = now.believes(purchase)
        self._now.write(_NOW, now.numbers())
        if not believed:
            raise NoScoreError(AHEAD)

    def _card(self, purchase: Purchase) -> Card:
        """Return the card's history. Raises NoScoreError for a purchase that does not belong to its course of time."""
        numbers = self._cards.read(purchase.card)
        if numbers is None:
            return Card()
        card = Card.of(numbers)
        if purchase.time_s >= card.newest_s - LATE_MAX_S:
            card.strays = 0
            return card
        card.strays += 1
        if card.strays >= STRAYS_MAX:
            return Card()
        self._cards.write(purchase.card, card.numbers())
        raise NoScoreError(BACKWARDS)

    def _terminal(self, purchase: Purchase) -> Terminal:
        """Return the terminal's history, begun anew when purchases from far before its newest keep coming."""
        numbers = self._terminals.read(purchase.terminal)
        terminal = Terminal() if numbers is None else Terminal.of(numbers)
        if purchase.time_s >= terminal.newest_s - LATE_MAX_S:
            terminal.strays = 0
            return terminal
        terminal.strays += 1
        return terminal if terminal.strays < STRAYS_MAX else Terminal()

    def _enter(self, purchase: Purchase, card: Card, terminal: Terminal, *, known: bool) -> None:
        if not terminal.strays:
            impression = None
            if known:
                small = card.small(log1p(purchase.amount))
                impression = Impression(card.unusual(purchase), stranger=card.stranger(purchase), small=small)
            terminal.add(purchase.time_s, impression)
        self._terminals.write(purchase.terminal, terminal.numbers())
        card.add(purchase)
        self._cards.write(purchase.card, card.numbers())
