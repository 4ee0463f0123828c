"""Asks the recovery service, which is root, to do what this process may not."""

import os
import socket
import time
from pathlib import Path

from pydantic import ValidationError

from appliance.adapters.tpu_bus.recovery_request import ANSWER_BYTES_MAX, ANSWER_S, Answer, Request
from appliance.errors import BackendError, RungError

UNITS = (
    "install systemd/appliance-tpu-recovery.socket and systemd/appliance-tpu-recovery@.service, and "
    "`systemctl enable --now appliance-tpu-recovery.socket`"
)


def ask(service: Path, request: Request, *, refusal: str, timeout_s: float = ANSWER_S) -> None:
    """Have ``request`` carried out by the service that listens at ``service``.

    Args:
        service: its socket.
        request: what to do.
        refusal: why this process cannot do it by itself, for the message.
        timeout_s: longest wait.

    Raises:
        RungError: nobody listens there, or the service says that it cannot be done.
        BackendError: it was done in vain, or there is no answer.
    """
    end_s = time.monotonic() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(timeout_s)
            channel.connect(os.fspath(service))
            channel.sendall(request.model_dump_json().encode())
            channel.shutdown(socket.SHUT_WR)
            answer = _read(channel, end_s)
    except (FileNotFoundError, ConnectionRefusedError, PermissionError) as error:
        msg = f"{refusal}, and nobody who may listens at {service} ({error.strerror}): {UNITS}"
        raise RungError(msg) from error
    except OSError as error:
        msg = f"the recovery service did not answer: {error.strerror or error}"
        raise BackendError(msg) from error
    if answer.outcome == "cannot":
        raise RungError(answer.message)
    if answer.outcome == "failed":
        raise BackendError(answer.message)


def _read(channel: socket.socket, end_s: float) -> Answer:
    """Read an answer to its end. Raises OSError and BackendError."""
    raw = b""
    while len(raw) <= ANSWER_BYTES_MAX:
        channel.settimeout(max(0.001, end_s - time.monotonic()))
        chunk = channel.recv(ANSWER_BYTES_MAX)
        if not chunk:
            break
        raw += chunk
    try:
        return Answer.model_validate_json(raw)
    except ValidationError as error:
        msg = f"the recovery service ended without a valid answer ({len(raw)} bytes)"
        raise BackendError(msg) from error
