"""Who this device is: an id that stays, and the hardware it runs on."""

import hashlib
import hmac
import platform
import re
import secrets
from collections.abc import Sequence
from pathlib import Path

from appliance.adapters import durable
from appliance.errors import ConfigError

MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
HARDWARE_FILES = (Path("/proc/device-tree/model"), Path("/sys/class/dmi/id/product_name"))
NODE_ID_FILE = "node-id"
READ_BYTES_MAX = 256
_APPLICATION = b"edge-appliance node id"
_ID_DIGITS = 12
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_NODE_ID = re.compile(rf"[0-9a-f]{{{_ID_DIGITS}}}")


def node_id(state_dir: Path, machine_id_files: Sequence[Path] = MACHINE_ID_FILES) -> str:
    """Twelve hexadecimal digits that are this device's for as long as its system is.

    Derived from the machine id by HMAC-SHA256 keyed with it, as machine-id(5) asks: the machine id itself is not for
    others. Where there is none (a container), an id is drawn once and kept in ``state_dir``.

    Raises ConfigError when there is no machine id and none can be kept.
    """
    for file in machine_id_files:
        machine_id = _first_line(file)
        if _MACHINE_ID.fullmatch(machine_id):
            digest = hmac.new(bytes.fromhex(machine_id), _APPLICATION, hashlib.sha256)
            return digest.hexdigest()[:_ID_DIGITS]
    return _kept_id(state_dir)


def _kept_id(state_dir: Path) -> str:
    file = state_dir / NODE_ID_FILE
    kept = _first_line(file)
    if _NODE_ID.fullmatch(kept):
        return kept
    drawn = secrets.token_hex(_ID_DIGITS // 2)
    try:
        durable.replace(file, f"{drawn}\n".encode("ascii"), part=file.with_name(f"{NODE_ID_FILE}.part"))
    except OSError as error:
        msg = f"node.id: this system has no machine id, and {file} cannot be written ({error.strerror}); give node.id"
        raise ConfigError(msg) from error
    return drawn


def hardware(files: Sequence[Path] = HARDWARE_FILES) -> str:
    """The board's name, such as ``Raspberry Pi 4 Model B Rev 1.5``; the architecture where no board tells its name."""
    names = (_first_line(file) for file in files)
    return next((name for name in names if name), platform.machine())


def _first_line(file: Path) -> str:
    """The first line of a small text file, without NUL (the device tree ends its strings with one); empty if none."""
    try:
        with file.open("rb") as stream:
            text = stream.read(READ_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = text.replace("\0", "").splitlines()
    return lines[0].strip() if lines else ""
