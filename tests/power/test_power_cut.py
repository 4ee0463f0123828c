"""The store of models under power cuts: whatever the moment, what was promised is there, and the update goes on.

A cut anywhere in an update, kept or rolled back, of a device with models or of a new one; and in what follows a cut.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache, lru_cache
from itertools import islice

import pytest

from appliance.adapters.slots import Slots
from appliance.errors import StoreError
from appliance.trust.state import Stage
from tests.power.claims import Claims, faults
from tests.power.rig import Bench, Image, Log, images, needed, prepare, record
from tests.power.subject import BUNDLE, CONTENT, NEW, OLD, ended
from tests.slots import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PROGRAM = (sys.executable, "-m", "tests.power.subject")
DEFAULTS = ""
WRITEBACK = "data=writeback,noauto_da_alloc"
CASES = (
    ("prepare", "good", DEFAULTS),
    ("prepare", "good", WRITEBACK),
    ("prepare", "bad", WRITEBACK),
    ("nothing", "good", DEFAULTS),
)
TORN = 4
IMAGES_MIN = 250
"""Of each case; together a thousand."""
RESUME_EVERY = 7
"""On every so manieth image the update goes on to its end."""
NESTED = 4
"""Cuts of which the recovery is recorded, and cut again."""
NESTED_EVERY = 8
BUNDLES = {BUNDLE.sha256: (BUNDLE, CONTENT)}


@pytest.fixture(autouse=True)
def _rig() -> None:
    needed()


@cache
def prepared(what: str) -> tuple[bytes, tuple[str, ...]]:
    """A disk on which ``what`` was done, and what was promised by that; of ``nothing``, an empty disk."""
    return prepare(["true"] if what == "nothing" else [*PROGRAM, what, "{folder}"])


def recorded(before: str, what: str, options: str, *left_out: str) -> tuple[Log, tuple[str, ...]]:
    base, told = prepared(before)
    return record([*PROGRAM, what, "{folder}", *left_out], base, options=options), told


@lru_cache(maxsize=1)
def promised(marks: tuple[str, ...]) -> Claims:
    """What marks say; of the many images between two marks once."""
    return Claims.of(marks, MODEL)


def wrong(bench: Bench, image: Image) -> list[str]:
    """What is not as was promised on an image; one that cannot be mounted is nothing but wrong."""
    try:
        with bench.mounted(image.content) as folder:
            return list(faults(folder / "models", promised(image.marks), BUNDLES))
    except (OSError, StoreError) as error:
        return [str(error)]


def checked(bench: Bench, cuts: Iterator[Image], *, good: bool) -> int:
    """Hold every image against what was promised, and let the update go on from some of them; return their number."""
    number = 0
    for number, image in enumerate(cuts, start=1):
        assert wrong(bench, image) == [], image.moment
        if number % RESUME_EVERY == 0:
            with bench.mounted(image.content) as folder:
                ended(folder / "models", good=good)
    return number


@pytest.mark.parametrize(("before", "what", "options"), CASES)
def test_a_cut_at_any_moment_breaks_nothing_and_loses_nothing_that_was_promised(
    before: str, what: str, options: str
) -> None:
    log, told = recorded(before, what, options)
    with Bench() as bench:
        number = checked(bench, images(log, seed=2, told=told, torn=TORN), good=what == "good")
    print(f"{before}, {what} ({options or 'defaults'}): {number} images, 0 broken, 0 lost")
    assert number >= IMAGES_MIN


@pytest.mark.parametrize("what", ["good", "bad"])
def test_a_cut_in_what_follows_a_cut_breaks_nothing_either(what: str) -> None:
    log, told = recorded("prepare", what, DEFAULTS)
    moments = sum(1 for _ in images(log, seed=3, told=told))
    number = 0
    with Bench() as bench:
        for again in range(1, NESTED + 1):
            cut = next(islice(images(log, seed=3, told=told), moments * again // (NESTED + 1), None))
            recovery = record([*PROGRAM, what, "{folder}"], bytes(cut.content))
            later = islice(images(recovery, seed=again, told=cut.marks), 0, None, NESTED_EVERY)
            number += checked(bench, later, good=what == "good")
    print(f"{what}: {number} images of {NESTED} recoveries")
    assert number >= NESTED * 5


@pytest.mark.parametrize("left_out", ["files", "folders"])
def test_the_same_store_without_some_of_its_syncs_is_caught(left_out: str) -> None:
    log, told = recorded("prepare", "good", DEFAULTS, left_out)
    with Bench() as bench:
        counts = Counter(bool(wrong(bench, image)) for image in images(log, seed=4, told=told))
    print(f"without syncs of {left_out}: {counts[True]} of {counts.total()} images are wrong")
    assert counts[True] > 0


@pytest.mark.parametrize(
    "flip", [CONTENT[100_000:100_016], NEW.files["golden/golden.npz"][-200:-184]], ids=["the bundle", "the model"]
)
def test_a_medium_that_gives_back_something_else_is_noticed_before_anything_depends_on_it(flip: bytes) -> None:
    base, _ = prepared("prepare")
    log = record([*PROGRAM, "good", "{folder}"], base, flip=flip)
    *_, last = images(log, seed=5, torn=0)
    with Bench() as bench, bench.mounted(last.content) as folder:
        state = Slots(folder / "models").load(MODEL)
        assert (state.stage, state.outcome, state.committed) == (Stage.IDLE, "failed", OLD.model_id)
        assert Slots(folder / "models").folder(NEW.model_id) is None
