"""Reads observations out of a running appliance's meter."""

from threading import Event

from appliance.compose import Appliance
from appliance.errors import BrokerError

LOOK_S = 0.05


def recent(appliance: Appliance, name: str, *, count: int = 1, within_s: float = 0.0, **labels: str) -> list[float]:
    """Return the newest observations of a histogram, once there are ``count`` of them.

    Raises BrokerError when there are fewer after ``within_s`` seconds: what was to be measured did not happen.
    """
    deadline_s = appliance.clock.monotonic_s() + within_s
    while True:
        values = appliance.meter.recent(name, **labels)
        if len(values) >= count:
            return values
        if appliance.clock.monotonic_s() >= deadline_s:
            message = f"{len(values)} of {count} observations of {name} within {within_s:g} s"
            raise BrokerError(message)
        appliance.clock.wait(Event(), LOOK_S)
