"""Logs reach stderr in the form that reads best there; a fault is said once, and so is its end."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.log import FaultLog, configure, get
from appliance.sim.clock import ManualClock

PROGRAM = """
import logging, sys, warnings
from appliance.log import configure, get
log = get("appliance.gate")
configure(sys.argv[1], sys.argv[2])
log.debug("detail")
log.info("sensor opened", channel="gate", fps=15.0)
try:
    password = "secret" + "-word"
    raise OSError("gone")
except OSError:
    log.exception("sensor lost")
logging.getLogger("library").warning("from %s", "elsewhere")
warnings.warn("old thing", DeprecationWarning)
"""
READ_BYTES = 4096


def run(level: str, form: str) -> str:
    """What the program writes to a stderr that is a pipe."""
    program = [sys.executable, "-W", "always", "-c", PROGRAM, level, form]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == ""
    return done.stderr


def test_elsewhere_than_on_a_terminal_every_line_is_a_json_object() -> None:
    events = [json.loads(line) for line in run("info", "auto").splitlines()]
    opened, lost, library, warning = events
    assert opened.pop("mono_s") > 0
    assert opened == {
        "event": "sensor opened",
        "level": "info",
        "logger": "appliance.gate",
        "channel": "gate",
        "fps": 15.0,
    }
    assert "OSError: gone" in lost["exception"]
    assert (library["event"], library["level"], library["logger"]) == ("from elsewhere", "warning", "library")
    assert "old thing" in warning["event"]
    assert "timestamp" not in opened


def test_no_local_variable_leaks_through_a_traceback() -> None:
    for form in ("json", "human"):
        assert "secret-word" not in run("debug", form)


def test_events_below_the_level_are_not_shown() -> None:
    assert "detail" in run("debug", "json")
    assert "detail" not in run("info", "json")
    assert "sensor opened" not in run("error", "json")
    assert "sensor lost" in run("error", "json")


def test_a_person_can_ask_for_lines_to_read() -> None:
    text = run("info", "human")
    assert "sensor opened" in text
    assert "channel=gate" in text
    assert "{" not in text.splitlines()[0]


def test_on_a_terminal_lines_are_for_people() -> None:
    master, slave = pty.openpty()
    program = [sys.executable, "-c", PROGRAM, "info", "auto"]
    with subprocess.Popen(program, stderr=slave) as process:
        os.close(slave)
        text = b""
        try:
            while piece := os.read(master, READ_BYTES):
                text += piece
        except OSError:  # Linux says so when the last writer of a terminal is gone
            pass
        assert process.wait(timeout=60) == 0
    os.close(master)
    first = text.decode().splitlines()[0]
    assert "sensor opened" in first
    assert not first.startswith("{")


def journal(stderr: Path, *, ours: bool) -> str:
    """What the program writes to a stderr that JOURNAL_STREAM names, or does not."""
    with stderr.open("w") as stream:
        stat = os.fstat(stream.fileno())
        named = f"{stat.st_dev}:{stat.st_ino}" if ours else f"{stat.st_dev}:1"
        program = [sys.executable, "-c", PROGRAM, "info", "human"]
        subprocess.run(program, stderr=stream, timeout=60, check=True, env={**os.environ, "JOURNAL_STREAM": named})
    return stderr.read_text()


def test_journald_is_told_the_priority_of_every_line(tmp_path: Path) -> None:
    lines = journal(tmp_path / "stderr", ours=True).splitlines()
    assert lines[0].startswith("<6>")
    assert "sensor opened" in lines[0]
    begin = next(number for number, line in enumerate(lines) if "sensor lost" in line)
    assert all(line.startswith("<3>") for line in lines[begin : begin + 3])
    assert any(line.startswith("<4>") and "from elsewhere" in line for line in lines)


def test_a_stderr_that_leads_elsewhere_gets_no_priorities(tmp_path: Path) -> None:
    assert not journal(tmp_path / "stderr", ours=False).startswith("<")


@pytest.fixture
def root_restored() -> Iterator[None]:
    """What pytest had set up for logging and warnings, afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    with warnings.catch_warnings():
        yield
        logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("root_restored")
def test_configuring_again_replaces_and_does_not_double() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("info", "json", first)
    configure("info", "json", second)
    get("appliance").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


class Lines(logging.Handler):
    """Keeps events as they were logged."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        assert isinstance(record.msg, dict)
        self.events.append({"level": record.levelname, **record.msg})


@pytest.fixture
def lines() -> Iterator[Lines]:
    with_handler = logging.getLogger("faults")
    handler = Lines()
    with_handler.addHandler(handler)
    with_handler.setLevel("DEBUG")
    yield handler
    with_handler.removeHandler(handler)


def said(lines: Lines) -> list[str]:
    return [event["event"] for event in lines.events]


def test_a_fault_is_said_once_and_its_recovery_with_how_long_and_how_often(lines: Lines) -> None:
    clock = ManualClock()
    faults = FaultLog(get("faults"), clock.monotonic_s)
    for _ in range(100):
        faults.failed("gate:sensor", "no frame", channel="gate")
        clock.advance(0.5)
    faults.recovered("gate:sensor", channel="gate")
    faults.recovered("gate:sensor", channel="gate")
    began, ended = lines.events
    assert (began["level"], began["event"], began["fault"], began["reason"]) == (
        "WARNING", "fault", "gate:sensor", "no frame",
    )  # fmt: skip
    assert began["channel"] == "gate"
    assert (ended["level"], ended["event"], ended["duration_s"], ended["failures"]) == ("INFO", "recovered", 50.0, 100)


def test_what_never_failed_does_not_recover(lines: Lines) -> None:
    FaultLog(get("faults"), ManualClock().monotonic_s).recovered("broker")
    assert lines.events == []


def test_faults_with_different_keys_are_told_apart(lines: Lines) -> None:
    faults = FaultLog(get("faults"), ManualClock().monotonic_s)
    faults.failed("gate:sensor", "gone")
    faults.failed("yard:sensor", "gone")
    faults.recovered("gate:sensor")
    assert [(event["event"], event["fault"]) for event in lines.events] == [
        ("fault", "gate:sensor"), ("fault", "yard:sensor"), ("recovered", "gate:sensor"),
    ]  # fmt: skip


def test_a_loose_cable_does_not_fill_the_journal(lines: Lines) -> None:
    clock = ManualClock()
    faults = FaultLog(get("faults"), clock.monotonic_s, quiet_s=10.0)
    for _ in range(300):  # a fault and its end every 100 ms, for half a minute
        faults.failed("gate:sensor", "gone")
        faults.recovered("gate:sensor")
        clock.advance(0.1)
    assert said(lines) == ["fault", "recovered"] * 3
    assert 90 <= lines.events[2]["faults_not_shown"] <= 100


def test_a_fault_that_came_back_too_soon_and_stayed_is_said_at_last(lines: Lines) -> None:
    clock = ManualClock()
    faults = FaultLog(get("faults"), clock.monotonic_s, quiet_s=10.0)
    faults.failed("broker", "refused")
    faults.recovered("broker")
    for _ in range(20):
        clock.advance(1.0)
        faults.failed("broker", "refused")
    faults.recovered("broker")
    assert said(lines) == ["fault", "recovered", "fault", "recovered"]
    assert lines.events[3]["duration_s"] == 19.0


def test_a_fault_that_goes_on_for_hours_is_said_again_each_hour(lines: Lines) -> None:
    clock = ManualClock()
    faults = FaultLog(get("faults"), clock.monotonic_s, remind_s=3600.0)
    for _ in range(3 * 60):
        faults.failed("broker", "refused")
        clock.advance(60.0)
    assert said(lines) == ["fault"] * 3
    assert [event["failures"] for event in lines.events] == [1, 61, 121]


def test_keys_without_end_do_not_take_memory_without_end(lines: Lines) -> None:
    faults = FaultLog(get("faults"), ManualClock().monotonic_s, keys_max=10)
    for number in range(100):
        faults.failed(f"key {number}", "gone")
        faults.failed("key 0", "gone")
    assert len(faults._faults) == 10
    faults.recovered("key 0")
    faults.recovered("key 1")  # forgotten
    recovered = [(event["fault"], event["failures"]) for event in lines.events if event["event"] == "recovered"]
    assert recovered == [("key 0", 101)]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 4.0, 11.0, 4000.0])), max_size=40))
def test_lines_about_a_key_alternate_and_count_every_failure(steps: list[tuple[bool, float]]) -> None:
    handler, clock = Lines(), ManualClock()
    logger = logging.getLogger("faults.property")
    logger.addHandler(handler)
    logger.setLevel("DEBUG")
    faults = FaultLog(get("faults.property"), clock.monotonic_s, remind_s=1e9)
    for fails, seconds in steps:
        if fails:
            faults.failed("key", "gone")
        else:
            faults.recovered("key")
        clock.advance(seconds)
    logger.removeHandler(handler)
    events = said(handler)
    assert events == ["fault", "recovered"] * (len(events) // 2) + ["fault"] * (len(events) % 2)
    assert bool(events) == any(fails for fails, _ in steps)


def test_threads_that_fail_together_say_it_once(lines: Lines) -> None:
    faults = FaultLog(get("faults"), ManualClock().monotonic_s)

    def fail() -> None:
        for _ in range(500):
            faults.failed("broker", "refused")

    threads = [Thread(target=fail) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    faults.recovered("broker")
    assert said(lines) == ["fault", "recovered"]
    assert lines.events[1]["failures"] == 2000
