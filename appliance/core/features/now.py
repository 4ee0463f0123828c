"""What time it is by the purchases themselves, so that one wrong clock cannot carry a card's history away.

A purchase is believed up to a day after the newest one believed, whichever card it is of: a wrong one that near does no
harm, because those after it are at most a day late, which is judged. One further ahead is not believed until the next
ones agree, with none of the believed time in between: the second is believed when it is of another card at another
terminal, otherwise the third. So a device that was switched off for weeks loses one or two scores when it comes back.

One that is used rarely would lose as many at every purchase. Hence a silence that was confirmed is foreseen from then
on, up to twice as long, and forgotten by half within 30 days without one: a device used at a steady pace of up to four
weeks loses one or two scores once, one used more rarely up to two of three. Where the first purchase ever was wrong,
those that lie four weeks and more before it move the time back in the same way; none loses its score here for being
early. What remains: within a silence foreseen a wrong time is believed, and so are two cards that come to two terminals
of the same wrong time with nobody between.
"""

from dataclasses import dataclass, field

from appliance.core.features.purchase import Purchase

DAY_S = 86_400.0
SILENCE_MAX_S = 14 * DAY_S
"""Longest silence that is foreseen (and twice that believed)."""
SLACK = 2.0
"""Times a silence seen that the next one may be long."""
FORGET_S = 30 * DAY_S
"""After which a silence that does not come again counts half."""
BACK_MIN_S = SLACK * SILENCE_MAX_S
"""Before the newest: purchases that come this late, from a terminal without a line, say nothing about the time."""
WITNESSES = 3
"""Purchases in a row that are believed against the newest, of whatever card."""

LAYOUT = f"{WITNESSES + 1}d{2 * (WITNESSES - 1)}QB"
VERSION = 1

Witness = tuple[float, int, int]
"""A purchase that was not believed, or lies far back: its time in seconds, its card and its terminal."""


@dataclass(slots=True)
class Now:
    """The newest time believed, and who contradicts it. Bounded; event time only, no clock of ours."""

    newest_s: float
    silence_s: float = 0.0
    """Time without purchases to be expected, 0 to SILENCE_MAX_S."""
    witnesses: list[Witness] = field(default_factory=list)
    """In a row, the latest last, fewer than WITNESSES."""

    def numbers(self) -> tuple[float, ...]:
        """Return all of it in the order of LAYOUT."""
        count = len(self.witnesses)
        times, cards, terminals = zip(*self.witnesses, *[(0.0, 0, 0)] * (WITNESSES - 1 - count), strict=True)
        return (self.newest_s, self.silence_s, *times, *cards, *terminals, count)

    @classmethod
    def of(cls, numbers: tuple[float, ...]) -> "Now":
        """Return the one that gave these numbers."""
        most = WITNESSES - 1
        times, marks = numbers[2 : 2 + most], [int(number) for number in numbers[2 + most :]]
        witnesses = list(zip(times, marks[:most], marks[most : 2 * most], strict=True))
        return cls(numbers[0], numbers[1], witnesses[: marks[-1]])

    def believes(self, purchase: Purchase) -> bool:
        """Say whether a purchase's time can be, and learn from it. Only one from far ahead cannot."""
        ahead_s = purchase.time_s - self.newest_s
        if -BACK_MIN_S <= ahead_s <= _reach_s(self.silence_s):
            self.witnesses = []
            self._advance(ahead_s)
            return True
        return self._confirmed(purchase) or ahead_s < 0.0

    def _advance(self, ahead_s: float) -> None:
        if ahead_s > 0.0:
            # What is only believed renews a silence but never lengthens it, or steps that double would get anywhere.
            self.silence_s = max(self.silence_s * 0.5 ** (ahead_s / FORGET_S), min(ahead_s, self.silence_s))
            self.newest_s += ahead_s

    def _confirmed(self, purchase: Purchase) -> bool:
        """Take a purchase that contradicts the newest as a witness; with enough of them the time moves to it."""
        witness = (purchase.time_s, _mark(purchase.card), _mark(purchase.terminal))
        if witness in self.witnesses:  # delivered twice
            return False
        if not (self.witnesses and self._agree(witness, self.witnesses[-1])):
            self.witnesses = []
        _, card, terminal = witness
        apart = any(card != its_card and terminal != its_terminal for _, its_card, its_terminal in self.witnesses)
        self.witnesses.append(witness)
        if len(self.witnesses) < WITNESSES and not apart:
            return False
        # Back there is no silence: the newest was wrong.
        silence_s = min(time_s for time_s, _, _ in self.witnesses) - self.newest_s
        self.silence_s = min(max(silence_s, 0.0), SILENCE_MAX_S)
        self.newest_s, self.witnesses = purchase.time_s, []
        return True

    def _agree(self, one: Witness, other: Witness) -> bool:
        """Say whether the later of two would be believed if the earlier one were."""
        earlier_s, later_s = sorted((one[0], other[0]))
        # One on either side of the newest never agree: they are more than BACK_MIN_S apart, the longest reach.
        return later_s - earlier_s <= _reach_s(min(abs(earlier_s - self.newest_s), SILENCE_MAX_S))


def _reach_s(silence_s: float) -> float:
    """Return how far ahead of the newest a purchase is believed."""
    return max(DAY_S, SLACK * silence_s)


def _mark(key: bytes) -> int:
    return int.from_bytes(key, "little")
