"""How long a fault is left alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.backoff import Backoff

BACKOFFS = st.builds(Backoff, st.floats(0.01, 60.0), st.floats(0.01, 3600.0))
ATTEMPTS = st.integers(0, 60) | st.integers(1000, 10**9)  # a year of failures must not overflow
FRACTIONS = st.floats(0.0, 1.0, exclude_max=True)
ALMOST_ONE = 1.0 - 2**-53


@pytest.mark.parametrize(
    ("attempt", "fraction", "delay_s"),
    [
        (0, 0.0, 0.5),
        (0, 0.5, 0.75),
        (1, 0.5, 1.25),
        (3, 0.0, 0.5),
        (3, 0.5, 4.25),
        (5, 0.5, 15.25),  # 0.5 * 2**6 is beyond the cap of 30
        (99, 0.5, 15.25),
    ],
)
def test_the_range_of_delays_doubles_with_each_attempt_up_to_the_cap(
    attempt: int, fraction: float, delay_s: float
) -> None:
    assert Backoff(0.5, 30.0).delay_s(attempt, fraction) == pytest.approx(delay_s)


@given(BACKOFFS, ATTEMPTS, FRACTIONS)
def test_every_delay_lies_between_the_bounds(backoff: Backoff, attempt: int, fraction: float) -> None:
    delay_s = backoff.delay_s(attempt, fraction)
    assert backoff.min_s <= delay_s <= max(backoff.min_s, backoff.max_s)


@given(BACKOFFS, FRACTIONS)
def test_a_later_attempt_never_waits_less_for_the_same_fraction(backoff: Backoff, fraction: float) -> None:
    delays_s = [backoff.delay_s(attempt, fraction) for attempt in range(20)]
    assert all(earlier <= later for earlier, later in pairwise(delays_s))


@given(BACKOFFS, ATTEMPTS)
def test_jitter_spreads_over_the_whole_range(backoff: Backoff, attempt: int) -> None:
    ceiling_s = backoff.delay_s(attempt, ALMOST_ONE)
    assert backoff.delay_s(attempt, 0.0) == backoff.min_s
    middle_s = backoff.delay_s(attempt, 0.5)
    assert middle_s == pytest.approx((backoff.min_s + ceiling_s) / 2)
