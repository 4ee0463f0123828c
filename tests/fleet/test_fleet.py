"""A publisher and three devices, each in a network of its own: shares, a link that is cut, a bad model, a stick.

Whatever happens, each device decides: what is seen here is what a dashboard on its broker and the publisher see.
"""

import signal
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.fleet.door import WITHIN_S, Door, look
from tests.fleet.fleet import TRIES, Fleet, plugged_in
from tests.fleet.town import run
from tests.fleet.versions import BAD, BETTER, FACTORY, MENDED, NAME
from tests.process.test_update_stick import SCRIPT, Stick
from tests.system.crashing import CRASHED
from tests.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.broker, pytest.mark.timeout(1500)]

RATE = "320kbit"
"""The delta takes eight seconds."""
CUT_AT, CUT_AGAIN_AT = 0.25, 0.5
"""Shares of the delta."""
OVERHEAD_MAX = 1.2
"""Of what comes through the cable in all, headers, metadata and two cuts included: share of the delta."""
DONE, LATER = 0, 75
"""Exit codes of the updater."""
END_S = 60.0


def test_a_fleet_takes_the_better_model_and_never_the_bad_one_whatever_is_cut(fleet: Fleet, tmp_path: Path) -> None:
    for door in fleet.doors:
        door.until_decided_by(FACTORY)
    _a_share_takes_the_better_one_over_a_link_that_is_cut_twice(fleet)
    _everybody_takes_it(fleet)
    _a_share_of_one_tries_the_bad_one_dies_of_it_and_goes_back(fleet)
    _nobody_takes_it_any_more(fleet)
    _those_with_a_network_take_the_mended_one(fleet)
    _the_one_without_takes_it_from_a_stick(fleet, tmp_path)
    _the_publisher_knows_when_its_network_is_back(fleet)
    _nothing_was_left_unanswered(fleet)


def _a_share_takes_the_better_one_over_a_link_that_is_cut_twice(fleet: Fleet) -> None:
    fleet.publish(BETTER, bases=1)
    assert look(fleet.second, fleet.last) == [DONE] * 2
    for door in (fleet.second, fleet.last):
        door.until(held="rollout", installed_version=FACTORY, latest_version=BETTER)
    door, size_bytes = fleet.first, fleet.delta(BETTER, FACTORY).size_bytes
    door.house.shape(RATE)
    before_bytes = door.house.received_bytes()
    _cut_and_lose_power(door, size_bytes)
    _cut_and_be_told_to_end(door, size_bytes)
    assert look(door) == [DONE]
    share = (door.house.received_bytes() - before_bytes) / size_bytes
    print(f"through the cable came {share:.3f} of the delta's {size_bytes} bytes")
    assert share < OVERHEAD_MAX
    _commits(door, BETTER)
    starts = eventually(lambda: _starts(fleet) if len(_starts(fleet)) > 1 else [], within_s=WITHIN_S)
    assert starts == sorted(set(starts)), "each goes on where the one before it ended"
    assert {each.address for each in fleet.web.bundles(BETTER)} == {door.house.address}


def _cut_and_lose_power(door: Door, size_bytes: int) -> None:
    """The link goes in the middle of the delta; then, while the updater waits for it, the power."""
    fetching = door.updating()
    eventually(lambda: door.part_bytes() > CUT_AT * size_bytes, within_s=WITHIN_S)
    door.house.cut()
    eventually(lambda: door.standing.get("update_percentage"), within_s=WITHIN_S)
    fetching.kill()
    fetching.communicate(timeout=END_S)
    door.appliance.end(signal.SIGKILL)
    door.house.mend()
    door.start()


def _cut_and_be_told_to_end(door: Door, size_bytes: int) -> None:
    """The link goes again, and the updater's time is over."""
    assert door.part_bytes() > CUT_AT * size_bytes
    fetching = door.updating()
    eventually(lambda: door.part_bytes() > CUT_AGAIN_AT * size_bytes, within_s=WITHIN_S)
    door.house.cut()
    fetching.terminate()
    fetching.communicate(timeout=END_S)
    assert fetching.returncode == LATER
    door.house.mend()


def _starts(fleet: Fleet) -> list[int]:
    """At which bytes the server went on, as far as those answers have ended."""
    asked = [each for each in fleet.web.bundles(BETTER) if each.status == HTTPStatus.PARTIAL_CONTENT]
    return [int(each.range.removeprefix("bytes=").removesuffix("-")) for each in asked]


def _commits(door: Door, version: str) -> None:
    """Wait for the end of a trial that goes well."""
    door.until(stage="idle", outcome="committed", installed_version=version, deciding_version=version)
    door.until_decided_by(version)


def _told(fleet: Fleet, door: Door, outcome: str, running: str, candidate: str) -> None:
    """What became of an attempt is known: to the dashboard at once, to the publisher with the device's next look."""
    told = {
        "outcome": outcome,
        "running_id": fleet.versions[running].model_id,
        "candidate_id": fleet.versions[candidate].model_id,
    }
    eventually(lambda: told.items() <= door.shown(f"model/{NAME}/report").items(), within_s=WITHIN_S)
    assert told.items() <= fleet.reported()[door.name].items()


def _everybody_takes_it(fleet: Fleet) -> None:
    fleet.hub("rollout", NAME, 100)
    assert look(fleet.second, fleet.last) == [DONE] * 2
    for door in (fleet.second, fleet.last):
        _commits(door, BETTER)


def _a_share_of_one_tries_the_bad_one_dies_of_it_and_goes_back(fleet: Fleet) -> None:
    fleet.publish(BAD, bases=1)
    assert look(*fleet.doors) == [DONE] * 3
    for door in (fleet.first, fleet.last):
        door.until(held="rollout", installed_version=BETTER, latest_version=BAD)
    for door in fleet.doors:
        _told(fleet, door, "committed", running=BETTER, candidate=BETTER)
    door = fleet.second
    assert _deaths(door) == TRIES, "its self-test, which it passed, has cost none"
    door.until(stage="idle", bad=1, installed_version=BETTER, deciding_version=BETTER)
    assert {each.address for each in fleet.web.bundles(BAD)} == {door.house.address}


def _deaths(door: Door) -> int:
    """Start the appliance again, as systemd does, until it has gone back to the model before; counts its deaths."""
    for deaths in range(TRIES + 1):
        eventually(lambda: not door.appliance.runs or door.standing["outcome"] == "rolled_back", within_s=WITHIN_S)
        if door.appliance.runs:
            return deaths
        assert door.appliance.end() == CRASHED
        door.start()
    pytest.fail("it tries again and again")


def _nobody_takes_it_any_more(fleet: Fleet) -> None:
    fleet.hub("stop", NAME)
    before = fleet.web.bundles(BAD)
    assert look(*fleet.doors) == [DONE] * 3
    for door in (fleet.first, fleet.last):
        door.until(held="stopped", installed_version=BETTER)
    fleet.second.until(held="failed", installed_version=BETTER)
    assert fleet.web.bundles(BAD) == before
    _told(fleet, fleet.second, "rolled_back", running=BETTER, candidate=BAD)


def _those_with_a_network_take_the_mended_one(fleet: Fleet) -> None:
    fleet.publish(MENDED, bases=2, percent=100)
    fleet.last.house.cut()
    assert look(*fleet.doors) == [DONE, DONE, LATER]
    for door in (fleet.first, fleet.second):
        _commits(door, MENDED)
    assert fleet.last.standing["installed_version"] == BETTER


def _the_one_without_takes_it_from_a_stick(fleet: Fleet, room: Path) -> None:
    """What systemd/appliance-update-stick@.service does, line by line."""
    door = fleet.last
    with plugged_in(fleet.hub, room) as stick:
        run(SCRIPT, "mount", stick.device)
        stick.result.parent.mkdir(exist_ok=True)
        assert door.take(stick.folder, stick.result) == DONE
        run(SCRIPT, "finish", stick.device)
        assert not stick.folder.exists(), "it can be pulled"
        _commits(door, MENDED)
        told = _written_back(stick)
    assert f"Edge appliance {door.name} " in told
    assert f"{NAME}: " in told
    assert MENDED in told
    assert "Not taken" not in told


def _written_back(stick: Stick) -> str:
    run(SCRIPT, "mount", stick.device)
    (file,) = stick.folder.glob("edge-*-result.txt")
    content = file.read_text()
    run(SCRIPT, "finish", stick.device)
    return content


def _the_publisher_knows_when_its_network_is_back(fleet: Fleet) -> None:
    fleet.last.house.mend()
    assert look(*fleet.doors) == [DONE] * 3
    for door in fleet.doors:
        _told(fleet, door, "committed", running=MENDED, candidate=MENDED)


def _nothing_was_left_unanswered(fleet: Fleet) -> None:
    for door in fleet.doors:
        assert door.deciding() == [FACTORY, BETTER, MENDED], "each decision names its model; none is the bad one's"
        assert door.unanswered() == []
        assert door.decisions(outcome_state="no_result") == 0.0
        assert door.decisions(outcome_state="result") > 0.0
        alerts = door.alerts()
        assert alerts == list(range(alerts[0], alerts[-1] + 1)), "no alert is missing, over switches, deaths and cuts"
        assert door.end() == DONE
