"""``appliance update`` as processes of their own: run, killed, told to end, one at a time; status, consent, a stick."""

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from appliance.adapters.repository.archive import ON_A_STICK_MAX
from appliance.adapters.slots import Slots
from appliance.trust.state import Stage
from tests.command import Command, Ended
from tests.process.test_update_apply import V1, V2
from tests.process.update_fleet import MODEL, Hub, StallingServer, device, done, started
from tests.repositories import FileServer
from tests.slots import sample
from tests.waiting import eventually

pytestmark = pytest.mark.slow

Update = Callable[..., Ended]
V2_LARGE = sample("2.0.0", size_bytes=400_000)
STALLED_S = 60.0
"""For a run to come to where the server stops: a bound, no measure."""
READS_S = 60.0
"""For a run to wait for more, while another one is started and has ended beside it."""


@pytest.fixture
def hub(tmp_path: Path) -> Hub:
    made = Hub(tmp_path / "hub")
    made.publish(V1)
    return made


@pytest.fixture
def update(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Update:
    """The command, in this process: one of its own takes a second to start."""
    command = Command(capfd, monkeypatch)
    return lambda *words: command("update", *words)


def status(update: Update, file: Path) -> dict[str, Any]:
    """What ``status --json`` says."""
    ended = update("status", "--config", file, "--json")
    assert ended.code == 0, ended.err
    told: dict[str, Any] = json.loads(ended.out)
    return told


def test_a_run_ends_well_with_something_to_do_and_without(tmp_path: Path, hub: Hub, update: Update) -> None:
    hub.publish(V2, base=V1)
    with FileServer(hub.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url)
        before = status(update, file)["models"][MODEL]
        assert (before["stage"], before["running_version"], before["latest_version"]) == ("idle", "1.0.0", "")
        for _ in range(2):
            ended = update("run", "--config", file)
            assert ended.code == 0, ended.err
            assert "Traceback" not in ended.err
    told = status(update, file)
    now = told["models"][MODEL]
    assert (now["stage"], now["running_version"], now["latest_version"]) == ("selftest", "1.0.0", "2.0.0")
    assert told["stale"] == ""
    ended = update("status", "--config", file)
    assert ended.code == 0
    assert "1.0.0 (came with the device)" in ended.out


def test_without_a_server_the_exit_code_says_later(tmp_path: Path, hub: Hub, update: Update) -> None:
    file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url="http://127.0.0.1:9", run_s_max=10)
    ended = update("run", "--config", file)
    assert ended.code == 75
    assert status(update, file)["models"][MODEL]["stage"] == "idle"


def test_a_publisher_who_is_not_ours_is_not_believed(tmp_path: Path, hub: Hub, update: Update) -> None:
    other = Hub(tmp_path / "other")
    other.publish(V2)
    with FileServer(other.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url)
        ended = update("run", "--config", file)
    assert ended.code == 65
    assert "Traceback" not in ended.err
    told = status(update, file)
    assert told["models"][MODEL]["running_version"] == "1.0.0"
    assert told["failed_here"] == {}


def test_without_a_root_file_nobody_is_trusted_and_the_configuration_is_wrong(
    tmp_path: Path, hub: Hub, update: Update
) -> None:
    file = device(tmp_path / "device", V1, hub.repository.root_bytes())
    file.write_text(file.read_text().replace("\nroot_file = ", "\n# "))
    ended = update("run", "--config", file)
    assert ended.code == 78
    assert "update.root_file" in ended.err
    other = device(tmp_path / "other", V1, b"{}")
    ended = update("run", "--config", other)
    assert ended.code == 78
    assert "is no publisher's root" in ended.err


def test_a_device_without_a_server_has_nothing_to_do_until_a_stick_comes(
    tmp_path: Path, hub: Hub, update: Update
) -> None:
    file = device(tmp_path / "device", V1, hub.repository.root_bytes())
    assert update("run", "--config", file).code == 0


def test_killed_in_the_middle_of_a_fetch_it_goes_on_at_that_byte(tmp_path: Path, hub: Hub) -> None:
    hub.publish(V2_LARGE)
    with StallingServer(hub.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url, timeout_s=READS_S)
        server.stall_after_bytes = 300_000
        process = started("run", "--config", file)
        assert server.stalled.wait(STALLED_S)
        slots = Slots(tmp_path / "device" / "state" / "models")
        code, _, err = done("run", "--config", file)
        assert code == 75, "another run is under way"
        assert "another run" in err
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20.0)
        server.go_on.set()
        server.stall_after_bytes = None
        assert slots.load(MODEL).stage is Stage.FETCH
        assert done("run", "--config", file)[0] == 0
        ranges = [headers.get("Range") for path, headers in server.asked if path.startswith("/targets/")]
    assert slots.load(MODEL).stage is Stage.SELFTEST
    assert len(ranges) == 1
    assert ranges[0] is not None
    assert int(ranges[0].removeprefix("bytes=").removesuffix("-")) >= 256 * 1024


def test_told_to_end_it_keeps_what_it_has(tmp_path: Path, hub: Hub) -> None:
    hub.publish(V2_LARGE)
    with StallingServer(hub.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url, timeout_s=2.0)
        server.stall_after_bytes = 300_000
        process = started("run", "--config", file)
        assert server.stalled.wait(STALLED_S)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60.0)
        server.go_on.set()
    assert process.returncode == 75
    assert "Traceback" not in err
    assert Slots(tmp_path / "device" / "state" / "models").load(MODEL).stage is Stage.FETCH


@pytest.mark.parametrize("store", ["killed", "hung"])
def test_killed_while_it_applies_it_applies_again_and_three_times_is_enough(
    store: str, tmp_path: Path, hub: Hub
) -> None:
    """The child is stopped (SIGSTOP), which is a hang; its parent is killed, as by systemd's TimeoutStartSec."""
    hub.publish(V2, base=V1)
    with FileServer(hub.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url)
        slots = Slots(tmp_path / "device" / "state" / "models")
        kills = 1 if store == "killed" else 3
        for number in range(kills):
            process = started("run", "--config", file)
            child = _child_of(process.pid)
            os.kill(child, signal.SIGSTOP)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=20.0)
            with suppress(ProcessLookupError):  # it was stopped before it could tie its life to its parent's
                os.kill(child, signal.SIGKILL)
            assert slots.load(MODEL).stage is Stage.APPLY
            assert slots.load(MODEL).beginnings == number + 1
        assert done("run", "--config", file)[0] == 0
    state = slots.load(MODEL)
    if store == "killed":
        assert state.stage is Stage.SELFTEST
    else:
        assert (state.stage, state.failures, state.failed[0].prefer_whole) == (Stage.IDLE, 1, True)


def _child_of(parent: int) -> int:
    """Wait for the process that applies, a child of ``parent``."""

    def find() -> int | None:
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes()
                ours = f"PPid:\t{parent}\n" in (entry / "status").read_text()
            except OSError:
                continue
            if ours and b"apply_main" in words:
                return int(entry.name)
        return None

    return eventually(find, within_s=60.0) or 0


def test_an_archive_takes_the_same_way_and_its_result_can_be_kept(tmp_path: Path, hub: Hub, update: Update) -> None:
    hub.publish(V2, base=V1)
    stick = hub.archive(tmp_path / "models.update")
    file = device(tmp_path / "device", V1, hub.repository.root_bytes(), daily_bytes=10_000)
    result = tmp_path / "edge-update-result.json"
    ended = update("import", stick, "--config", file, "--result", result)
    assert ended.code == 0, ended.err
    told = json.loads(result.read_text())
    assert (told["node"], told["error"], told["file"]) == ("b1", "", "models.update")
    assert told["models"][MODEL]["stage"] == "selftest"
    assert told["bytes_left_today"] == 10_000
    words = tmp_path / "result.txt"
    update("import", stick, "--config", file, "--result", words)
    assert "Edge appliance b1 was given models.update." in words.read_text()
    assert "2.0.0 is at selftest" in words.read_text(), "a technician reads where it stands"


def test_a_store_that_cannot_be_read_does_not_cost_the_technician_the_answer(
    tmp_path: Path, hub: Hub, update: Update
) -> None:
    hub.publish(V2, base=V1)
    stick = hub.archive(tmp_path / "models.update")
    file = device(tmp_path / "device", V1, hub.repository.root_bytes())
    assert update("import", stick, "--config", file).code == 0
    (record,) = (tmp_path / "device").rglob(f"state/{MODEL}.json")
    record.unlink()
    record.mkdir()
    for result in (tmp_path / "result.txt", tmp_path / "result.json"):
        assert update("import", stick, "--config", file, "--result", result).code == 74
        assert f"{MODEL}.json" in result.read_text(), "it names what cannot be read"


def test_of_a_sticks_folder_each_archive_is_taken_whatever_else_lies_there(
    tmp_path: Path, hub: Hub, update: Update
) -> None:
    file = device(tmp_path / "device", V1, hub.repository.root_bytes())
    stick = tmp_path / "stick"
    stick.mkdir()
    for name in ("a holiday.jpg", "._plant.update"):
        (stick / name).write_bytes(b"a picture, perhaps")
    ended = update("import", stick, "--config", file)
    assert (ended.code, ended.err) == (65, "appliance: stick: there is no file in it whose name ends with .update\n")
    hub.publish(V2, base=V1)
    hub.archive(stick / "plant.update").rename(stick / "PLANT.UPDATE")
    (stick / "B.update").write_bytes(b"another picture")
    ended = update("import", stick, "--config", file)
    assert ended.code == 65, "one of them is no archive"
    assert "B.update" in ended.err
    assert status(update, file)["models"][MODEL]["stage"] == "selftest", "and the other is taken"


def test_archives_beyond_the_bound_of_a_stick_are_not_passed_over_in_silence(
    tmp_path: Path, hub: Hub, update: Update
) -> None:
    file = device(tmp_path / "device", V1, hub.repository.root_bytes())
    stick, result = tmp_path / "stick", tmp_path / "result.txt"
    stick.mkdir()
    for number in range(ON_A_STICK_MAX + 2):
        (stick / f"{number:02}.update").write_bytes(b"no archive")
    ended = update("import", stick, "--config", file, "--result", result)
    assert ended.code == 65
    assert "2 archives more than 16: 16.update and what follows are not looked at" in result.read_text()
    assert "15.update" in ended.err


def test_what_is_no_archive_or_anothers_is_refused_and_its_result_says_why(
    tmp_path: Path, hub: Hub, update: Update
) -> None:
    file = device(tmp_path / "device", V1, hub.repository.root_bytes())
    result = tmp_path / "result.json"
    (tmp_path / "holiday.update").write_bytes(b"a picture, perhaps" * 100)
    other = Hub(tmp_path / "other")
    other.publish(V2)
    for bad, expected in ((tmp_path / "holiday.update", 65), (other.archive(tmp_path / "other.update"), 65)):
        ended = update("import", bad, "--config", file, "--result", result)
        assert ended.code == expected
        assert "Traceback" not in ended.err
        assert json.loads(result.read_text())["error"]
    assert update("import", tmp_path / "gone.update", "--config", file).code == 69


def test_consent_is_given_to_what_waits_for_it_and_to_nothing_else(tmp_path: Path, hub: Hub, update: Update) -> None:
    hub.publish(V2, base=V1, consent=True)
    with FileServer(hub.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url)
        ended = update("consent", MODEL, "--config", file)
        assert ended.code == 65
        assert "waits for consent" in ended.err
        assert f"there are {MODEL}" in update("consent", "another", "--config", file).err
        assert update("run", "--config", file).code == 0
        assert status(update, file)["models"][MODEL]["held"] == "consent"
        assert update("consent", MODEL, "--config", file).code == 0
        assert update("run", "--config", file).code == 0
    assert status(update, file)["models"][MODEL]["stage"] == "selftest"


def test_the_help_teaches(update: Update) -> None:
    for words in ([], ["run"], ["import"], ["status"], ["consent"]):
        ended = update(*words, "--help")
        assert ended.code == 0
        assert "Example:" in ended.out or not words
