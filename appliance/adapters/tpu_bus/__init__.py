"""The buses that Edge TPUs sit on: which are there, and what brings one back. Nothing here opens a device."""

from appliance.adapters.tpu_bus.bus import LinuxTpuBus

__all__ = ["LinuxTpuBus"]
