"""Runs a model on the first backend of its order that works; drops it, serves from the twin, probes back."""

from appliance.inference.inference import Inference
from appliance.inference.judge import Judge
from appliance.inference.proof import PROOF_DEADLINE_S, prove
from appliance.inference.tally import NOBODY

__all__ = ["NOBODY", "PROOF_DEADLINE_S", "Inference", "Judge", "prove"]
