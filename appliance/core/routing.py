"""Which backend a model runs on first, from what each was measured to need on this very device. Pure.

Dense and recurrent networks often belong on the CPU: an Edge TPU is fast at convolutions, and each of its invokes
crosses a bus (google-coral/edgetpu#89, edgetpu#689, libedgetpu#62).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise, zip_longest

MARGIN = 0.1
"""The share of the twin's time that another backend must save to be taken before it. The twin is there from the first
second, takes no turn with other models, and is never lost, so it is taken where nothing is won; and 10 % is more than
the medians of two runs on one device differ."""
ROUTES_MAX = 64
"""Measurements that are kept: the newest."""
TWO_DIGITS_MS = 10.0
"""From here on times are told in whole milliseconds."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What one backend needs for an invoke, in milliseconds."""

    backend: str
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Situation:
    """What a measurement holds for: change any of it, and it has to be taken again."""

    sha256: str
    """Of the model's file."""
    backends: tuple[str, ...]
    """As configured, one or more; the last is the twin."""
    platform: str
    """Runtimes with their versions, and the board."""
    settings: str
    """What of the configuration changes the times: threads, the Edge TPU's clock."""


@dataclass(frozen=True, slots=True)
class Route:
    """A model's backends as they were measured in one run, in turns."""

    model: str
    version: str
    situation: Situation
    timings: tuple[Timing, ...]
    """Of the backends that were there; at most one each."""

    @property
    def order(self) -> tuple[str, ...]:
        """The order to use: see ``order``."""
        return order(self.situation.backends, self.timings)

    def __str__(self) -> str:
        """Tell the times, the backend that is asked first in front: ``cpu 0.2 ms < tpu 0.9 ms``.

        A twin that is taken because the other wins too little stands before ``~``.
        """
        places = {backend: place for place, backend in enumerate(self.order)}
        told = sorted(self.timings, key=lambda each: (places.get(each.backend, len(places)), each.p50_ms))
        signs = ["<" if each.p50_ms < after.p50_ms else "~" for each, after in pairwise(told)]
        words = [f"{each.backend} {_said(each.p50_ms)} ms" for each in told]
        return " ".join(word for pair in zip_longest(words, signs) for word in pair if word)


def order(backends: tuple[str, ...], timings: Iterable[Timing]) -> tuple[str, ...]:
    """Return the order in which a model's backends are used; the twin is always in it, and always the last.

    Those that do not win against the twin by ``MARGIN`` are left out; those that do take one another's places, the
    fastest first. A backend that was not measured, because it was not there, keeps its place: it may come. Medians are
    compared, because the slowest hundredth of a short run is the other work of the device.

    Args:
        backends: in the configured order, one or more.
        timings: of some of them.
    """
    p50_ms = {each.backend: each.p50_ms for each in timings}
    *others, twin = backends
    if twin not in p50_ms:
        return backends
    enough_ms = p50_ms[twin] * (1.0 - MARGIN)
    kept = [each for each in others if each not in p50_ms or p50_ms[each] <= enough_ms]
    fastest_first = iter(sorted((each for each in kept if each in p50_ms), key=lambda each: p50_ms[each]))
    return (*(next(fastest_first) if each in p50_ms else each for each in kept), twin)


def find(routes: Iterable[Route], situation: Situation) -> Route | None:
    """Return the measurement that was taken in this very situation; None when there is none."""
    return next((route for route in routes if route.situation == situation), None)


def learn(routes: Iterable[Route], route: Route) -> tuple[Route, ...]:
    """Return ``routes`` with ``route`` in front, in the place of one of the same situation; at most ``ROUTES_MAX``."""
    others = [each for each in routes if each.situation != route.situation]
    return (route, *others)[:ROUTES_MAX]


def _said(took_ms: float) -> str:
    return f"{took_ms:.0f}" if took_ms >= TWO_DIGITS_MS else f"{took_ms:.2g}"
