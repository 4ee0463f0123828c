"""The sensors that configuration may name. A new one is one file here, one line below, one section in ``config``."""

from importlib import import_module

from appliance.config import SensorConfig
from appliance.ports import Sensor, SensorContext

SENSORS: dict[str, str] = {
    "camera": "appliance.adapters.sensors.camera:Camera",
    "picamera": "appliance.adapters.sensors.picamera:Picamera",
    "replay": "appliance.adapters.sensors.replay:Replay",
    "transactions": "appliance.adapters.sensors.transactions:Transactions",
    "samples": "appliance.adapters.sensors.samples:Samples",
}
"""``kind`` in the configuration to ``module:Class``; imported only when made: no device library loads unused."""


def make_sensor(config: SensorConfig, context: SensorContext) -> Sensor:
    """Make the sensor that ``config`` describes; nothing is opened yet."""
    module, name = SENSORS[config.kind].split(":")
    sensor: Sensor = getattr(import_module(module), name)(config, context)
    return sensor
