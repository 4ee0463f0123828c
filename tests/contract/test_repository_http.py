"""What web servers, proxies and networks do to a download, and that it ends, goes on, or begins anew as it should."""

import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance.errors import BundleError, MetadataError, RefusedError, RepositoryError, UpdateError
from appliance.ports import Partial
from appliance.sim.clock import ManualClock
from appliance.sim.slots import VolatileSlots
from tests.contract.repository_benches import bundle_of, files_of, http_repository
from tests.repositories import NOW, FileServer, RawServer, reply

CONTENT = bytes(range(256)) * 16
BUNDLE = bundle_of(CONTENT)
FILES = files_of(BUNDLE, CONTENT)
HALF = len(CONTENT) // 2


@pytest.fixture
def into(tmp_path: Path) -> Partial:
    return VolatileSlots(tmp_path).partial(BUNDLE)


@pytest.fixture
def half(into: Partial) -> Partial:
    into.begin('"one"')
    into.append(CONTENT[:HALF])
    return into


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def nothing(_: int) -> None:
    """Count nothing."""


def part(
    content: bytes, start: int, total: int | str = len(CONTENT), *headers: str, length: int | None = None
) -> bytes:
    span = f"Content-Range: bytes {start}-{start + len(content) - 1}/{total}"
    return reply("206 Partial Content", content, span, *headers, length=length)


def test_a_download_that_is_cut_again_and_again_comes_to_its_end(into: Partial) -> None:
    with FileServer(FILES) as server:
        repository = http_repository(server.url)
        server.broken_after_bytes = 1000
        cuts = 0
        while into.size_bytes < len(CONTENT):
            cuts += 1
            try:
                repository.fetch(BUNDLE, into, nothing)
            except RepositoryError:
                assert into.size_bytes == 1000 * cuts, "each attempt goes on where the last one was cut"
    assert cuts == 5
    assert into.file.read_bytes() == CONTENT
    assert [headers.get("Range") for _, headers in server.asked] == [None, *(f"bytes={n}000-" for n in range(1, 5))]
    assert {headers.get("If-Range") for _, headers in server.asked[1:]} == {into.tag}
    assert into.tag.startswith('"')


def test_a_file_that_changed_on_the_server_is_begun_anew(half: Partial) -> None:
    with FileServer(FILES) as server:  # whose tag for it is another than "one"
        http_repository(server.url).fetch(BUNDLE, half, nothing)
    assert server.asked[0][1]["If-Range"] == '"one"'
    assert half.file.read_bytes() == CONTENT


def test_a_server_without_parts_gives_it_all_again(half: Partial) -> None:
    with RawServer(reply("200 OK", CONTENT)) as server:
        http_repository(server.url).fetch(BUNDLE, half, nothing)
    assert half.file.read_bytes() == CONTENT
    assert half.tag == ""


@pytest.mark.parametrize(
    "answer",
    [
        part(CONTENT[HALF - 1 :], HALF - 1),
        part(CONTENT, 0),
        reply("206 Partial Content", CONTENT[HALF:]),
        reply("206 Partial Content", CONTENT[HALF:], "Content-Range: lines 1-2/3"),
        part(CONTENT[HALF:], HALF, len(CONTENT), 'ETag: "two"'),
        reply("416 Range Not Satisfiable"),
    ],
    ids=["from elsewhere", "from the start", "no range", "another unit", "of another file", "no such part"],
)
def test_a_wrong_part_is_not_taken_and_does_not_stop_it_for_ever(half: Partial, answer: bytes) -> None:
    with RawServer(answer, reply("200 OK", CONTENT)) as server:
        repository = http_repository(server.url)
        with pytest.raises(RepositoryError, match="as a whole next time"):
            repository.fetch(BUNDLE, half, nothing)
        repository.fetch(BUNDLE, half, nothing)
    assert half.file.read_bytes() == CONTENT


def test_a_part_of_a_file_of_another_length_is_not_taken_and_what_is_there_is_kept(half: Partial) -> None:
    with RawServer(part(CONTENT[HALF:], HALF, 9999)) as server, pytest.raises(RepositoryError, match="9999"):
        http_repository(server.url).fetch(BUNDLE, half, nothing)
    assert half.file.read_bytes() == CONTENT[:HALF]


PAGE = b"<html>Welcome to our network. Please pay here.</html>"


@pytest.mark.parametrize(
    "answer",
    [
        reply("200 OK", PAGE, "Content-Type: text/html"),
        reply("200 OK", PAGE * 1000),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + PAGE,
    ],
    ids=["short", "long", "of unknown length"],
)
def test_a_login_page_in_the_place_of_a_bundle_takes_nothing_away_from_what_is_there(
    half: Partial, answer: bytes
) -> None:
    """A captive portal answers 200 to everything."""
    with RawServer(answer, part(CONTENT[HALF:], HALF)) as server:
        repository = http_repository(server.url)
        with pytest.raises(RepositoryError, match="4096 are signed"):
            repository.fetch(BUNDLE, half, nothing)
        assert (half.file.read_bytes(), half.tag) == (CONTENT[:HALF], '"one"')
        repository.fetch(BUNDLE, half, nothing)
    assert half.file.read_bytes() == CONTENT


def test_a_part_of_a_file_of_unknown_length_is_taken(half: Partial) -> None:
    with RawServer(part(CONTENT[HALF:], HALF, "*")) as server:
        http_repository(server.url).fetch(BUNDLE, half, nothing)
    assert half.file.read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ['ETag: W/"weak"', "ETag: bare", 'ETag: "' + "x" * 300 + '"'])
def test_a_tag_that_may_not_be_sent_back_is_forgotten(into: Partial, tag: str) -> None:
    """If-Range takes strong tags alone (RFC 9110, 13.1.5)."""
    with RawServer(reply("200 OK", CONTENT[:100], tag, length=len(CONTENT)), part(CONTENT[100:], 100)) as server:
        repository = http_repository(server.url)
        with pytest.raises(RepositoryError, match="broke off after 100 of 4096"):
            repository.fetch(BUNDLE, into, nothing)
        repository.fetch(BUNDLE, into, nothing)
    assert into.file.read_bytes() == CONTENT
    assert "if-range" not in server.requests[1].lower()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, RefusedError),
        (401, RefusedError),
        (403, RefusedError),
        (404, RefusedError),
        (410, RefusedError),
        (416, RefusedError),
        (451, RefusedError),
        (408, RepositoryError),
        (425, RepositoryError),
        (429, RepositoryError),
        (500, RepositoryError),
        (503, RepositoryError),
        (204, RepositoryError),
        (304, RepositoryError),
        (206, RepositoryError),
        (300, RepositoryError),
        (999, RepositoryError),
    ],
)
def test_a_4xx_is_final_but_for_those_that_mean_later(into: Partial, status: int, expected: type[UpdateError]) -> None:
    with RawServer(reply(f"{status} Whatever")) as server, pytest.raises(expected, match=f"answers {status}"):
        http_repository(server.url).fetch(BUNDLE, into, nothing)


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_metadata_file_that_is_not_there_is_none_however_the_server_says_so(status: int) -> None:
    with RawServer(reply(f"{status} No")) as server:
        assert http_repository(server.url).metadata("2.root.json", 100) is None


def to(target: str, status: int = 302) -> bytes:
    return reply(f"{status} Elsewhere", b"", f"Location: {target}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_three_times_and_keep_the_range(half: Partial, status: int) -> None:
    with (
        RawServer(to("/a", status), to("b?c=d", status), to("//127.0.0.1:1/never", status)) as server,
        pytest.raises(RepositoryError, match="refused"),
    ):
        http_repository(server.url).fetch(BUNDLE, half, nothing)
    assert [request.split()[1] for request in server.requests[1:]] == ["/a", "/b?c=d"]
    assert all(f"Range: bytes={HALF}-" in request for request in server.requests)


def test_a_fourth_redirect_is_not_followed() -> None:
    with RawServer(*[to("/again")] * 4) as server, pytest.raises(RepositoryError, match="redirected more than 3 times"):
        http_repository(server.url).metadata("timestamp.json", 100)


@pytest.mark.parametrize("target", ["http://localhost:{port}/x", "//localhost:{port}/x"])
def test_redirects_lead_to_the_same_host_alone(target: str) -> None:
    with FileServer({"x": b"elsewhere"}) as other:
        place = target.format(port=urlsplit(other.url).port)
        with RawServer(to(place)) as server, pytest.raises(RepositoryError, match="which is not followed"):
            http_repository(server.url).metadata("timestamp.json", 100)
    assert other.asked == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "", "http://[", "data:,x"])
def test_redirects_lead_to_web_servers_alone(target: str) -> None:
    with RawServer(to(target)) as server, pytest.raises(RepositoryError):
        http_repository(server.url).metadata("timestamp.json", 100)


def chunked(*pieces: bytes) -> bytes:
    body = b"".join(b"%x;note=1\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def test_what_comes_in_chunks_or_until_the_end_is_bounded_all_the_same(into: Partial) -> None:
    endless = b"HTTP/1.1 200 OK\r\n\r\n"
    with RawServer(
        chunked(b"one", b"two", b""), endless + b"all", chunked(b"x" * 50, b"x" * 51), endless + b"x" * 101
    ) as server:
        repository = http_repository(server.url)
        assert repository.metadata("timestamp.json", 100) == b"onetwo"
        assert repository.metadata("timestamp.json", 100) == b"all"
        for _ in range(2):
            with pytest.raises(MetadataError, match="larger than 100"):
                repository.metadata("timestamp.json", 100)
    with RawServer(chunked(CONTENT, b"more", b"")) as server, pytest.raises(BundleError, match="longer than"):
        http_repository(server.url).fetch(bundle_of(CONTENT + b"m"), into, nothing)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
    ids=["nothing", "noise", "no status", "too short", "no chunk", "half a chunk", "too many headers", "a long header"],
)
def test_what_is_no_answer_is_a_repository_that_broke_off(answer: bytes) -> None:
    with RawServer(answer) as server, pytest.raises(RepositoryError):
        http_repository(server.url).metadata("timestamp.json", 100)


def test_what_came_of_metadata_that_broke_off_or_never_ended_is_counted() -> None:
    pieces: list[int] = []
    short, endless = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101
    with RawServer(short, endless) as server:
        repository = http_repository(server.url)
        for error, came in ((RepositoryError, 5), (MetadataError, 101)):
            with pytest.raises(error):
                repository.metadata("timestamp.json", 100, pieces.append)
            assert sum(pieces) == came
            pieces.clear()


def test_a_bundle_that_comes_packed_is_not_taken(into: Partial) -> None:
    packed = reply("200 OK", CONTENT, "Content-Encoding: gzip")
    with RawServer(packed) as server, pytest.raises(RepositoryError, match="came packed"):
        http_repository(server.url).fetch(BUNDLE, into, nothing)
    assert "Accept-Encoding: identity" in server.requests[0]


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"], ids=["at once", "midway"])
def test_a_server_that_falls_silent_is_left(before: bytes) -> None:
    def silent(connection: socket.socket) -> None:
        connection.sendall(before)
        connection.recv(1)  # until the device hangs up

    with RawServer(silent) as server, pytest.raises(RepositoryError, match="timed out"):
        http_repository(server.url, timeout_s=0.05).metadata("timestamp.json", 100)


def test_a_bundle_takes_no_longer_than_a_run_however_fast_it_comes(into: Partial) -> None:
    clock = ManualClock()

    def long(connection: socket.socket) -> None:
        connection.sendall(reply("200 OK", b"", length=len(CONTENT)))
        for start in range(0, 3000, 1000):
            clock.advance(40.0)
            connection.sendall(CONTENT[start : start + 1000])
        connection.recv(1)

    with RawServer(long) as server, pytest.raises(RepositoryError, match="too long altogether"):
        http_repository(server.url, clock=clock, rate_bytes_per_s_min=0.0, run_s_max=100.0).fetch(BUNDLE, into, nothing)


def test_a_slow_minute_is_forgiven_where_the_rate_allows_it(into: Partial) -> None:
    clock = ManualClock()

    def slow(connection: socket.socket) -> None:
        connection.sendall(reply("200 OK", b"", length=len(CONTENT)))
        for start in range(0, len(CONTENT), 1024):
            connection.sendall(CONTENT[start : start + 1024])
            clock.advance(50.0)

    with RawServer(slow) as server:
        http_repository(server.url, clock=clock, rate_bytes_per_s_min=1.0).fetch(BUNDLE, into, nothing)
    assert into.file.read_bytes() == CONTENT


def test_a_proxy_of_the_environment_is_asked_and_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"metadata/timestamp.json": b"by proxy"}
    with FileServer(files) as proxy, FileServer({"metadata/timestamp.json": b"direct"}) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert http_repository("http://updates.invalid/").metadata("timestamp.json", 100) == b"by proxy"
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        assert http_repository(server.url).metadata("timestamp.json", 100) == b"direct"


def test_what_is_no_web_server_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "timestamp.json").write_bytes(b"local")
    with pytest.raises(RepositoryError):
        http_repository(tmp_path.as_uri()).metadata("timestamp.json", 100)


def test_https_goes_through_a_proxy_by_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(RepositoryError, match="502"):
            http_repository("https://updates.invalid/").metadata("timestamp.json", 100)
    assert proxy.requests[0].startswith("CONNECT updates.invalid:443")


def test_what_is_told_of_a_failure_holds_no_password() -> None:
    with pytest.raises(RepositoryError) as told:
        http_repository("http://user:secret@127.0.0.1:1/").metadata("timestamp.json", 100)
    assert "secret" not in str(told.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=9999))
        .not_valid_after(NOW + timedelta(days=9999))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "hub.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    return file


@pytest.fixture
def secure(certificate: Path) -> Iterator[FileServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with FileServer({"metadata/timestamp.json": b"stamp", **FILES}, tls=context) as server:
        yield server


def test_a_certificate_that_nobody_vouches_for_is_refused(secure: FileServer) -> None:
    with pytest.raises(RepositoryError, match=r"(?i)certificate"):
        http_repository(secure.url).metadata("timestamp.json", 100)


def test_a_certificate_of_the_systems_authorities_is_accepted(
    secure: FileServer, certificate: Path, into: Partial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    repository = http_repository(secure.url)
    assert repository.metadata("timestamp.json", 100) == b"stamp"
    repository.fetch(BUNDLE, into, nothing)
    assert into.file.read_bytes() == CONTENT


def test_a_redirect_from_https_to_http_is_not_followed(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def down(connection: socket.socket) -> None:
        connection.sendall(to("http://127.0.0.1:1/x"))

    with RawServer(down, tls=context) as server, pytest.raises(RepositoryError, match="which is not followed"):
        http_repository(server.url).metadata("timestamp.json", 100)
