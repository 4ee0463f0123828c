"""Five kinds of fraud in the seeded world; `simulator.py` tells what each looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from models.fraud.world import PATTERNS, Purchases, World, anywhere, chance, join

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.fraud.world import Array

BAD_TERMINALS, BAD_DAYS, BAD_SHARE = 0.04, 28.0, 0.12
"""Share of shops with a bad time, how long it lasts, and how many of the purchases there are fraud."""
STOLEN, TAKEN_OVER, CLONED = 0.065, 0.035, 0.04
"""Cards struck in 160 days, as a share of all."""
CAMPAIGNS_PER_DAY = 0.16
"""Of testing stolen numbers, with 4500 cards."""
DAYS = 160.0


def at_bad_terminals(rng: np.random.Generator, world: World, honest: Purchases) -> Purchases:
    """Turn a part of what is bought at bad terminals into fraud, of slightly larger sums; gives all purchases."""
    size = world.size
    bad = rng.choice(size.shops, round(size.shops * BAD_TERMINALS * size.days / DAYS), replace=False)
    begins = np.full(size.shops + size.online, np.inf)
    begins[bad] = rng.uniform(0, size.days - 10, len(bad))
    since = honest.day - begins[honest.terminal]
    fraud = (since >= 0) & (since < BAD_DAYS) & (chance(rng, BAD_SHARE, len(honest)))
    amount = np.where(fraud, honest.amount * rng.uniform(1, 2.2, len(honest)), honest.amount)
    pattern = np.where(fraud, PATTERNS.index("terminal"), honest.pattern)
    return Purchases(honest.day, honest.card, honest.terminal, amount, honest.online, pattern)


def stolen(rng: np.random.Generator, world: World) -> Purchases:
    """Give cards used up within hours: sometimes tiny trials first, then large sums at random terminals."""
    count, card, length, nth = _struck(rng, world, STOLEN, 2, 9)
    start = rng.uniform(5, world.size.days - 1, count)
    step = rng.exponential(2400 / 86_400, len(card))
    day = start[length] + _running(step, nth)
    trial = (nth < 2) & (chance(rng, 0.6, count))[length]  # noqa: PLR2004 - the first two, if any
    amount = np.where(trial, rng.uniform(0.5, 4, len(card)), _usual(world, card) * rng.uniform(1.0, 5, len(card)))
    online = chance(rng, 0.55, len(card))
    same = anywhere(rng, world, count, online=False)[length]
    spot = np.where((chance(rng, 0.5, count))[length], same, anywhere(rng, world, len(card), online=False))
    terminal = np.where(online, anywhere(rng, world, len(card), online=True), spot)
    return _made(world, "stolen", day, card, terminal, amount)


def taken_over(rng: np.random.Generator, world: World) -> Purchases:
    """Give accounts used by somebody else for two weeks: ordinary sums, online, between the owner's purchases."""
    count, card, length, _ = _struck(rng, world, TAKEN_OVER, 2, 8)
    day = rng.uniform(5, world.size.days - 14, count)[length] + rng.uniform(0, 14, len(card))
    amount = _usual(world, card) * np.exp(rng.normal(0.5, 0.6, len(card)))
    return _made(world, "takeover", day, card, anywhere(rng, world, len(card), online=True), amount)


def tested(rng: np.random.Generator, world: World) -> Purchases:
    """Give campaigns: tiny sums of many cards at one online merchant, then large sums with two in five of them."""
    size = world.size
    count = round(CAMPAIGNS_PER_DAY * size.days * size.cards / 4500)
    tries = rng.integers(8, 26, count)
    of = np.repeat(np.arange(count), tries)
    start = rng.uniform(5, size.days - 3, count)[of]
    card = rng.integers(0, size.cards, len(of))
    trial = start + rng.uniform(0, 3 / 24, len(of))
    first = _made(
        *(world, "testing", trial, card),
        *(anywhere(rng, world, count, online=True)[of], rng.uniform(0.5, 3, len(of))),
    )
    again = np.repeat(np.flatnonzero(chance(rng, 0.4, len(of))), 2)
    later = trial[again] + rng.uniform(0.1, 2, len(again))
    amount = _usual(world, card[again]) * rng.uniform(1.2, 5, len(again))
    then = _made(world, "testing", later, card[again], anywhere(rng, world, len(again), online=True), amount)
    return join([first, then])


def cloned(rng: np.random.Generator, world: World) -> Purchases:
    """Give copies of cards used in another town for up to three days while the owners go on."""
    count, card, length, _ = _struck(rng, world, CLONED, 2, 7)
    span = rng.uniform(0.2, 3, count)[length]
    day = rng.uniform(5, world.size.days - 3, count)[length] + rng.uniform(0, 1, len(card)) * span
    town = rng.integers(0, world.size.cards, count)[length]
    amount = _usual(world, card) * rng.uniform(0.8, 3, len(card))
    return _made(world, "clone", day, card, world.near[0, town, rng.integers(0, 25, len(card))], amount)


EPISODES: tuple[Callable[[np.random.Generator, World], Purchases], ...] = (stolen, taken_over, tested, cloned)


def _struck(
    rng: np.random.Generator, world: World, share: float, least: int, most: int
) -> tuple[int, Array, Array, Array]:
    """Draw struck cards and ``least`` to ``most`` - 1 purchases of each.

    Gives how many cards; and for each purchase its card, which of the struck it belongs to, and its number there.
    """
    count = round(share * world.size.cards * world.size.days / DAYS)
    lengths = rng.integers(least, most, count)
    of = np.repeat(np.arange(count), lengths)
    nth = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return count, rng.integers(0, world.size.cards, count)[of], of, nth


def _running(step: Array, nth: Array) -> Array:
    """Give running sums of steps that begin anew where ``nth`` is 0."""
    total = np.cumsum(step)
    begins = nth == 0
    before = np.repeat((total - step)[begins], np.diff([*np.flatnonzero(begins), len(nth)]))
    return np.asarray(total - before)


def _usual(world: World, card: Array) -> Array:
    return np.asarray(np.exp(world.usual[card]))


def _made(world: World, pattern: str, day: Array, card: Array, terminal: Array, amount: Array) -> Purchases:
    kind = np.full(len(day), PATTERNS.index(pattern))
    return Purchases(day, card, terminal, np.maximum(amount, 0.5), terminal >= world.size.shops, kind)
