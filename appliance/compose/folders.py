"""Where the appliance keeps what it keeps."""

import os
from pathlib import Path

from appliance.config import Config

RUNTIME_DIRECTORY = "RUNTIME_DIRECTORY"
"""Set by systemd when the unit has RuntimeDirectory=."""
STATE_DIRECTORY = "STATE_DIRECTORY"
"""Set by systemd when the unit has StateDirectory=; takes the place of node.state_dir."""


def state_dir(config: Config) -> Path:
    """Where the appliance keeps what must survive."""
    given = os.environ.get(STATE_DIRECTORY, "").partition(":")[0]
    return Path(given) if given else config.node.state_dir


def memory_folder() -> str | None:
    """A folder that is in memory: systemd's RuntimeDirectory=, or any Linux's shared memory."""
    given = os.environ.get(RUNTIME_DIRECTORY, "").partition(":")[0]
    return given or next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)  # noqa: S108 - mkdtemp
