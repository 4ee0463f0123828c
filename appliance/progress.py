"""What a channel is doing, for those who look at it from other threads."""

from dataclasses import dataclass, field

from appliance.core.types import Decision

RATE_WINDOW_S = 5.0
"""Frames per second are counted over windows of this length."""


@dataclass(slots=True)
class Progress:
    """What the supervisor and the live view may look at from their threads; written by the channel's thread only."""

    last_decision: Decision | None = None
    last_progress_s: float = 0.0
    decisions: int = 0
    frames_per_s: float = 0.0
    sensor_ok: bool = False
    fault: str = ""
    finished: bool = False
    alerts: int = 0
    _window_started_s: float = field(default=0.0)
    _window_frames: int = field(default=0)

    def tick(self, now_s: float, *, judged: bool) -> None:
        """Note that the channel lives; count a judged frame. A blind or idle channel's rate falls to 0."""
        self.last_progress_s = now_s
        self._window_frames += judged
        elapsed_s = now_s - self._window_started_s
        if elapsed_s >= RATE_WINDOW_S:
            self.frames_per_s = self._window_frames / elapsed_s
            self._window_started_s, self._window_frames = now_s, 0
