"""A seeded world of cards and terminals, with five kinds of fraud and honest behaviour that looks like each of them.

Nothing in it was fitted to real cards: rates, amounts and shares are guesses of the right order. Every draw comes from
one generator, so that a seed gives the same purchases again.

==========  ===================================================  ====================================================
pattern     what happens                                         what looks like it and is honest
==========  ===================================================  ====================================================
terminal    a merchant's terminal, four weeks: 12 % are fraud    big purchases
stolen      a card, hours: trials, then large sums anywhere      shopping sprees, journeys
takeover    a card, two weeks: ordinary sums without the card    cards that buy much without the card
testing     a merchant, hours: tiny sums of many cards, then     subscriptions and games: tiny sums in quick succession
            large sums with some of them
clone       a card, days: used far away while its owner goes on  journeys, people who move house
==========  ===================================================  ====================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from appliance.core.features.card_history import NAMES, CardHistory
from appliance.core.model import CardHistoryExtract
from appliance.core.types import Frame, FrameKind
from appliance.errors import NoScoreError
from models.fraud import frauds
from models.fraud.world import (
    DAY_S,
    NEVER,
    START_S,
    Purchases,
    Size,
    World,
    games,
    join,
    make_world,
    sprees,
    usual_days,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from appliance.forge.progress import Progress
    from models.fraud.world import Array

REPORT_DELAY_DAYS, REPORT_DELAY_SPREAD = 4.0, 0.8
"""Median and spread (of the logarithm): one report in ten takes more than 11 days."""
UNREPORTED = 0.03
WRONGLY_REPORTED = 0.0002
PROGRESS_EVERY = 1000


@dataclass(frozen=True)
class Scored:
    """What the device's own extractor made of a stream."""

    features: Array
    """float32 ``[n, len(NAMES)]``: every purchase that can be scored, in order of arrival."""
    row: Array
    """int ``[n]``: which purchase each is."""
    unscored: int
    """Purchases without a score: their card has no history."""


def simulate(seed: int, size: Size | None = None) -> tuple[World, Purchases, Array]:
    """Give a world, its purchases in order of time, and the day on which each is reported as fraud (or NEVER).

    Reports are late, some never come, and a few are wrong.
    """
    rng = np.random.default_rng(seed)
    world = make_world(rng, size or Size())
    honest = join([usual_days(rng, world), sprees(rng, world), games(rng, world)])
    skimmed = frauds.at_bad_terminals(rng, world, honest)
    everything = join([skimmed, *(draw(rng, world) for draw in frauds.EPISODES)])
    everything = everything.take(
        (everything.day >= world.issued_day[everything.card]) & (everything.day < world.size.days)
    )
    everything = everything.take(np.argsort(everything.day, kind="stable"))
    return world, everything, reports(rng, everything)


def reports(rng: np.random.Generator, purchases: Purchases) -> Array:
    """Give the day on which each purchase is reported as fraud, NEVER for most."""
    count = len(purchases)
    reported = np.where(purchases.pattern > 0, rng.random(count) >= UNREPORTED, rng.random(count) < WRONGLY_REPORTED)
    delay = REPORT_DELAY_DAYS * np.exp(rng.normal(0, REPORT_DELAY_SPREAD, count))
    return np.where(reported, purchases.day + delay, NEVER)


def frames(world: World, purchases: Purchases) -> Iterator[Frame]:
    """Give the requests as a device gets them, in order."""
    place = world.place_km[purchases.terminal]
    columns = (
        purchases.amount,
        START_S + np.floor(purchases.day * DAY_S),  # terminals tell whole seconds
        place[:, 0],
        place[:, 1],
        world.category[purchases.terminal],
        purchases.online,
    )
    records = np.stack([np.asarray(column, np.float64) for column in columns], axis=1)
    tokens = zip(purchases.card.tolist(), purchases.terminal.tolist(), strict=True)
    for seq, (card, terminal) in enumerate(tokens):
        context: dict[str, str | float] = {"card": f"card-{card}", "terminal": f"till-{terminal}"}
        yield Frame(FrameKind.RECORD, records[seq], 0.0, seq, context=context)


def score_features(
    world: World,
    purchases: Purchases,
    progress: Progress,
    extract: CardHistoryExtract | None = None,
) -> Scored:
    """Let the extractor that the device runs see the stream in order, and keep what it says."""
    history = CardHistory(extract or CardHistoryExtract())
    features = np.empty((len(purchases), len(NAMES)), np.float32)
    rows = np.empty(len(purchases), np.int64)
    count = 0
    for row, frame in enumerate(frames(world, purchases)):
        try:
            features[count] = history(frame)[0]
        except NoScoreError:
            continue
        rows[count] = row
        count += 1
        if count % PROGRESS_EVERY == 0:
            progress("features", count, len(purchases))
    return Scored(features[:count].copy(), rows[:count].copy(), len(purchases) - count)
