"""What the appliance may ask of the recovery service, and what that answers: one JSON object each way.

The service is root and the appliance is not, so a request says nothing but which of two things to do, where, and for
which Edge TPU of the configuration. All else the service finds out by itself.
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from appliance.config.fields import Identifier
from appliance.schema import Section

SOCKET = "run/appliance-tpu/recovery.sock"
"""Where the service listens (appliance-tpu-recovery.socket)."""
SEEN = "run/appliance-tpu/seen"
"""Folder of root's: udev leaves an entry for each USB port that has held an Edge TPU since the system started."""
REQUEST_BYTES_MAX = 512
ANSWER_BYTES_MAX = 16_384
MESSAGE_CHARACTERS_MAX = 2000
READ_S = 5.0
"""Longest wait of the service for a request."""
ANSWER_S = 90.0
"""Longest wait for an answer: more than the service takes for the slowest of what it does."""

Action = Literal["rebind", "power_cycle"]
Port = Annotated[str, StringConstraints(pattern=r"^([0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}|apex_[0-9]{1,2})$")]
"""``1-1.4`` or ``apex_0``, and nothing that could lead anywhere else."""


class Request(Section):
    """Bring an Edge TPU back."""

    action: Action
    path: Port
    tpu: Identifier
    """Key under ``tpus``: its ``power_cycle`` says what may be cut."""


class Answer(Section):
    """How that went."""

    outcome: Literal["done", "cannot", "failed"]
    message: str = Field(default="", max_length=MESSAGE_CHARACTERS_MAX)
