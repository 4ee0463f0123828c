"""The appliance with a sensor that misbehaves on purpose, that of the channel ``odd``: ``misbehaving.py HOW CONFIG``.

``crash``: a bug, after a few frames. ``hang``: a capture that never returns, after a few frames; it ends with the
process. All else is as ``appliance run`` has it.
"""

import signal
import sys
from pathlib import Path
from threading import Event

from appliance import config as configuration
from appliance import log
from appliance.adapters.sensors import make_sensor
from appliance.compose import Parts, build
from appliance.config import SensorConfig
from appliance.core.types import Frame
from appliance.ports import Sensor, SensorContext

FRAMES = 10


class Misbehaving:
    """Implements ``ports.Sensor``: the configured sensor, for its first ``FRAMES`` frames."""

    def __init__(self, inner: Sensor, how: str) -> None:
        self._inner = inner
        self._how = how
        self._left = FRAMES

    @property
    def newest_only(self) -> bool:
        """As the sensor is."""
        return self._inner.newest_only

    def open(self) -> None:
        """As the sensor does."""
        self._inner.open()

    def capture(self, timeout_s: float) -> Frame:
        """As the sensor does, for a while."""
        self._left -= 1
        if self._left < 0 and self._how == "crash":
            msg = "a bug that nobody thought of"
            raise ZeroDivisionError(msg)
        if self._left < 0:
            Event().wait()
        return self._inner.capture(timeout_s)

    def close(self) -> None:
        """As the sensor does."""
        self._inner.close()


def main(how: str, file: Path) -> int:
    """Run until SIGTERM or the end; returns the exit code."""
    loaded = configuration.load(file)
    log.configure(loaded.log.level, loaded.log.format)
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def make(config: SensorConfig, context: SensorContext) -> Sensor:
        sensor: Sensor = make_sensor(config, context)
        return Misbehaving(sensor, how) if context.channel == "odd" else sensor

    return build(loaded, file=file, parts=Parts(make_sensor=make)).run(stop)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
