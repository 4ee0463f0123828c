"""Which models are on an Edge TPU's worker, and which are kept off it: each by its name and version."""

import hashlib
from collections import Counter

from appliance.adapters.backends.exchange import Signature
from appliance.ports import Clock

REFUSED_RETRY_S = 3600.0
"""How long a model that is kept off is left alone while nothing of the Edge TPU has changed."""

DEATHS_MAX = 2
"""Workers that may end in a row while the same model is being loaded, before it is kept off for the others' sake."""


class Residents:
    """The models of one Edge TPU. ``refusals`` is for any thread, the rest for the probing one."""

    def __init__(self, clock: Clock) -> None:
        """Begin with none."""
        self._clock = clock
        self._numbers: dict[str, int] = {}
        self._refused: dict[str, tuple[str, float]] = {}
        self._serving: set[str] = set()
        self._sound: set[str] = set()
        """Models that were proven since the process began."""
        self._deaths: Counter[str] = Counter()
        """Workers that ended in a row while a model was being loaded."""
        self.expected = 0
        """How many models are to run here."""

    @property
    def some(self) -> bool:
        """Whether the worker has any."""
        return bool(self._numbers)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Those that are kept off, each with why."""
        return tuple(f"{model}: {reason}" for model, (reason, _) in sorted(dict(self._refused).items()))

    def number(self, key: str) -> int | None:
        """Return a model's number on the worker by its ``key_of``; None when it is not there."""
        return self._numbers.get(key)

    def add(self, key: str, number: int) -> None:
        """Remember a model that was loaded."""
        self._numbers[key] = number

    def leave(self) -> None:
        """Forget them all: there is another worker."""
        self._numbers.clear()
        self._serving.clear()

    def refuse(self, model: str, reason: str) -> None:
        """Keep a model off for ``REFUSED_RETRY_S``."""
        self._serving.discard(model)
        self._refused[model] = (reason, self._clock.monotonic_s())

    def dismiss(self, model: str) -> None:
        """Forget a model that does not come back."""
        self._refused.pop(model, None)
        self._serving.discard(model)
        self._sound.discard(model)

    def admit(self, model: str) -> None:
        """Let a model be there."""
        self._refused.pop(model, None)
        self._serving.add(model)
        self._sound.add(model)
        self._deaths.pop(model, None)

    def blame(self, model: str) -> bool:
        """Hear that the worker ended while ``model`` was being loaded; say whether the model is to blame.

        It is when another was sound here, or when it has happened ``DEATHS_MAX`` times and there is another to try.
        """
        self._deaths[model] += 1
        return bool(self._sound - {model}) or (self.expected > 1 and self._deaths[model] >= DEATHS_MAX)

    def others_serve(self, model: str) -> bool:
        """Whether another model was proven on this worker."""
        return bool(self._serving - {model})

    def forgive(self) -> None:
        """Let each be tried again: the Edge TPU is another one now, or was lost and comes back."""
        self._refused.clear()

    def may_try(self, model: str) -> bool:
        """Whether a model is not kept off now."""
        _, since_s = self._refused.get(model, ("", float("-inf")))
        return self._clock.monotonic_s() - since_s >= REFUSED_RETRY_S


def key_of(signature: Signature, content: bytes) -> str:
    """Return what tells a loaded model from every other: the digest of all that the worker was given."""
    return hashlib.sha256(signature.encode() + content).hexdigest()
