"""Where the appliance keeps what it keeps."""

import hashlib
import os
from pathlib import Path

from appliance.config import Config
from appliance.errors import ModelError
from appliance.trust.manifest import DESCRIPTION

MODELS_FOLDER = "models"
"""Of the state folder, where the store of models is."""

RUNTIME_DIRECTORY = "RUNTIME_DIRECTORY"
"""Set by systemd when the unit has RuntimeDirectory=."""
STATE_DIRECTORY = "STATE_DIRECTORY"
"""Set by systemd when the unit has StateDirectory=; takes the place of node.state_dir."""


def state_dir(config: Config) -> Path:
    """Where the appliance keeps what must survive."""
    given = os.environ.get(STATE_DIRECTORY, "").partition(":")[0]
    return Path(given) if given else config.node.state_dir


def model_id_of(folder: Path) -> str:
    """Return the id of a model folder, by its description alone. Raises ModelError."""
    try:
        return hashlib.sha256((folder / DESCRIPTION).read_bytes()).hexdigest()
    except OSError as error:
        msg = f"{folder}: {DESCRIPTION} cannot be read: {error.strerror}"
        raise ModelError(msg) from error


def act_as_owner(folder: Path) -> None:
    """Let root go on as the owner of ``folder``: what root writes there the appliance could not read again.

    Does nothing for anybody else, or where there is no such folder yet.
    """
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.stat()
    if owner.st_uid != 0:
        os.setgroups([owner.st_gid])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def memory_folder() -> str | None:
    """A folder that is in memory: systemd's RuntimeDirectory=, or any Linux's shared memory."""
    given = os.environ.get(RUNTIME_DIRECTORY, "").partition(":")[0]
    return given or next((folder for folder in ("/dev/shm",) if os.access(folder, os.W_OK)), None)  # noqa: S108 - mkdtemp
