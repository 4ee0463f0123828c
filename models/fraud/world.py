"""Cards, terminals and what honest people buy: the seeded world that `simulator.py` puts frauds into."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

PATTERNS = ("honest", "terminal", "stolen", "takeover", "testing", "clone")
DAY_S = 86_400.0
START_S = 1_704_067_200.0
"""Of day 0: 2024-01-01 00:00 UTC, a Monday."""
CATEGORIES = 8
SIDE_KM = 100.0
NEAR = 40
"""Shops that a person uses, by distance from home."""
NEVER = np.inf
"""Day on which something happens that never does."""
ISSUED = 0.3
"""Share of the cards that come into use on some day of the simulated time; young histories are there at all times."""


@dataclass(frozen=True)
class Size:
    """How much to simulate."""

    cards: int = 4500
    shops: int = 1500
    online: int = 150
    days: int = 160


@dataclass(frozen=True)
class World:
    """Who buys, and where. One entry a card or a terminal; online merchants come after the shops."""

    size: Size
    near: Array
    """int ``[2, cards, NEAR]``: shops near home, before and after moving house."""
    moves_day: Array
    issued_day: Array
    """From when on the card is used, honestly or not; 0 for most."""
    usual: Array
    """Mean of log(amount)."""
    spread: Array
    daily: Array
    hour: Array
    night: Array
    online: Array
    """Share of purchases without the card."""
    favourites: Array
    """int ``[cards, 6]``: online merchants."""
    place_km: Array
    """``[terminals, 2]``."""
    category: Array
    category_level: Array
    """Added to the log(amount) of each category."""


@dataclass(frozen=True)
class Purchases:
    """Purchases, one entry each; in order of time once ``simulate`` returns them."""

    day: Array
    """Days since START_S, with fraction."""
    card: Array
    terminal: Array
    amount: Array
    online: Array
    pattern: Array
    """Index into PATTERNS; the truth."""

    def __len__(self) -> int:
        return len(self.day)

    def take(self, chosen: Array) -> Purchases:
        """Give those at these places, or where this is true."""
        return Purchases(*(getattr(self, field.name)[chosen] for field in fields(self)))


def join(parts: list[Purchases]) -> Purchases:
    """Give all parts as one."""
    return Purchases(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Purchases)))


def make_world(rng: np.random.Generator, size: Size) -> World:
    """Draw cards and terminals."""
    terminals = size.shops + size.online
    place = rng.uniform(0, SIDE_KM, (terminals, 2))
    homes = rng.uniform(0, SIDE_KM, (2, size.cards, 2))
    return World(
        size=size,
        near=np.stack([nearest(each, place[: size.shops]) for each in homes]),
        moves_day=np.where(chance(rng, 0.03, size.cards), rng.uniform(0, size.days, size.cards), NEVER),
        issued_day=np.where(chance(rng, ISSUED, size.cards), rng.uniform(0, size.days, size.cards), 0.0),
        usual=rng.normal(3.3, 0.6, size.cards),
        spread=rng.uniform(0.35, 0.75, size.cards),
        daily=rng.gamma(2.0, 0.5, size.cards),
        hour=rng.normal(14.5, 2.0, size.cards),
        night=rng.beta(1.2, 12, size.cards),
        online=rng.beta(1.5, 5, size.cards),
        favourites=size.shops + rng.integers(0, size.online, (size.cards, 6)),
        place_km=place,
        category=rng.integers(0, CATEGORIES, terminals),
        category_level=rng.normal(0, 0.35, CATEGORIES),
    )


def nearest(homes: Array, shops: Array) -> Array:
    """Give the NEAR shops nearest to each home, nearest first: int ``[homes, NEAR]``."""
    distance = ((homes[:, np.newaxis] - shops[np.newaxis]) ** 2).sum(axis=2)
    return np.argsort(distance, axis=1)[:, :NEAR]


def chance(rng: np.random.Generator, share: float, shape: int | tuple[int, ...]) -> Array:
    """Draw bool of this shape, true for about this share."""
    return rng.random(shape) < share


def bought(rng: np.random.Generator, world: World, day: Array, card: Array, terminal: Array) -> Purchases:
    """Give honest purchases of usual amounts, some of them big."""
    level = world.usual[card] + world.category_level[world.category[terminal]]
    amount = np.exp(rng.normal(level, world.spread[card]))
    big = chance(rng, 0.012, len(day))
    amount = np.where(big, amount * rng.uniform(3, 10, len(day)), amount)
    online = terminal >= world.size.shops
    return Purchases(day, card, terminal, np.maximum(amount, 0.5), online, np.zeros(len(day), np.int64))


def moment(rng: np.random.Generator, world: World, card: Array, day: Array) -> Array:
    """Give a moment of each day (a whole number) at which the card would be used."""
    night = rng.random(len(card)) < world.night[card]
    hour = np.where(night, rng.uniform(0, 6, len(card)), rng.normal(world.hour[card], 3.2))
    return day + (hour % 24) / 24


def shop(rng: np.random.Generator, world: World, card: Array, day: Array) -> Array:
    """Choose a shop near home for each, the near ones more often."""
    rank = np.minimum(rng.exponential(9, len(card)).astype(np.int64), NEAR - 1)
    return world.near[(day >= world.moves_day[card]).astype(np.int64), card, rank]


def merchant(rng: np.random.Generator, world: World, card: Array) -> Array:
    """Choose an online merchant for each, mostly a favourite."""
    favourite = world.favourites[card, rng.integers(0, world.favourites.shape[1], len(card))]
    return np.where(chance(rng, 0.8, len(card)), favourite, anywhere(rng, world, len(card), online=True))


def anywhere(rng: np.random.Generator, world: World, count: int, *, online: bool) -> Array:
    """Choose any shop, or any online merchant."""
    size = world.size
    return rng.integers(size.shops, size.shops + size.online, count) if online else rng.integers(0, size.shops, count)


def usual_days(rng: np.random.Generator, world: World) -> Purchases:
    """Give what cards buy from day to day, and on journeys."""
    size = world.size
    card = np.repeat(np.arange(size.cards), rng.poisson(world.daily * size.days))
    day = rng.integers(0, size.days, len(card))
    day = np.where((day % 7 == 6) & (chance(rng, 0.4, len(card))), day - 1, day)  # noqa: PLR2004 - Sundays are quiet
    when = moment(rng, world, card, day)
    terminal = shop(rng, world, card, day)
    weeks = size.days // 7 + 1
    host = np.where(chance(rng, 0.03, (size.cards, weeks)), rng.integers(0, size.cards, (size.cards, weeks)), -1)
    away = host[card, day // 7]
    there = world.near[0, np.maximum(away, 0), rng.integers(0, NEAR, len(card))]
    terminal = np.where(away >= 0, there, terminal)
    stray = chance(rng, 0.03, len(card))
    terminal = np.where(stray, anywhere(rng, world, len(card), online=False), terminal)
    online = rng.random(len(card)) < world.online[card]
    terminal = np.where(online, merchant(rng, world, card), terminal)
    return bought(rng, world, when, card, terminal)


def sprees(rng: np.random.Generator, world: World) -> Purchases:
    """Give days out shopping: three to seven purchases within about three hours, a few of them far away."""
    count = round(0.004 * world.size.cards * world.size.days)
    card, day, length = episodes(rng, world, count, 3, 8)
    when = day + rng.uniform(10, 18, count)[length] / 24 + rng.uniform(0, 0.13, len(card))
    local = shop(rng, world, card, day)
    far = (chance(rng, 0.15, count))[length]
    centre = rng.integers(0, world.size.cards, count)[length]
    return bought(rng, world, when, card, np.where(far, world.near[0, centre, rng.integers(0, 9, len(card))], local))


def games(rng: np.random.Generator, world: World) -> Purchases:
    """Give tiny purchases in quick succession without the card: games and subscriptions, of one card in twenty."""
    players = rng.choice(world.size.cards, world.size.cards // 20, replace=False)
    count = len(players) * world.size.days // 14
    card, day, length = episodes(rng, world, count, 2, 9)
    card = players[rng.integers(0, len(players), count)][length]
    when = moment(rng, world, card, day) + rng.uniform(0, 0.04, len(card))
    made = bought(rng, world, when, card, world.favourites[card, 0])
    return Purchases(made.day, card, made.terminal, rng.uniform(0.5, 5, len(card)), made.online, made.pattern)


def episodes(rng: np.random.Generator, world: World, count: int, least: int, most: int) -> tuple[Array, Array, Array]:
    """Draw ``count`` episodes of ``least`` to ``most`` - 1 purchases; give card, first day and episode of each."""
    of = np.repeat(np.arange(count), rng.integers(least, most, count))
    card, day = rng.integers(0, world.size.cards, count), rng.integers(0, world.size.days, count)
    return card[of], day[of], of
