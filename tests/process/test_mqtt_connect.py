"""The ways to a real broker: TLS, credentials, Unix socket; and what is wrong with them, said clearly."""

import logging
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from appliance.adapters.mqtt import PahoLink
from appliance.config import MqttConfig
from appliance.core.types import Message
from appliance.errors import BrokerError, ConfigError
from appliance.ports import Acknowledged, LinkEvent, Lost, Received
from tests.broker import Mosquitto, mosquitto_path
from tests.waiting import eventually

pytestmark = pytest.mark.broker

WILL = Message("edge/n1/availability", "offline", retain=True)
CONNECT_TIMEOUT_S = 10.0
"""Longer than a broker takes on a busy machine: who tests what it is for has a shorter one."""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away authority with a broker's and a client's certificate, and a second authority nobody trusts."""
    folder = tmp_path_factory.mktemp("keys")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "stranger"):
        openssl("req", "-x509", *curve, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name in ("broker", "client"):
        openssl("req", *curve[:-2], "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (folder / f"{name}.ext").write_text("subjectAltName = IP:127.0.0.1\n")
        signed = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl(*signed, "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    return folder


@pytest.fixture
def tls(tmp_path: Path, keys: Path) -> Iterator[Mosquitto]:
    """A broker that speaks TLS only and wants a client's certificate."""
    settings = f"cafile {keys}/ca.pem\ncertfile {keys}/broker.pem\nkeyfile {keys}/broker.key\nrequire_certificate true"
    with Mosquitto(tmp_path / "tls", settings=settings) as broker:
        yield broker


def link(**mqtt: object) -> PahoLink:
    config = MqttConfig.model_validate({"connect_timeout_s": CONNECT_TIMEOUT_S, **mqtt})
    return PahoLink(config, client_id="link", will=WILL)


def round_trip(made: PahoLink, payload: bytes = b"hello", count: int = 1) -> None:
    """Publish to ourselves, and see everything acknowledged and received."""
    made.connect(["echo"])
    tokens = [made.publish("echo", payload, qos=1, retain=False) for _ in range(count)]
    happened: list[LinkEvent] = []

    def poll() -> bool:
        happened.extend(made.poll(0.1))
        return len(happened) >= 2 * count

    eventually(poll)
    made.close()
    assert [event.token for event in happened if isinstance(event, Acknowledged)] == tokens
    assert [event for event in happened if isinstance(event, Received)] == [Received("echo", payload, False)] * count


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_messages_travel_over_tls_with_a_client_certificate(tls: Mosquitto, keys: Path, protocol: str) -> None:
    section = {"ca_file": keys / "ca.pem", "cert_file": keys / "client.pem", "key_file": keys / "client.key"}
    made = link(port=tls.port, tls=section, protocol=protocol)
    round_trip(made)
    round_trip(
        made, b"x" * 100_000, count=15
    )  # larger than a TLS record: some of it is decrypted before it is asked for


def test_packets_that_share_a_tls_record_are_all_seen(keys: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(keys / "broker.pem", keys / "broker.key")
    accepted, message = bytes([0x20, 2, 0, 0]), bytes([0x30, 4, 0, 1]) + b"tx"  # CONNACK; PUBLISH of x to t

    def serve(listener: socket.socket) -> None:
        with context.wrap_socket(listener.accept()[0], server_side=True) as session:
            session.recv(1000)
            session.sendall(accepted + 3 * message)
            session.recv(1000)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        made = link(port=listener.getsockname()[1], tls={"ca_file": keys / "ca.pem"}, protocol="3.1.1")
        made.connect([])
        happened: list[LinkEvent] = []
        eventually(lambda: happened.extend(made.poll(0.05)) or len(happened) == 3)  # type: ignore[func-returns-value] # extend says None
        made.close()
        thread.join(5.0)
    assert happened == [Received("t", b"x", retained=False)] * 3


@pytest.mark.parametrize(
    ("ca", "host", "reason"),
    [("stranger.pem", "127.0.0.1", "CERTIFICATE_VERIFY_FAILED"), ("ca.pem", "localhost", "CERTIFICATE_VERIFY_FAILED")],
)
def test_a_broker_that_cannot_prove_who_it_is_gets_no_session(
    tls: Mosquitto, keys: Path, ca: str, host: str, reason: str
) -> None:
    section = {"ca_file": keys / ca, "cert_file": keys / "client.pem", "key_file": keys / "client.key"}
    with pytest.raises(BrokerError, match=reason):
        link(host=host, port=tls.port, tls=section).connect([])


def test_a_missing_or_broken_tls_file_is_a_configuration_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    for file in (tmp_path / "missing.pem", broken):
        with pytest.raises(ConfigError, match=r"mqtt\.tls: .*\.pem"):
            link(tls={"ca_file": file})


def test_tls_and_unix_socket_exclude_one_another(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unix_socket and tls"):
        link(unix_socket=tmp_path / "socket", tls={})


def listens(path: Path) -> bool:
    """Whether somebody accepts connections there; a socket file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def test_messages_travel_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "mqtt.sock"
    with Mosquitto(tmp_path / "unix", settings=f"listener 0 {path}"):
        eventually(lambda: listens(path))
        round_trip(link(unix_socket=path, port=1))
    with pytest.raises(BrokerError, match=r"mqtt\.sock"):
        link(unix_socket=path).connect([])


def password_file(folder: Path, text: str, mode: int) -> Path:
    file = folder / f"password-{mode:o}"
    file.write_text(text)
    file.chmod(mode)
    return file


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker that knows one user."""
    passwords = tmp_path / "passwords"
    tool = shutil.which("mosquitto_passwd") or str(Path(mosquitto_path() or "").parent / "mosquitto_passwd")
    subprocess.run([tool, "-b", "-c", str(passwords), "edge", "correct horse"], check=True, capture_output=True)
    settings = f"allow_anonymous false\npassword_file {passwords}"
    with Mosquitto(tmp_path / "guarded", settings=settings) as broker:
        yield broker


def test_the_password_is_the_first_line_of_its_file(guarded: Mosquitto, tmp_path: Path) -> None:
    file = password_file(tmp_path, "correct horse\nnot this\n", 0o600)
    round_trip(link(port=guarded.port, username="edge", password_file=file))


@pytest.mark.parametrize("text", ["wrong\n", "\n", "correct horse battery\n"])
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_wrong_password_gets_no_session(guarded: Mosquitto, tmp_path: Path, text: str, protocol: str) -> None:
    made = link(
        port=guarded.port, username="edge", password_file=password_file(tmp_path, text, 0o600), protocol=protocol
    )
    with pytest.raises(BrokerError, match=r"refused.*[Nn]ot authori[sz]ed"):
        made.connect([])


@pytest.mark.parametrize(("mode", "warned"), [(0o600, False), (0o400, False), (0o640, True), (0o644, True)])
def test_a_password_file_that_others_may_read_is_told_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    mode: int,
    warned: bool,  # noqa: FBT001 - a column of the table
) -> None:
    file = password_file(tmp_path, "secret", mode)
    with caplog.at_level(logging.WARNING):
        link(username="edge", password_file=file)
        link(username="edge", password_file=file)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == int(warned)
    assert "secret" not in "".join(said)


def test_a_password_file_that_cannot_be_used_is_a_configuration_error(tmp_path: Path) -> None:
    long, binary = tmp_path / "long", tmp_path / "binary"
    long.write_text("x" * 5000)
    binary.write_bytes(b"\xff\xfe")
    for file, what in ((tmp_path / "missing", "No such file"), (long, "longer than"), (binary, "not UTF-8")):
        with pytest.raises(ConfigError, match=f"password_file.*{what}"):
            link(username="edge", password_file=file)


def test_files_that_vanish_while_it_runs_are_a_reason_to_try_again_not_to_end(tmp_path: Path) -> None:
    file = password_file(tmp_path, "secret", 0o600)
    made = link(username="edge", password_file=file)
    file.unlink()
    with pytest.raises(BrokerError, match="password_file"):
        made.connect([])


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix"])
def test_a_broker_that_takes_the_connection_and_never_answers_is_given_up(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET) as silent:
        silent.bind(str(path) if kind == "unix" else ("127.0.0.1", 0))
        silent.listen()
        section: dict[str, object] = {"unix_socket": path} if kind == "unix" else {"port": silent.getsockname()[1]}
        made = link(connect_timeout_s=0.2, keepalive_s=600, **section, **({"tls": {}} if kind == "tls" else {}))
        with pytest.raises(BrokerError):
            made.connect([])


def test_a_unix_socket_with_a_full_queue_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "full.sock"
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as first:
        silent.bind(str(path))
        silent.listen(0)
        first.connect(str(path))
        with pytest.raises(BrokerError, match=r"full\.sock"):
            link(unix_socket=path, connect_timeout_s=0.2).connect([])


def impatient(broker: Mosquitto) -> PahoLink:
    """A link with a keepalive of 1 s, which the configuration would not allow."""
    config = MqttConfig.model_construct(**{**MqttConfig(port=broker.port).__dict__, "keepalive_s": 1})
    return PahoLink(config, client_id="link", will=WILL)


def test_an_idle_session_is_kept_alive(mosquitto: Mosquitto) -> None:
    made = impatient(mosquitto)
    made.connect([])
    for _ in range(5):  # 2.5 s; the broker ends a silent session after 1.5 s
        assert made.poll(0.5) == []
    made.close()


def test_a_broker_that_hangs_is_lost_after_its_keepalive(mosquitto: Mosquitto) -> None:
    made = impatient(mosquitto)
    made.connect([])
    mosquitto.pause()
    happened: list[LinkEvent] = []
    eventually(lambda: happened.extend(made.poll(0.2)) or happened)  # type: ignore[func-returns-value] # extend says None
    mosquitto.resume()
    assert [type(event) for event in happened] == [Lost]
    made.close()


def test_a_broker_with_a_small_window_is_not_overrun(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "narrow", settings="max_inflight_messages 2") as narrow:
        round_trip(link(port=narrow.port), count=50)
