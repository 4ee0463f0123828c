"""A report is posted once it is taken, tried again where that may help, and dropped where it never will."""

import pytest

from appliance.adapters.report_post import ReportPost
from appliance.errors import RefusedError, RepositoryError
from tests.repositories import RawServer, reply

REPORT = b'{"outcome": "committed"}'


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def test_a_report_that_is_taken_was_posted_as_json() -> None:
    with RawServer(reply("204 No Content")) as server:
        ReportPost(f"{server.url}/in", 5.0)(REPORT)
    assert server.requests[0].startswith("POST /in HTTP/1.1")
    assert "content-type: application/json" in server.requests[0].lower()


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "413 Too Large"])
def test_a_final_no_is_one(status: str) -> None:
    with RawServer(reply(status)) as server, pytest.raises(RefusedError, match=status[:3]):
        ReportPost(server.url, 5.0)(REPORT)


@pytest.mark.parametrize("status", ["408 Timeout", "429 Slow Down", "500 Oops", "503 Later"])
def test_a_no_for_now_is_tried_again(status: str) -> None:
    with RawServer(reply(status)) as server, pytest.raises(RepositoryError, match=status[:3]):
        ReportPost(server.url, 5.0)(REPORT)


def test_a_report_goes_nowhere_else() -> None:
    with RawServer(reply("302 Found", b"", "Location: http://127.0.0.1:9/")) as server, pytest.raises(RefusedError):
        ReportPost(server.url, 5.0)(REPORT)


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 "], ids=repr)
def test_nonsense_and_silence_are_tried_again(answer: bytes) -> None:
    with RawServer(answer) as server, pytest.raises(RepositoryError):
        ReportPost(server.url, 0.5)(REPORT)


def test_nobody_there_is_tried_again() -> None:
    with pytest.raises(RepositoryError, match="cannot be reached"):
        ReportPost("http://127.0.0.1:9/in", 5.0)(REPORT)
