"""The history of cards and terminals over restarts, at its bounds, and damaged."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.features import ENTRY_BYTES_MAX, FORGOTTEN
from appliance.core.features.book import Book, digest
from appliance.core.features.card_history import NAMES, CardHistory
from appliance.core.model import CardHistoryExtract
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import NoScoreError

START_S = 1_704_110_400.0
DAY_S = 86_400.0

Purchase = tuple[float, float, float, int, int, str, str]

STEPS_S = st.sampled_from((0.0, 0.0, 1.0, 40.0, 3000.0, 50_000.0, 400_000.0, 4e7, -30.0, -80_000.0, -90_000.0, -3e7))
"""From a purchase's time to the next one's: equal, near, far, late, and late beyond what is judged."""


@st.composite
def streams(draw: st.DrawFn, *, most: int = 40) -> list[Frame]:
    """Purchases of few cards at few terminals, so that histories grow, push one another out and go astray."""
    frames, time_s = [], START_S
    for seq in range(draw(st.integers(0, most))):
        time_s = min(max(time_s + draw(STEPS_S), 0.0), 4.1e9)
        numbers = [
            draw(st.sampled_from((0.01, 1.0, 19.99, 20.0, 700.0, 1e9))),
            time_s,
            draw(st.sampled_from((-50_000.0, 0.0, 3.3, 50_000.0))),
            draw(st.sampled_from((0.0, 7.7))),
            draw(st.integers(0, 7)),
            draw(st.integers(0, 1)),
        ]
        context: dict[str, str | float] = {
            "card": draw(st.sampled_from("aaaabbc")),
            "terminal": draw(st.sampled_from("xxyz")),
        }
        frames.append(Frame(FrameKind.RECORD, np.array(numbers, np.float64), 0.0, seq, context=context))
    return frames


def said(history: CardHistory, frames: list[Frame]) -> list[bytes | str]:
    """What a history says of each frame: the vector's bytes, or why there is none."""
    answers: list[bytes | str] = []
    for frame in frames:
        try:
            answers.append(history(frame)[0].tobytes())
        except NoScoreError as error:
            answers.append(str(error))
    return answers


def drained(history: CardHistory, entries_max: int = 1000) -> dict[str, bytes]:
    """All that changed, in helpings."""
    entries: dict[str, bytes] = {}
    while helping := history.changes(entries_max):
        assert len(helping) <= entries_max
        entries |= helping
    return entries


def kept(entries: dict[str, bytes]) -> dict[str, bytes]:
    return {name: value for name, value in entries.items() if value != FORGOTTEN}


SMALL = CardHistoryExtract(cards_max=2, terminals_max=2, history_min=2)


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(streams(most=25), min_size=2, max_size=4), helping=st.integers(1, 5))
def test_whatever_came_restarts_change_nothing(parts: list[list[Frame]], helping: int) -> None:
    ongoing, device = CardHistory(SMALL), CardHistory(SMALL)
    disk: dict[str, bytes] = {}
    for frames in parts:  # what is forgotten, comes again and changes is handed out more than once
        assert said(device, frames) == said(ongoing, frames)
        disk |= drained(device, helping)
        device = CardHistory(SMALL)
        device.restore(dict(reversed(kept(disk).items())))
        assert drained(device) == {}, "what was handed back is not new"


@settings(max_examples=40, deadline=None)
@given(frames=streams())
def test_whatever_comes_features_are_finite_and_memory_bounded(frames: list[Frame]) -> None:
    history = CardHistory(SMALL)
    for answer in said(history, frames):
        if isinstance(answer, bytes):
            vector: Array = np.frombuffer(answer, np.float32)
            assert vector.shape == (len(NAMES),)
            assert np.isfinite(vector).all()
    entries = drained(history)
    assert len(kept(entries)) <= 5
    assert all(len(value) < 1000 <= ENTRY_BYTES_MAX and len(name) == 17 for name, value in entries.items())


def three_days(card: str) -> list[Frame]:
    context: dict[str, str | float] = {"card": card, "terminal": "x"}
    return [
        Frame(FrameKind.RECORD, np.array([20.0, START_S + day * DAY_S, 0, 0, 0, 0]), 0.0, day, context=context)
        for day in range(3)
    ]


def next_of(card: str) -> Frame:
    context: dict[str, str | float] = {"card": card, "terminal": "x"}
    return Frame(FrameKind.RECORD, np.array([30.0, START_S + 3 * DAY_S, 0, 0, 0, 0]), 0.0, 9, context=context)


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 2000), bit=st.integers(0, 7))
def test_a_damaged_entry_is_left_out_and_the_others_are_not(place: int, bit: int) -> None:
    history = CardHistory(CardHistoryExtract())
    said(history, three_days("a") + three_days("b"))
    entries = drained(history)
    name = "c" + digest("a").hex()
    damaged = bytearray(entries[name])
    damaged[place % len(damaged)] ^= 1 << bit
    restored = CardHistory(CardHistoryExtract())
    restored.restore({**entries, name: bytes(damaged)})
    judged, unjudged = said(restored, [next_of("b"), next_of("a")])
    assert isinstance(judged, bytes)
    assert unjudged == "no history of this card"


def entries_of_a_book() -> dict[str, bytes]:
    book = Book("c", 1, "2d", 10)
    for token in "ab":
        book.write(digest(token), (1.0, 2.0))
    return dict(book.changes(10))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one, two: {one[0]: two[1], two[0]: one[1]},
        lambda one, _: {one[0]: one[1][:-1]},
        lambda one, _: {one[0]: one[1] + b"\0"},
        lambda one, _: {one[0]: b""},
        lambda one, _: {one[0].upper(): one[1]},
        lambda one, _: {one[0][:-2]: one[1]},
        lambda one, _: {"t" + one[0][1:]: one[1]},
        lambda one, _: {"": one[1], "c": one[1], "cxyz": one[1], "c" + "é" * 16: one[1]},
    ],
    ids=["another's", "cut", "longer", "empty", "capitals", "short name", "another book's", "no names"],
)
def test_an_entry_that_is_not_what_was_handed_out_is_left_out(spoil) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - a lambda
    one, two = entries_of_a_book().items()
    book = Book("c", 1, "2d", 10)
    book.restore(spoil(one, two))
    assert len(book) == 0


def test_entries_of_another_version_are_left_out() -> None:
    same, newer = Book("c", 1, "2d", 10), Book("c", 2, "2d", 10)
    for book in (same, newer):
        book.restore(entries_of_a_book())
    assert (len(same), len(newer)) == (2, 0)


def test_of_more_than_fits_those_used_last_come_back_and_the_others_are_told_as_forgotten() -> None:
    large = Book("c", 1, "2d", 10)
    for token in "abcd":
        large.write(digest(token), (1.0, 2.0))
    large.write(digest("a"), (3.0, 4.0))
    small = Book("c", 1, "2d", 2)
    small.restore(dict(large.changes(10)))
    assert [small.read(digest(token)) is not None for token in "abcd"] == [True, False, False, True]
    assert dict(small.changes(10)) == {f"c{digest(token).hex()}": FORGOTTEN for token in "bc"}
    small.write(digest("e"), (5.0, 6.0))
    assert small.read(digest("d")) is None, "the order of use came back too"


def test_the_order_of_use_goes_on_over_two_restarts() -> None:
    disk: dict[str, bytes] = {}
    for tokens in ("abab", "c", "d"):
        book = Book("c", 1, "2d", 3)
        book.restore(kept(disk))
        for token in tokens:
            book.write(digest(token), (1.0, 2.0))
        disk |= dict(book.changes(10))
    assert [f"c{digest(token).hex()}" in kept(disk) for token in "abcd"] == [False, True, True, True]


def test_changes_are_handed_out_once_and_what_waits_longest_first() -> None:
    book = Book("c", 1, "2d", 10)
    for token in "abc":
        book.write(digest(token), (1.0, 2.0))
    assert list(dict(book.changes(2))) == [f"c{digest(token).hex()}" for token in "ab"]
    book.write(digest("a"), (2.0, 2.0))
    assert list(dict(book.changes(5))) == [f"c{digest(token).hex()}" for token in "ca"]
    assert dict(book.changes(5)) == {}


def test_an_entry_that_was_forgotten_and_comes_again_is_told_as_it_is() -> None:
    book = Book("c", 1, "2d", 2)
    for token in "abca":
        book.write(digest(token), (1.0, 2.0))
    told = [(name, value != FORGOTTEN) for name, value in book.changes(10)]
    assert told == [(f"c{digest(token).hex()}", known) for token, known in (("b", False), ("c", True), ("a", True))]


def test_what_nobody_asks_for_does_not_pile_up() -> None:
    book = Book("c", 1, "2d", 5)
    for number in range(1000):
        book.write(digest(str(number)), (1.0, 2.0))
    assert len(book) == 5
    assert len(dict(book.changes(5000))) <= 10


def test_a_helping_never_starves_cards_or_terminals() -> None:
    history = CardHistory(CardHistoryExtract())
    for terminal in "wxyz":
        said(history, [replace(frame, context={**frame.context, "terminal": terminal}) for frame in three_days("a")])
    assert sorted(name[0] for name in history.changes(2)) == ["c", "t"]


def test_no_token_is_in_what_is_kept() -> None:
    history = CardHistory(CardHistoryExtract())
    said(history, three_days("card-4711-secret"))
    stored = b"".join(name.encode() + value for name, value in drained(history).items())
    assert b"4711" not in stored
