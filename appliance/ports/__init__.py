"""Every edge of the appliance as a Protocol, with the errors it may raise and what it promises.

An adapter (``appliance.adapters``) and its simulation (``appliance.sim``) implement the same port and pass the
same contract suite (``tests/contract``).
"""

from appliance.ports.backends import Accelerator, Backend, Recovering, TpuBus
from appliance.ports.link import Acknowledged, Link, LinkEvent, Lost, Received
from appliance.ports.sensors import Responder, Sensor, SensorContext
from appliance.ports.services import Clock, MemoryStore, Meter, ServiceManager
from appliance.ports.updates import Partial, Repository, SlotStore

__all__ = [
    "Accelerator",
    "Acknowledged",
    "Backend",
    "Clock",
    "Link",
    "LinkEvent",
    "Lost",
    "MemoryStore",
    "Meter",
    "Partial",
    "Received",
    "Recovering",
    "Repository",
    "Responder",
    "Sensor",
    "SensorContext",
    "ServiceManager",
    "SlotStore",
    "TpuBus",
]
