"""What a trial sees of the loop: what came of each frame, and now and then a frame itself. Never holds the loop up."""

from collections import deque
from collections.abc import Iterable
from threading import Condition

from appliance.core.model import Model
from appliance.core.trial import Came
from appliance.core.types import OutcomeState
from appliance.errors import FrameError, NoBackendError
from appliance.loop import Channel, Seen

CAME_MAX = 4096
"""What came of so many frames is kept until somebody asks; of more, the newest."""


class Onlooker:
    """``see`` is for the loops' threads, the rest for the trial's."""

    def __init__(self, channels: Iterable[Channel]) -> None:
        """Look on at ``channels`` from now on."""
        self._came: deque[tuple[Model, Came]] = deque(maxlen=CAME_MAX)
        self._changed = Condition()
        self._places: dict[str, Seen] = {}
        """One for each channel: a frame that was judged, and waits to be judged by another."""
        self._every = self._passed = 0
        for channel in channels:
            channel.observe = self.see

    def see(self, seen: Seen) -> None:
        """Note a step of the loop; offer its frame if one is wanted and the place is free."""
        came = came_of(seen)
        self._came.append((seen.judge.model, came))
        if came is not Came.RESULT or not self._every:
            return
        with self._changed:  # held for no longer than this takes
            self._passed += 1
            if self._every and self._passed % self._every == 0 and seen.decision.channel not in self._places:
                self._places[seen.decision.channel] = seen
                self._changed.notify_all()

    def offer(self, every: int) -> None:
        """Offer one of ``every`` frames from now on; 0: none, and let go of those that wait."""
        with self._changed:
            self._every = every
            self._places.clear()

    def take(self, within_s: float) -> Seen | None:
        """Return a frame that was judged, the one that has waited longest; None when there is none in time."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._places), within_s)
            channel = next(iter(self._places), None)
            return None if channel is None else self._places.pop(channel)

    def came(self, model: Model) -> list[Came]:
        """Return what came of the frames that ``model`` was asked about since the last call, as far as it is kept."""
        taken = [self._came.popleft() for _ in range(len(self._came))]
        return [came for asked, came in taken if asked is model]


def came_of(seen: Seen) -> Came:
    """Say what came of a step of the loop."""
    state = seen.decision.outcome_state
    if state is OutcomeState.RESULT:
        return Came.RESULT
    if isinstance(seen.fault, NoBackendError):
        return Came.NO_BACKEND
    if seen.taken is None or state is not OutcomeState.NO_RESULT:
        return Came.UNASKED
    if isinstance(seen.fault, FrameError):  # of a frame that could not be prepared, the sensor's; else of the answer
        return Came.NOT_FINITE if seen.taken.parts else Came.UNASKED
    return Came.LATE
