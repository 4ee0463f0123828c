"""Tells systemd how we are (sd_notify(3)), and nobody where there is no systemd.

With the extra ``systemd`` installed the messages go through systemd-python. Without it they go to the same socket by
the documented protocol, which is a datagram: a unit with ``Type=notify`` must not time out because a package is
missing.
"""

import contextlib
import importlib
import os
import socket
from collections.abc import Callable, Mapping

from appliance.ports import ServiceManager

SEND_TIMEOUT_S = 1.0
"""Longest wait for a service manager that does not read its socket."""
STATUS_CHARS_MAX = 200

Send = Callable[[str], None]


def make_service_manager(environ: Mapping[str, str] = os.environ) -> ServiceManager:
    """The service manager that ``environ`` names, or nobody."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return Nobody()
    return Systemd(python_send() or datagram_send(address), watchdog_interval_s(environ))


def watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """Half of ``WATCHDOG_USEC``, as sd_watchdog_enabled(3) advises, when it is meant for this process."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    limit_us = environ.get("WATCHDOG_USEC", "")
    if not limit_us.isdecimal() or int(limit_us) == 0:
        return None
    return int(limit_us) / 1e6 / 2.0


def python_send() -> Send | None:
    """Send through systemd-python, or None where it is not installed. It reads ``NOTIFY_SOCKET`` itself."""
    try:
        daemon = importlib.import_module("systemd.daemon")
    except ImportError:
        return None

    def send(message: str) -> None:
        daemon.notify(message)

    return send


def datagram_send(address: str) -> Send:
    """Send to the Unix socket ``address`` (a path, or an abstract name after ``@``) without any library."""
    target = "\0" + address[1:] if address.startswith("@") else address

    def send(message: str) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(SEND_TIMEOUT_S)
            channel.sendto(message.encode(), target)

    return send


class Systemd:
    """Implements ``ports.ServiceManager``. A message that cannot be sent is lost: systemd judges by its absence."""

    def __init__(self, send: Send, watchdog_interval_s: float | None) -> None:
        """Send through ``send``, which may raise OSError."""
        self._send = send
        self._watchdog_interval_s = watchdog_interval_s

    def ready(self) -> None:
        """Say that start-up is over."""
        self._notify("READY=1")

    def watchdog(self) -> None:
        """Say that decisions are being made."""
        self._notify("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Give ``systemctl status`` its line, cut to ``STATUS_CHARS_MAX``; a line break would begin a new message."""
        self._notify("STATUS=" + " ".join(line.split())[:STATUS_CHARS_MAX])

    def stopping(self) -> None:
        """Say that shutdown has begun."""
        self._notify("STOPPING=1")

    @property
    def watchdog_interval_s(self) -> float | None:
        """Half of the unit's ``WatchdogSec``, or None when it has none."""
        return self._watchdog_interval_s

    def _notify(self, message: str) -> None:
        with contextlib.suppress(OSError):
            self._send(message)


class Nobody:
    """No service manager started us: there is nobody to tell, and nobody watches."""

    def ready(self) -> None:
        """Nobody waits for it."""

    def watchdog(self) -> None:
        """Nobody watches."""

    def status(self, line: str) -> None:
        """Nobody reads it."""

    def stopping(self) -> None:
        """Nobody waits for it."""

    @property
    def watchdog_interval_s(self) -> None:
        """Nobody watches."""
        return
