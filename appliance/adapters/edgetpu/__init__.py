"""An Edge TPU: its worker, its way back after a fault, and the backends of the models that it serves."""

from appliance.adapters.edgetpu.claims import Claims
from appliance.adapters.edgetpu.tpu import EdgeTpu

__all__ = ["Claims", "EdgeTpu"]
