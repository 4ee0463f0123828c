"""The server for trials as a device meets it: parts of files, whether they are still the same, nothing else."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.hub.serve import server

CONTENT = bytes(range(256)) * 1000


@contextmanager
def served(public: Path) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server of ``public``, in this process."""
    lines: list[str] = []
    made = server(public, 0, lines.append)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield http.client.HTTPConnection("127.0.0.1", made.server_address[1], timeout=10)
    finally:
        made.shutdown()
        thread.join(timeout=10)
        made.server_close()
    assert lines


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    (tmp_path / "public" / "targets").mkdir(parents=True)
    (tmp_path / "public" / "targets" / "bundle").write_bytes(CONTENT)
    (tmp_path / "key").write_text("secret")
    with served(tmp_path / "public") as made:
        yield made
        made.close()


def ask(connection: http.client.HTTPConnection, path: str, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read(), dict(answer.headers)


def test_a_device_that_was_cut_off_goes_on_where_it_stopped(connection: http.client.HTTPConnection) -> None:
    status, whole, headers = ask(connection, "/targets/bundle")
    assert (status, whole, headers["Accept-Ranges"]) == (200, CONTENT, "bytes")
    status, rest, headers = ask(connection, "/targets/bundle", Range="bytes=1000-", If_Range=headers["ETag"])
    assert (status, rest) == (206, CONTENT[1000:])
    assert headers["Content-Range"] == f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert ask(connection, "/targets/bundle", Range="bytes=5-9")[:2] == (206, CONTENT[5:10])


def test_a_file_that_is_another_one_by_now_is_sent_whole(connection: http.client.HTTPConnection) -> None:
    assert ask(connection, "/targets/bundle", Range="bytes=1000-", If_Range='"of yesterday"')[:2] == (200, CONTENT)


def test_a_part_beyond_the_end_is_refused_with_the_size(connection: http.client.HTTPConnection) -> None:
    status, body, headers = ask(connection, "/targets/bundle", Range=f"bytes={len(CONTENT)}-")
    assert (status, body, headers["Content-Range"]) == (416, b"", f"bytes */{len(CONTENT)}")
    assert ask(connection, "/targets/bundle", Range="bytes=9-5")[0] == 416
    assert ask(connection, "/targets/bundle")[0] == 200, "the connection goes on"


def test_what_is_known_is_not_sent_again(connection: http.client.HTTPConnection) -> None:
    etag = ask(connection, "/targets/bundle")[2]["ETag"]
    assert ask(connection, "/targets/bundle", If_None_Match=etag)[:2] == (304, b"")


OUTSIDE = ("/../key", "/%2e%2e/key", "/targets/../../key", "//etc/passwd", "/targets", "/%00", "/x")


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_else_of_the_machine_is_served(connection: http.client.HTTPConnection, path: str) -> None:
    assert ask(connection, path)[0] == 404


def test_it_hears_this_machine_alone(tmp_path: Path) -> None:
    made = server(tmp_path, 0, print)
    assert made.server_address[0] == "127.0.0.1"
    made.server_close()
