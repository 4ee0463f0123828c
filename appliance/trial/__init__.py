"""Tries a newer model while the one that runs goes on: self-test, shadow, a switch between two frames, and its end.

The record on disk says where an update stands (``trust.plan``); whatever ends this process, the next one goes on from
there, with one try less. Until a candidate is committed the model before it stays open, and decides again at once.
"""

from appliance.trial.attempts import Attempts
from appliance.trial.site import Again, Post, Sandbox, Site, Workshop
from appliance.trial.telling import Reports
from appliance.trial.trials import Trials

__all__ = ["Again", "Attempts", "Post", "Reports", "Sandbox", "Site", "Trials", "Workshop"]
