"""Keeps a sensor open: closes it when it fails and opens it again with backoff, at the loop's own pace."""

from collections.abc import Callable
from threading import Event

from appliance.core.backoff import Backoff
from appliance.core.types import Frame
from appliance.errors import Idle, SensorError
from appliance.ports import Clock, Meter, Sensor


class Sensing:
    """A sensor that may be lost at any moment, as the loop wants to see it.

    ``capture`` returns or raises within ``timeout_s``, but for the time the sensor itself takes to open, which its
    own bound holds. Used by the channel's thread only.
    """

    def __init__(
        self,
        sensor: Sensor,
        *,
        channel: str,
        timeout_s: float,
        backoff: Backoff,
        jitter: Callable[[], float],
        clock: Clock,
        meter: Meter,
        stop: Event,
    ) -> None:
        """``jitter`` gives fractions in [0, 1) that spread the reopening of many devices."""
        self._sensor = sensor
        self._channel = channel
        self._timeout_s = timeout_s
        self._backoff = backoff
        self._jitter = jitter
        self._clock = clock
        self._meter = meter
        self._stop = stop
        self._is_open = False
        self._attempt = 0
        self._open_at_s = clock.monotonic_s()
        self._fault = "not opened yet"

    def capture(self) -> Frame:
        """Return the next frame.

        Raises SensorError while the sensor is lost (after at most ``timeout_s``), Idle when it is well and has
        nothing to judge, EndOfRecording when it never will again.
        """
        if not self._is_open:
            self._reopen()
        try:
            frame = self._sensor.capture(self._timeout_s)
        except SensorError as error:
            self._lose(error)
            raise
        except Idle:
            self._attempt = 0
            raise
        self._attempt = 0
        return frame

    @property
    def fault(self) -> str:
        """Why there is no frame; for any thread."""
        return self._fault

    def close(self) -> None:
        """Let the sensor go. Idempotent; never raises."""
        self._sensor.close()
        self._is_open = False

    def _reopen(self) -> None:
        """Open the sensor when its time has come; until then wait, and say why there is no frame.

        After a wait it is the next call's turn to open and capture, or one call could take twice ``timeout_s``.
        """
        wait_s = self._open_at_s - self._clock.monotonic_s()
        if wait_s > 0:
            self._clock.wait(self._stop, min(wait_s, self._timeout_s))
            raise SensorError(self._fault)
        try:
            self._sensor.open()
        except SensorError as error:
            self._lose(error)
            raise
        self._is_open, self._fault = True, "the sensor does not return"

    def _lose(self, error: SensorError) -> None:
        """Close the sensor and set the time of the next attempt."""
        self._sensor.close()
        self._is_open = False
        self._fault = str(error)
        self._open_at_s = self._clock.monotonic_s() + self._backoff.delay_s(self._attempt, self._jitter())
        self._attempt += 1
        self._meter.count("edge_sensor_reopens_total", channel=self._channel)
