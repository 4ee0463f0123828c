"""What was measured of backends: it reads back, or it is nothing; a damaged file costs a log line and no start."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.adapters.route_file import FILE_BYTES_MAX, RouteFile
from appliance.core.routing import ROUTES_MAX, Route, Situation, Timing
from appliance.errors import ConfigError
from tests.mounts import fill, small_disk

ROUTE = Route(
    "person",
    "1.1.0",
    Situation("ea8c", ("tpu", "cpu"), "ai-edge-litert 2.3.0 on a board", "threads 1, tpu any at max"),
    (Timing("tpu", 2.5, 3.25), Timing("cpu", 6.0, 9.5)),
)
WORDS = st.text(max_size=40)


@st.composite
def routes(draw: st.DrawFn) -> Route:
    """Any measurement that can be: backends in any order, times of some of them, whole or broken numbers."""
    backends = draw(st.lists(WORDS, min_size=1, max_size=4, unique=True))
    there = draw(st.lists(st.sampled_from(backends), unique=True))
    times = st.one_of(st.floats(0.0, 1e6), st.integers(0, 10).map(float))
    situation = Situation(draw(WORDS), tuple(backends), draw(WORDS), draw(WORDS))
    return Route(draw(WORDS), draw(WORDS), situation, tuple(Timing(each, draw(times), draw(times)) for each in there))


def file_of(folder: Path) -> Path:
    return folder / "routes.json"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The reasons of what was logged as a warning."""
    return [
        record.msg["reason"]
        for record in caplog.records
        if record.levelno >= logging.WARNING and isinstance(record.msg, dict)
    ]


def written(**changes: object) -> bytes:
    """A file's content, with some of its one measurement changed."""
    form: dict[str, Any] = {
        "model": "person",
        "version": "1.1.0",
        "sha256": "ea8c",
        "backends": ["tpu", "cpu"],
        "platform": "p",
        "settings": "s",
        "timings": [{"backend": "cpu", "p50_ms": 1.0, "p99_ms": 2.0}],
    }
    return json.dumps({"version": 1, "routes": [form | changes]}).encode()


def test_where_there_is_no_file_nothing_was_measured_and_that_is_no_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert RouteFile(tmp_path / "not yet").load() == ()
    assert told(caplog) == []
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=50)
@given(known=st.lists(routes(), max_size=4))
def test_what_was_saved_is_loaded_by_the_next_process(
    known: list[Route], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("state")
    RouteFile(folder).save(known)
    assert RouteFile(folder).load() == tuple(known)
    assert [each.name for each in folder.iterdir()] == ["routes.json"], "nothing is left lying beside it"


def test_as_many_as_are_kept_can_be_read(tmp_path: Path) -> None:
    RouteFile(tmp_path / "var" / "lib").save([ROUTE] * ROUTES_MAX)
    assert file_of(tmp_path / "var" / "lib").stat().st_size < FILE_BYTES_MAX / 2
    assert RouteFile(tmp_path / "var" / "lib").load() == (ROUTE,) * ROUTES_MAX


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"null",
        b"[]",
        b"[" * 10_000,
        b"\x00" * 200,
        b"\xff\xfe{}",
        b"{}",
        b'{"version": 2, "routes": []}',
        b'{"version": 1, "routes": [], "more": 1}',
        written(backends=[]),
        written(backends="cpu"),
        written(backends=["tpu"]),
        written(timings=[{"backend": "cpu", "p50_ms": -1.0, "p99_ms": 2.0}]),
        written(timings=[{"backend": "cpu", "p50_ms": "1", "p99_ms": 2.0}]),
        written(timings=[{"backend": "cpu", "p50_ms": float("nan"), "p99_ms": 2.0}]),
        written(timings=[{"backend": "cpu", "p50_ms": 1.0, "p99_ms": 2.0}] * 2),
        written(sha256=None),
        written(model="x" * 5000),
        written() + b" " * FILE_BYTES_MAX,
        written() + written(),
    ],
    ids=lambda content: repr(content[:40]),
)
def test_a_file_that_is_not_ours_is_ignored_told_once_and_replaced_by_the_next_save(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file_of(tmp_path).write_bytes(content)
    assert RouteFile(tmp_path).load() == ()
    (reason,) = told(caplog)
    assert str(file_of(tmp_path)) in reason
    RouteFile(tmp_path).save([ROUTE])
    assert RouteFile(tmp_path).load() == (ROUTE,)


def test_a_file_cut_short_anywhere_is_nothing_rather_than_half_of_something(tmp_path: Path) -> None:
    RouteFile(tmp_path).save([ROUTE])
    whole = file_of(tmp_path).read_bytes()
    assert whole.endswith(b"}\n")
    for length in range(len(whole) - 1):
        file_of(tmp_path).write_bytes(whole[:length])
        assert RouteFile(tmp_path).load() == ()


def test_a_part_that_a_power_cut_left_is_neither_read_nor_in_the_way(tmp_path: Path) -> None:
    RouteFile(tmp_path).save([ROUTE])
    part = tmp_path / "routes.json.part"
    part.write_bytes(file_of(tmp_path).read_bytes()[:50])
    assert RouteFile(tmp_path).load() == (ROUTE,)
    RouteFile(tmp_path).save([])
    assert RouteFile(tmp_path).load() == ()
    assert not part.exists()


def test_a_disk_that_is_full_keeps_what_was_there_and_the_person_at_the_keyboard_hears_of_it(tmp_path: Path) -> None:
    with small_disk(tmp_path, "64k"):
        RouteFile(tmp_path).save([ROUTE])
        fill(tmp_path)
        with pytest.raises(ConfigError, match=r"routes\.json: cannot be written: No space left on device; run this as"):
            RouteFile(tmp_path).save([])
        assert RouteFile(tmp_path).load() == (ROUTE,)
        assert not (tmp_path / "routes.json.part").exists()


def test_a_link_in_the_way_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "routes.json.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be written"):
        RouteFile(tmp_path).save([ROUTE])
    assert not (tmp_path / "elsewhere").exists()
    RouteFile(tmp_path).save([ROUTE])
    assert RouteFile(tmp_path).load() == (ROUTE,), "it is out of the way the next time"


def test_a_state_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        RouteFile(tmp_path / "file" / "state").save([ROUTE])


def test_a_folder_in_its_place_is_told_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file_of(tmp_path).mkdir()
    assert RouteFile(tmp_path).load() == ()
    (reason,) = told(caplog)
    assert "cannot be read: Is a directory" in reason
