"""How every MQTT client of the appliance reaches the broker: TCP, TLS or Unix socket, and who it says it is.

Shared by ``appliance.adapters.mqtt`` (alerts) and the ``transactions`` sensor, so that both obey one section of
the configuration.
"""

import functools
import socket
import ssl
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from appliance.config import MqttConfig, TlsConfig
from appliance.errors import BrokerError, ConfigError
from appliance.log import get

PASSWORD_BYTES_MAX = 4096
"""A password file's first line may be this long."""
RECEIVE_BYTES_MAX = 1_000_000
"""The largest packet we let an MQTT 5 broker send us; a command or a question is far smaller."""
STEP_MIN_S = 0.001
"""What a step of connecting gets at least when the steps before used the time up; 0 would mean non-blocking."""
_SECRET_MODE_MASK = 0o177
_log = get(__name__)


class _Client(Client):
    """paho's client with a socket of ours: one deadline over connect and TLS handshake, closed when either fails.

    paho 2.2 leaves a Unix socket's connect unbounded (it blocks when a hung broker's accept queue is full), and
    leaves the socket of a failed TLS handshake to the garbage collector.
    """

    def __init__(self, config: MqttConfig, client_id: str) -> None:
        """Prepare TLS and say who we are; touches files, not the network. Raises ConfigError."""
        five = config.protocol == "5"
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        if config.unix_socket is not None and config.tls is not None:
            raise ConfigError("mqtt: unix_socket and tls exclude one another; remove one of them")
        self._endpoint = config
        self._tls = None if config.tls is None else _tls_context(config.tls)
        self.connect_timeout = config.connect_timeout_s
        if config.username is not None or config.password_file is not None:
            password = None if config.password_file is None else read_password(config.password_file)
            self.username_pw_set(config.username or "", password)

    def _create_socket(self) -> socket.socket:
        """Return a connected socket within ``connect_timeout_s`` (for each address that the host name has)."""
        config = self._endpoint
        deadline_s = time.monotonic() + config.connect_timeout_s
        if config.unix_socket is not None:
            return _unix_socket(config.unix_socket, config.connect_timeout_s)
        plain = socket.create_connection((config.host, config.port), timeout=config.connect_timeout_s)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # an alert does not wait for the next one
        if self._tls is None:
            return plain
        plain.settimeout(max(STEP_MIN_S, deadline_s - time.monotonic()))
        with plain:  # wrap_socket takes the descriptor out of ``plain``: this closes it only when wrapping fails
            return self._tls.wrap_socket(plain, server_hostname=config.host)


def _unix_socket(path: Path, timeout_s: float) -> socket.socket:
    """Connect to a listening Unix socket. Raises OSError, TimeoutError among them."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock


def _tls_context(config: TlsConfig) -> ssl.SSLContext:
    """Build a context that always verifies the broker. Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(file) for file in (config.ca_file, config.cert_file, config.key_file) if file is not None)
        msg = f"mqtt.tls: {files}: {error.strerror or error}; each must be a readable PEM file"
        raise ConfigError(msg) from error
    return context


def read_password(file: Path) -> str:
    """Return the first line of a password file; warn once when others than its owner may read it.

    Raises:
        ConfigError: It cannot be read, or is not one line of UTF-8.
    """
    try:
        with file.open("rb") as stream:
            _warn_if_wide(file, file.stat().st_mode)
            line = stream.readline(PASSWORD_BYTES_MAX + 1)
    except OSError as error:
        msg = f"mqtt.password_file: {file}: {error.strerror}; it must be a file that the service's user can read"
        raise ConfigError(msg) from error
    if len(line) > PASSWORD_BYTES_MAX:
        msg = f"mqtt.password_file: {file}: its first line is longer than {PASSWORD_BYTES_MAX} bytes"
        raise ConfigError(msg)
    try:
        return line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        msg = f"mqtt.password_file: {file}: not UTF-8 text"
        raise ConfigError(msg) from error


@functools.lru_cache(maxsize=16)  # once for each file and mode, not at every reconnect
def _warn_if_wide(file: Path, mode: int) -> None:
    """Say so when the password is open to others."""
    if mode & _SECRET_MODE_MASK:
        _log.warning("password file is open to others", file=str(file), mode=oct(mode & 0o777), wanted="0o600")


def make_client(config: MqttConfig, client_id: str) -> Client:
    """Make a client that is not connected: protocol, TLS and credentials as configured, no thread.

    Raises:
        ConfigError: A file that the configuration names cannot be used.
    """
    return _Client(config, client_id)


def open_client(client: Client, config: MqttConfig) -> None:
    """Connect the socket and send CONNECT. The session begins only when ``on_connect`` brings a good reason code.

    Returns within ``connect_timeout_s`` for each address of the host; name resolution has the system's own bound.

    Raises:
        BrokerError: Nobody answers there, or TLS failed.
    """
    properties = None
    if config.protocol == "5":
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho leaves it untyped
        properties.MaximumPacketSize = RECEIVE_BYTES_MAX
    where = str(config.unix_socket) if config.unix_socket is not None else f"{config.host}:{config.port}"
    try:
        client.connect(config.host, config.port, config.keepalive_s, properties=properties)
    except OSError as error:  # refused, unreachable, timed out, name unknown, TLS: all are OSErrors
        msg = f"no broker at {where}: {error.strerror or error}"
        raise BrokerError(msg) from error
