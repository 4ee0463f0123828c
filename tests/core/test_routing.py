"""The faster backend is asked first, and the twin is never lost over it."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.core.routing import MARGIN, ROUTES_MAX, Route, Situation, Timing, find, learn, order

HERE = Situation("abc", ("tpu", "cpu"), "runtime 1 on a board", "threads 1")
NAMES = st.lists(st.sampled_from(["tpu", "onnx", "cpu", "other"]), min_size=1, max_size=4, unique=True)
# Times that often lie within the margin of one another, and often do not.
TIMES = st.one_of(st.floats(0.8, 1.2), st.floats(1e-3, 1e4), st.sampled_from([0.9, 1.0]))


@st.composite
def measured(draw: st.DrawFn) -> tuple[tuple[str, ...], tuple[Timing, ...]]:
    """Backends in a configured order, and what was measured of some of them."""
    backends = tuple(draw(NAMES))
    there = draw(st.lists(st.sampled_from(backends), unique=True))
    return backends, tuple(Timing(each, draw(TIMES), draw(TIMES)) for each in there)


def timings(**p50_ms: float) -> tuple[Timing, ...]:
    return tuple(Timing(backend, took_ms, took_ms * 2) for backend, took_ms in p50_ms.items())


def route(backends: tuple[str, ...] = ("tpu", "cpu"), **p50_ms: float) -> Route:
    return Route("person", "1.0.0", replace(HERE, backends=backends), timings(**p50_ms))


@pytest.mark.parametrize(
    ("backends", "p50_ms", "expected"),
    [
        (("tpu", "cpu"), {"tpu": 2.0, "cpu": 9.0}, ("tpu", "cpu")),
        (("tpu", "cpu"), {"tpu": 0.9, "cpu": 0.2}, ("cpu",)),
        (("tpu", "cpu"), {"tpu": 0.95, "cpu": 1.0}, ("cpu",)),
        (("tpu", "cpu"), {"cpu": 1.0}, ("tpu", "cpu")),
        (("tpu", "cpu"), {"tpu": 1.0}, ("tpu", "cpu")),
        (("tpu", "cpu"), {}, ("tpu", "cpu")),
        (("cpu",), {"cpu": 1.0}, ("cpu",)),
        (("tpu", "onnx", "cpu"), {"tpu": 3.0, "onnx": 2.0, "cpu": 9.0}, ("onnx", "tpu", "cpu")),
        (("tpu", "onnx", "cpu"), {"tpu": 9.5, "onnx": 2.0, "cpu": 9.0}, ("onnx", "cpu")),
        (("onnx", "tpu", "cpu"), {"onnx": 2.0, "cpu": 9.0}, ("onnx", "tpu", "cpu")),
        (("onnx", "tpu", "cpu"), {"onnx": 12.0, "cpu": 9.0}, ("tpu", "cpu")),
    ],
)
def test_who_wins_by_enough_is_asked_first_and_who_does_not_is_not_asked(
    backends: tuple[str, ...], p50_ms: dict[str, float], expected: tuple[str, ...]
) -> None:
    assert order(backends, timings(**p50_ms)) == expected


@given(measured())
def test_the_twin_is_always_there_and_always_the_last(case: tuple[tuple[str, ...], tuple[Timing, ...]]) -> None:
    backends, timed = case
    chosen = order(backends, timed)
    assert chosen[-1] == backends[-1]
    assert set(chosen) <= set(backends)
    assert len(set(chosen)) == len(chosen)


@given(measured())
def test_a_backend_that_was_not_there_keeps_its_place(case: tuple[tuple[str, ...], tuple[Timing, ...]]) -> None:
    backends, timed = case
    known = {each.backend for each in timed}
    chosen = order(backends, timed)
    assert [each for each in chosen if each not in known] == [each for each in backends if each not in known]


@given(measured())
def test_what_is_asked_before_the_twin_saves_the_margin_and_the_fastest_is_asked_first(
    case: tuple[tuple[str, ...], tuple[Timing, ...]],
) -> None:
    backends, timed = case
    p50_ms = {each.backend: each.p50_ms for each in timed}
    *others, twin = order(backends, timed)
    assume(twin in p50_ms)
    taken = [p50_ms[each] for each in others if each in p50_ms]
    assert taken == sorted(taken)
    assert all(each <= p50_ms[twin] * (1 - MARGIN) for each in taken)
    left_out = set(backends) - set(others) - {twin}
    assert all(p50_ms[each] > p50_ms[twin] * (1 - MARGIN) for each in left_out)


@given(measured())
def test_in_which_order_they_were_measured_does_not_matter(
    case: tuple[tuple[str, ...], tuple[Timing, ...]],
) -> None:
    backends, timed = case
    assume(len({each.p50_ms for each in timed}) == len(timed))  # of equals the first named is taken
    assert order(backends, timed[::-1]) == order(backends, timed)


@pytest.mark.parametrize(
    ("measured_there", "told"),
    [
        (route(tpu=0.91, cpu=0.204), "cpu 0.2 ms < tpu 0.91 ms"),
        (route(cpu=9.4, tpu=2.0), "tpu 2 ms < cpu 9.4 ms"),
        (route(tpu=0.95, cpu=1.0), "cpu 1 ms ~ tpu 0.95 ms"),
        (route(cpu=1234.5), "cpu 1234 ms"),
        (route(("tpu", "onnx", "cpu"), tpu=30.0, onnx=5.0, cpu=20.0), "onnx 5 ms < cpu 20 ms < tpu 30 ms"),
        (route(), ""),
    ],
)
def test_a_route_tells_its_times_with_the_backend_that_is_asked_first_in_front(
    measured_there: Route, told: str
) -> None:
    assert str(measured_there) == told


@pytest.mark.parametrize(
    "change",
    [{"sha256": "abd"}, {"backends": ("onnx", "cpu")}, {"platform": "runtime 2 on a board"}, {"settings": "threads 2"}],
    ids=lambda change: next(iter(change)),
)
def test_a_measurement_holds_for_its_own_situation_alone(change: dict[str, str]) -> None:
    known = (route(tpu=1.0, cpu=2.0),)
    assert find(known, HERE) == known[0]
    assert find(known, replace(HERE, **change)) is None  # type: ignore[arg-type]  # a value for each field


def test_a_new_measurement_takes_the_place_of_the_old_one_and_of_no_other() -> None:
    other = replace(route(tpu=5.0, cpu=6.0), situation=replace(HERE, settings="threads 4"))
    older, newer = route(tpu=1.0, cpu=2.0), route(tpu=3.0, cpu=2.0)
    assert learn((other, older), newer) == (newer, other)


def test_of_many_measurements_the_newest_are_kept() -> None:
    routes: tuple[Route, ...] = ()
    for number in range(ROUTES_MAX + 3):
        routes = learn(routes, replace(route(cpu=1.0), situation=replace(HERE, sha256=str(number))))
    assert [each.situation.sha256 for each in routes] == [str(number) for number in range(ROUTES_MAX + 2, 2, -1)]
