"""The day's bytes: never more than a day's for each day of running, and one; whatever the clocks and reboots."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.core.budget import DAY_S, Bucket, full, refill, spend

DAILY = 1_000_000
HOUR_S = 3600.0


def test_a_new_device_may_fetch_a_days_bytes_at_once_and_no_more() -> None:
    bucket = spend(full(DAILY, "a", 5.0), DAILY)
    assert bucket is not None
    assert spend(bucket, 1) is None


def test_it_fills_as_the_device_runs_and_never_over_its_brim() -> None:
    empty = Bucket(0.0, "a", 0.0)
    assert refill(empty, DAILY, "a", DAY_S / 2).left_bytes == DAILY / 2
    assert refill(empty, DAILY, "a", 30 * DAY_S).left_bytes == DAILY


def test_time_without_power_gives_nothing_but_time_since_the_boot_does() -> None:
    """A device that runs an hour a day must not wait for ever, and must not be given the 23 hours."""
    empty = Bucket(0.0, "a", 40 * DAY_S)
    assert refill(empty, DAILY, "b", HOUR_S).left_bytes == DAILY * HOUR_S / DAY_S


def test_an_id_that_changes_though_the_device_was_not_rebooted_gives_no_time_twice() -> None:
    """Where a sandbox hides the boot's id, each process draws one."""
    bucket = Bucket(0.0, "a", 10 * DAY_S)
    assert refill(bucket, DAILY, "b", 10 * DAY_S + HOUR_S).left_bytes == DAILY * HOUR_S / DAY_S


def test_a_lower_limit_holds_at_once() -> None:
    assert refill(full(DAILY, "a", 0.0), DAILY // 10, "a", 1.0).left_bytes == DAILY // 10


runs = st.lists(
    st.tuples(
        st.booleans(),  # rebooted before
        st.floats(0.0, 3 * DAY_S),  # ran so long, since the boot or the run before
        st.lists(st.integers(1, DAILY), max_size=4),  # tries to fetch so much, again and again
    ),
    max_size=20,
)


@given(story=runs, hidden=st.booleans())
def test_never_more_than_a_days_bytes_for_each_day_of_running_and_one(
    *, story: list[tuple[bool, float, list[int]]], hidden: bool
) -> None:
    """``hidden``: every run has a boot id of its own, rebooted or not."""
    bucket, boot, mono_s, ran_s, fetched = full(DAILY, "0", 0.0), 0, 0.0, 0.0, 0
    for number, (rebooted, seconds, wanted) in enumerate(story):
        boot, mono_s = (boot + 1, seconds) if rebooted else (boot, mono_s + seconds)
        ran_s += seconds
        bucket = refill(bucket, DAILY, str(-number - 1 if hidden else boot), mono_s)
        for count in wanted:
            after = spend(bucket, count)
            bucket, fetched = (after, fetched + count) if after else (bucket, fetched)
        assert 0.0 <= bucket.left_bytes <= DAILY
        assert fetched <= DAILY * (ran_s / DAY_S + 1) + 1
