"""The recovery service: root's half. One request, one answer, and it ends.

systemd starts it for each connection to a socket that only the appliance may open (appliance-tpu-recovery.socket). It
trusts nothing that the request says: the place must have a name that leads nowhere else, an Edge TPU must be there
(or have been there, by udev's record), and what may be cut stands in root's configuration, not in the request.
"""

import contextlib
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from appliance import config as configuration
from appliance.adapters.tpu_bus.bus import LinuxTpuBus
from appliance.adapters.tpu_bus.recovery_request import (
    MESSAGE_CHARACTERS_MAX,
    READ_S,
    REQUEST_BYTES_MAX,
    SEEN,
    Answer,
    Request,
)
from appliance.adapters.tpu_bus.sysfs import Sysfs
from appliance.errors import ApplianceError, BackendError, ConfigError, RungError
from appliance.log import get

log = get(__name__)


def serve(stdin: int, stdout: int, config: Path, *, root: Path = Path("/"), uhubctl: str | None = None) -> Answer:
    """Read one request from descriptor ``stdin``, carry it out, answer on ``stdout``; returns the answer.

    Args:
        stdin: where the request comes from; read to its end, for ``READ_S`` at most.
        stdout: where the answer goes.
        config: the appliance's configuration, root's file.
        root: of the system; for tests.
        uhubctl: the program's path; default: where it is found.
    """
    try:
        request = _parse(_read(stdin))
        log.info("asked", **request.model_dump())
        _carry_out(request, configuration.load(config), root, uhubctl)
        answer = Answer(outcome="done")
    except (RungError, ConfigError) as error:
        answer = _told("cannot", error)
    except BackendError as error:
        answer = _told("failed", error)
    log.info("answered", outcome=answer.outcome, reason=answer.message)
    with contextlib.suppress(OSError):  # whoever asked may have gone; what was done is done
        os.write(stdout, answer.model_dump_json().encode())
    return answer


def _read(stdin: int) -> bytes:
    """Read to the end. Raises RungError for what is too long, too slow or broken off."""
    raw = b""
    end_s = time.monotonic() + READ_S
    while len(raw) <= REQUEST_BYTES_MAX:
        ready, _, _ = select.select([stdin], [], [], max(0.0, end_s - time.monotonic()))
        if not ready:
            raise RungError("the request did not come to its end in time")
        try:
            chunk = os.read(stdin, REQUEST_BYTES_MAX + 1)
        except OSError as error:
            msg = f"the request broke off: {error.strerror}"
            raise RungError(msg) from error
        if not chunk:
            return raw
        raw += chunk
    msg = f"a request has at most {REQUEST_BYTES_MAX} bytes"
    raise RungError(msg)


def _parse(raw: bytes) -> Request:
    try:
        return Request.model_validate_json(raw)
    except ValidationError as error:
        faults = ", ".join(".".join(map(str, fault["loc"])) or fault["type"] for fault in error.errors())
        msg = f"this is no request; wrong: {faults[:200]}"
        raise RungError(msg) from error


def _carry_out(request: Request, config: configuration.Config, root: Path, uhubctl: str | None) -> None:
    """Do it, or raise RungError or BackendError."""
    if request.tpu not in config.tpus:
        msg = f"tpus.{request.tpu} is not in the configuration"
        raise RungError(msg)
    policy = config.tpus[request.tpu].power_cycle
    bus = LinuxTpuBus(name=request.tpu, power_cycle=policy, root=root, service=None, uhubctl=uhubctl)
    _DO[request.action](bus, request.path, root)


def _rebind(bus: LinuxTpuBus, path: str, root: Path) -> None:
    bus.rebind(Sysfs(root).present(path))


def _power_cycle(bus: LinuxTpuBus, path: str, root: Path) -> None:
    if Sysfs(root).find(path) is None and not (root / SEEN / path).is_dir():
        msg = f"no Edge TPU is plugged in at {path}, and none was since the system started"
        raise RungError(msg)
    bus.power_cycle(path)


def _told(outcome: Literal["cannot", "failed"], error: ApplianceError) -> Answer:
    return Answer(outcome=outcome, message=str(error)[:MESSAGE_CHARACTERS_MAX])


_DO: dict[str, Callable[[LinuxTpuBus, str, Path], None]] = {"rebind": _rebind, "power_cycle": _power_cycle}
