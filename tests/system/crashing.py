"""``appliance``, but version 2.0.0 of a model ends the process where the environment says: ``open`` or ``infer``."""

import os
import sys

from appliance.cli import app
from appliance.core.model import Model
from appliance.core.types import Array, InferenceResult
from appliance.inference import Inference

CRASH_AT = "CRASH_AT"
BAD_VERSION = "2.0.0"
CRASHED = 139
"""As a shell tells a segmentation fault."""


class Crashing(Inference):
    """Ends the process as a fault in native code does: at once, with nothing said."""

    def open(self) -> None:
        """Open, or end."""
        _crash("open", self.model)
        super().open()

    def infer(self, tensor: Array) -> InferenceResult:
        """Answer, or end."""
        _crash("infer", self.model)
        return super().infer(tensor)


def _crash(where: str, model: Model) -> None:
    if os.environ.get(CRASH_AT) == where and model.version == BAD_VERSION:
        os._exit(CRASHED)


if __name__ == "__main__":
    from appliance.compose import wiring

    vars(wiring)["Inference"] = Crashing  # the fault is put where native code is called
    sys.exit(app())
