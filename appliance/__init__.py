"""An appliance that turns sensor data into decisions on the device that sees the data."""

__version__ = "0.1.0"
