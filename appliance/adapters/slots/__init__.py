"""The device's store of models: content by its digest, records that prove themselves, each write whole or undone."""

from appliance.adapters.slots.store import Slots

__all__ = ["Slots"]
