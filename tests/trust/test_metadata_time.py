"""Time on a device that may have none: only signed time moves the floor, and nothing that expired stops what runs."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.hub.signing import Role
from appliance.sim.repository import ScriptedRepository
from appliance.sim.slots import VolatileSlots
from appliance.trust.metadata import Trusted, reference_s
from appliance.updater.refresh import refresh
from tests.repositories import DAY, NOW, RELEASED_S, Device, Publisher

MAXINT = 2**63 - 1
YEAR_9999 = datetime(9999, 12, 31, tzinfo=UTC)


@pytest.fixture
def publisher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr("os.fsync", lambda _: None)  # no power is cut here
    made = Publisher(tmp_path / "hub")
    made.publish(1)
    return made


@pytest.fixture
def device(tmp_path: Path, publisher: Publisher) -> Device:
    return Device(tmp_path / "device", publisher.root, clock=None)


@given(clock_s=st.none() | st.integers(-(2**63), 2**63), floor_s=st.integers(0, 2**40))
def test_the_reference_is_the_clock_but_never_before_the_floor(clock_s: int | None, floor_s: int) -> None:
    now_s = reference_s(clock_s, floor_s)
    assert now_s >= floor_s
    assert now_s in (clock_s, floor_s)


def test_without_a_clock_it_is_as_late_as_the_release_or_the_newest_signed_time(
    publisher: Publisher, device: Device
) -> None:
    files = publisher.files()
    assert device.refresh(files).reference_s == int(NOW.timestamp())
    late_s = int(YEAR_9999.timestamp())
    repository = ScriptedRepository(files)
    assert refresh(repository, device.slots, device.root, clock_s=None, released_s=late_s).reference_s == late_s


@pytest.mark.parametrize("clock", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)])
def test_a_clock_before_the_floor_is_not_believed(publisher: Publisher, device: Device, clock: datetime) -> None:
    device.clock = clock
    assert device.refresh(publisher.files()).reference_s == int(NOW.timestamp())


@pytest.mark.parametrize("lie_s", [int(YEAR_9999.timestamp()), MAXINT])
def test_a_clock_far_ahead_stops_installs_while_it_lies_and_leaves_no_trace(
    publisher: Publisher, tmp_path: Path, lie_s: int
) -> None:
    """A lying clock at its end locked updates out for ever (uptane-standard#31)."""
    slots, repository = VolatileSlots(tmp_path / "d"), ScriptedRepository(publisher.files())
    heard = refresh(repository, slots, publisher.root, clock_s=lie_s, released_s=RELEASED_S)
    assert heard.stale
    assert heard.manifests, "what is signed is heard all the same"
    later = refresh(repository, slots, publisher.root, clock_s=int(NOW.timestamp()), released_s=RELEASED_S)
    assert (later.stale, later.reference_s) == ("", int(NOW.timestamp()))


def test_the_floor_survives_a_restart_and_the_publishers_clock_going_back(publisher: Publisher, device: Device) -> None:
    publisher.now = NOW + 5 * DAY
    publisher.stamp()
    device.refresh(publisher.files())
    publisher.now = NOW + 1 * DAY
    for _ in range(2):
        publisher.stamp()
        heard = device.refresh(publisher.files())
        assert heard.signed_at_s == int((NOW + 1 * DAY).timestamp())
        assert heard.reference_s == int((NOW + 5 * DAY).timestamp())
    known = device.known()
    assert known is not None
    assert known.reference_s == int((NOW + 5 * DAY).timestamp())


def test_the_floor_is_forgotten_with_the_timestamp_key_that_signed_it(publisher: Publisher, device: Device) -> None:
    publisher.now = YEAR_9999 - 400 * DAY
    publisher.repository.renew_root(expires=YEAR_9999)
    publisher.sign_root(publisher.root_keys[:2])
    publisher.sign()
    device.refresh(publisher.files())
    publisher.now = NOW
    publisher.rotate(Role.RELEASES)
    assert device.refresh(publisher.files()).stale, "another key is no reason to go back"
    publisher.rotate(Role.TIMESTAMP)
    assert device.refresh(publisher.files()).stale == ""


def test_what_is_stale_says_which_role_and_since_when(publisher: Publisher) -> None:
    trusted = Trusted(publisher.root)
    ends_s = int((NOW + 365 * DAY).timestamp())
    assert trusted.stale(ends_s - 1) == ""
    assert trusted.stale(ends_s) == "root metadata expired at 2027-12-01T00:00:00Z"
