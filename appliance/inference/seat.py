"""A backend's place in the order."""

from dataclasses import dataclass, field

from appliance.core.deadline import InvokeDeadline
from appliance.ports import Backend, Recovering


@dataclass(slots=True)
class Seat:
    """A backend, whether it serves, and if not why and until when."""

    backend: Backend
    deadline: InvokeDeadline = field(default_factory=InvokeDeadline)
    """How long an answer is waited for."""
    serving: bool = False
    """Open, proven, and not dropped."""
    contradicted: bool = False
    """The model's file does not suit this backend and never will: not probed."""
    refuted: bool = False
    """It ran the model the last time it could be asked, and gave other numbers than the twin."""
    to_close: bool = False
    """Dropped, and its hardware not let go yet."""
    probing: bool = False
    """In the hands of ``probe``."""
    due_s: float = 0.0
    """When it may be probed."""
    reason: str = ""
    """Why it does not serve."""

    def due(self, now_s: float) -> bool:
        """Whether it may be probed now: when its interval is over, or when it says so itself."""
        if isinstance(self.backend, Recovering):
            return self.backend.due()
        return now_s >= self.due_s

    def lost(self) -> str:
        """Why a backend that serves can answer no more; empty where it can, or cannot know."""
        return self.backend.lost() if isinstance(self.backend, Recovering) else ""

    def proven(self) -> None:
        """Tell the backend that it may serve."""
        if isinstance(self.backend, Recovering):
            self.backend.proven()

    def refused(self, reason: str) -> None:
        """Tell the backend that its numbers are not the twin's."""
        if isinstance(self.backend, Recovering):
            self.backend.refused(reason)

    @property
    def recovers(self) -> bool:
        """Whether the backend knows by itself when it is worth a try."""
        return isinstance(self.backend, Recovering)

    def failed(self, reason: str) -> None:
        """Tell the backend that it was open and did not answer."""
        if isinstance(self.backend, Recovering):
            self.backend.failed(reason)
