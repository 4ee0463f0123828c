"""What a candidate must be, and what it must show while it decides for a time. Pure.

``suits`` says whether it may take the place of the model that runs at all; ``Watch`` what the trial has come to. What
is no fault of the model (a lost sensor, a lead that fell off) is not held against it, nor is the network.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from math import prod, sqrt

from appliance.core.agreement import LOOKS_MIN, Look, degenerate
from appliance.core.model import Model
from appliance.core.types import FrameKind

STREAK_MAX = 5
"""Frames in a row that no backend answered with, at which a candidate is given up at once."""
ASKED_MIN = 20
"""Frames from which on a share of them means something."""
Z_95 = 1.96
"""Standard deviations on each side that hold 95 % of a normal distribution."""
LOOKS_MAX = 200
"""Of the frames that both models judged, the newest that are kept."""

_KEPT: tuple[tuple[Callable[[Model], object], str], ...] = (
    (lambda model: model.name, "its name"),
    (lambda model: model.task, "what it is for"),
    (lambda model: model.preprocess.kind, "the kind of frame that it takes"),
    (lambda model: model.extract, "how its features are extracted, of which the channel remembers some"),
    (lambda model: model.preprocess.features, "its features"),
    (lambda model: model.fields, "the fields of its requests"),
    (lambda model: model.tokens, "the words of its requests"),
    (lambda model: _numbers(model), "how many numbers it takes"),  # noqa: PLW0108 - defined below the table
    (lambda model: type(model.decode), "how its answers are read"),
)
"""What an update of a model must leave as it is, and in words."""


def suits(running: Model, candidate: Model, used: Iterable[str] = ()) -> str:
    """Say why ``candidate`` cannot take the place of ``running`` between two frames; empty where it can.

    Weights, normalisation, quantisation, the parameters of its decoder and its labels may change, and a picture's size.

    Args:
        running: the model whose channels it would judge for.
        candidate: verified.
        used: labels that rules look for: it must know them.
    """
    for value, words in _KEPT:
        if value(running) != value(candidate):
            return f"{candidate.name} {candidate.version} changes {words}"
    known = {*candidate.labels, getattr(candidate.decode, "label", "")}
    missing = sorted(set(used) - known)
    if missing:
        return f"{candidate.name} {candidate.version} does not know {', '.join(missing)}, which a rule looks for"
    return ""


def _numbers(model: Model) -> int:
    """Numbers of a frame; 0 for pictures, which come in any size and are fitted."""
    return 0 if model.preprocess.kind is FrameKind.IMAGE else prod(model.input.shape)


class Came(StrEnum):
    """What came of a frame."""

    RESULT = "result"
    LATE = "late"
    """It was too old before or after it was judged."""
    NO_BACKEND = "no_backend"
    """No backend answered."""
    NOT_FINITE = "not_finite"
    """The answer held NaN or infinity."""
    UNASKED = "unasked"
    """There was none, or it was not fit to be judged: nothing that a model could do about."""


_UNANSWERED = frozenset({Came.LATE, Came.NO_BACKEND, Came.NOT_FINITE})


def unanswered_share(came: Iterable[Came]) -> float:
    """Return the share of frames that a model was asked about and left without an answer; 0 where there were none."""
    asked = [each for each in came if each is not Came.UNASKED]
    return sum(each in _UNANSWERED for each in asked) / len(asked) if asked else 0.0


def at_most(hits: int, tries: int) -> float:
    """Return the highest share that ``hits`` of ``tries`` leave likely: the upper end of Wilson's 95 % interval (1927).

    Args:
        hits: 0 to ``tries``.
        tries: 1 or more.
    """
    share, spread = hits / tries, Z_95**2 / tries
    return (share + spread / 2 + Z_95 * sqrt((share * (1 - share) + spread / 4) / tries)) / (1 + spread)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What the trial has to show."""

    decisions_min: int
    duration_s: float
    faults_share_max: float
    """Share of frames that may stay without an answer, beyond ``own_share``."""
    own_share: float = 0.0
    """That the model before left unanswered."""
    agreement_min: float = 0.0
    """Share of the frames that both judge on which they must agree."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a trial came to."""

    good: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Watch:
    """A trial so far."""

    criteria: Criteria
    started_s: float
    """Monotonic time at which it began."""
    results: int = 0
    unanswered: int = 0
    streak: int = 0
    """Frames in a row that no backend answered with, up to now."""
    not_finite: int = 0
    compared: int = 0
    """Frames that the model before was asked about as well."""
    looks: tuple[tuple[Look, Look], ...] = ()
    """What the candidate and the model before it made of the same frames."""
    agreed: int = 0
    answered: int = 0
    """Of the frames that the model before was asked about: both agreed; both answered."""

    def update(self, came: Came) -> "Watch":
        """Return the trial after one more frame."""
        if came is Came.UNASKED:
            return self
        return replace(
            self,
            results=self.results + (came is Came.RESULT),
            unanswered=self.unanswered + (came in _UNANSWERED),
            streak=self.streak + 1 if came is Came.NO_BACKEND else 0,
            not_finite=self.not_finite + (came is Came.NOT_FINITE),
        )

    def compare(self, looks: tuple[Look, Look] | None, *, agreed: bool = True) -> "Watch":
        """Return the trial after a frame that the model before was asked about as well; None: it had no answer."""
        if looks is None:
            return replace(self, compared=self.compared + 1)
        return replace(
            self,
            compared=self.compared + 1,
            looks=(*self.looks, looks)[-LOOKS_MAX:],
            agreed=self.agreed + agreed,
            answered=self.answered + 1,
        )

    def verdict(self, now_s: float) -> Verdict | None:
        """Say what it has come to at the monotonic time ``now_s``; None: not yet."""
        for fault in (
            self._outright(),
            self._too_many_unanswered(ASKED_MIN),
            degenerate(self.looks),
            self._disagrees(),
        ):
            if fault:
                return Verdict(good=False, reason=fault)
        enough = self.results >= self.criteria.decisions_min
        compared = self.compared >= min(LOOKS_MIN, self.criteria.decisions_min)
        if not (enough and compared and now_s - self.started_s >= self.criteria.duration_s):
            return None
        fault = self._too_many_unanswered(1)
        return Verdict(good=not fault, reason=fault or self.progress(now_s))

    def progress(self, now_s: float) -> str:
        """Say how far it is."""
        criteria = self.criteria
        time = f"{now_s - self.started_s:.0f} s ({criteria.duration_s:.0f} signed)"
        return f"{self.results} results ({criteria.decisions_min} signed), {time}"

    def _outright(self) -> str:
        """What needs no second time."""
        if self.not_finite:
            return "its answer is not a finite number"
        return f"no backend answered {self.streak} frames in a row" if self.streak >= STREAK_MAX else ""

    def _disagrees(self) -> str:
        """What the frames that both models judged say of their agreement, once chance cannot explain it."""
        wanted = self.criteria.agreement_min
        if self.answered < LOOKS_MIN or at_most(self.agreed, self.answered) >= wanted:
            return ""
        return f"it agrees with the model before it on {self.agreed} of {self.answered} frames; {wanted:.0%} are signed"

    def _too_many_unanswered(self, asked_min: int) -> str:
        """What the share of frames without an answer says, once ``asked_min`` were asked about."""
        asked = self.results + self.unanswered
        allowed = self.criteria.faults_share_max + self.criteria.own_share
        if asked < asked_min or self.unanswered <= allowed * asked:
            return ""
        return f"{self.unanswered} of {asked} frames without an answer; {allowed:.0%} are allowed"
