"""The broker, through paho-mqtt."""

from appliance.adapters.mqtt_connect import make_client, open_client

__all__ = ["make_client", "open_client"]
