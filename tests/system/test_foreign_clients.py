"""What clients that share no code with us see: topics, QoS, retain and payloads of the published conventions."""

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.system.conftest import Site
from tests.system.device import BASE
from tests.system.subscriber import Heard, Subscriber, amqtt_sub, mosquitto_sub, publish
from tests.waiting import eventually

pytestmark = pytest.mark.broker

DISCOVERY = "homeassistant/device/edge_n1/config"
RETAINED = (f"{BASE}/availability", f"{BASE}/status", f"{BASE}/lamp/availability", f"{BASE}/lamp/state", DISCOVERY)
EVENT_KEYS = {
    *("schema", "id", "node", "channel", "event_type", "kind", "label", "score", "threshold", "severity"),
    *("outcome_state", "backend", "degraded", "model", "model_version", "boot_id", "seq", "mono_ns", "ts", "clock"),
    *("frame_age_ms", "historical"),
}
FRAME_AGE_MS_MAX = 30_000
"""As old as a frame of the lamp may be to be judged."""
CLIENTS = ("mosquitto_sub", "amqtt")
VALID_ID = re.compile(r"[a-zA-Z0-9_-]+")

each_client = pytest.mark.parametrize("client", CLIENTS)
each_maker = pytest.mark.parametrize("make", [mosquitto_sub, amqtt_sub])
Make = Callable[..., Subscriber]


@each_client
def test_every_topic_comes_at_its_qos_and_live_messages_are_not_retained_ones(site: Site, client: str) -> None:
    for topic in (*RETAINED, f"{BASE}/lamp/event"):
        heard = site.early[client].until(topic)
        assert {(each.qos, each.retain) for each in heard} == {(1, False)}, topic
    heard = site.early[client].until(f"{BASE}/metrics")
    assert {(each.qos, each.retain) for each in heard} == {(0, False)}


def test_availability_status_state_and_discovery_are_published_to_stay_and_nothing_else_is(site: Site) -> None:
    for topic in (*RETAINED, f"{BASE}/metrics", f"{BASE}/lamp/event"):
        site.published.until(topic)
    ours = [each for each in site.published.heard() if not each.topic.startswith(f"{BASE}/cmd")]
    ours = [each for each in ours if each.topic != "homeassistant/status"]
    assert {each.topic for each in ours if each.retain} == set(RETAINED)
    assert {each.topic for each in ours if not each.retain} >= {f"{BASE}/metrics", f"{BASE}/lamp/event"}


@each_maker
def test_a_client_that_comes_late_finds_how_things_stand_and_no_event_of_the_past(
    site: Site, tmp_path: Path, make: Make
) -> None:
    for topic in (*RETAINED, f"{BASE}/lamp/event"):
        site.published.until(topic)
    with make(tmp_path, site.broker, f"late-{make.__name__}") as late:
        for topic in RETAINED:
            first = late.until(topic)[0]
            assert (first.qos, first.retain) == (1, True), topic
        assert late.heard(f"{BASE}/availability")[0].payload == "online"
        assert late.heard(f"{BASE}/lamp/availability")[0].payload == "online"
        live = late.until(f"{BASE}/lamp/event")
        assert not any(each.retain for each in live)


@each_client
def test_an_event_is_flat_and_has_every_key_that_dashboards_expect(site: Site, client: str) -> None:
    site.early[client].until(f"{BASE}/lamp/event", count=6)
    events = site.early[client].events("lamp")
    for event in events:
        assert event.keys() >= EVENT_KEYS
        assert not [key for key, value in event.items() if isinstance(value, dict | list)]
        assert (event["node"], event["channel"], event["kind"], event["label"]) == ("n1", "lamp", "red", "red")
        assert (event["backend"], event["degraded"], event["model"]) == ("cpu", False, "tiny-uint8")
        assert (event["outcome_state"], event["historical"]) == ("result", False)
        assert event["clock"] in {"synced", "floor", "unsynced"}
        assert (event["ts"] is None) is (event["clock"] == "unsynced")
        assert event["ts"] is None or datetime.fromisoformat(event["ts"]).utcoffset() is not None
        assert 0 <= event["frame_age_ms"] < FRAME_AGE_MS_MAX
        assert 0.5 <= event["score"] <= 1.0


@each_client
def test_an_event_is_new_then_updated_then_over_under_one_id_in_order_of_its_sequence(site: Site, client: str) -> None:
    eventually(lambda: [event["event_type"] for event in site.early[client].events("lamp")].count("end") >= 2)
    events = site.early[client].events("lamp")
    ids = list(dict.fromkeys(event["id"] for event in events))
    lives = [[event["event_type"] for event in events if event["id"] == id_] for id_ in ids[:-1]]  # the last may go on
    for life in lives:
        assert life == ["new", *["update"] * (len(life) - 2), "end"]
    assert any("update" in life for life in lives), "on a busy machine one event may be too short for it, not all"
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["mono_ns"] for event in events] == sorted(event["mono_ns"] for event in events)


@each_client
def test_the_state_shows_each_rule_on_and_off(site: Site, client: str) -> None:
    def seen() -> set[object]:
        return {each.json["red"] for each in site.early[client].heard(f"{BASE}/lamp/state")}

    eventually(lambda: seen() >= {"ON", "OFF"})
    assert seen() == {"ON", "OFF"}
    for state in site.early[client].heard(f"{BASE}/lamp/state"):
        assert state.json["outcome"] == ("red" if state.json["red"] == "ON" else "clear")
        assert state.json["outcome_state"] == "result"


def test_the_status_never_cries_wolf_while_all_is_well(site: Site) -> None:
    site.published.until(f"{BASE}/status", count=2)
    reports = [each.json for each in site.published.heard(f"{BASE}/status")]
    assert [report["channels_failed"] for report in reports] == [0] * len(reports)
    assert reports[-1]["overall"] == "ok"
    assert reports[-1]["broker_connected"] is True


def test_discovery_names_only_topics_that_are_published_and_ids_that_home_assistant_takes(site: Site) -> None:
    announced = site.published.until(DISCOVERY)[0].json
    assert announced["device"]["identifiers"] == ["edge_n1"]
    assert announced["origin"]["name"]
    ids = [component["unique_id"] for component in announced["components"].values()]
    assert len(set(ids)) == len(ids)
    for name in (*ids, *announced["components"], DISCOVERY.split("/")[2]):
        assert VALID_ID.fullmatch(name), name
    for component in announced["components"].values():
        assert component["platform"] in {"binary_sensor", "event", "sensor"}
        topics = [component["state_topic"], *(each["topic"] for each in component.get("availability", []))]
        for topic in topics:
            assert site.published.until(topic)
    keys = site.published.until(f"{BASE}/lamp/state")[0].json
    assert announced["components"]["lamp_red"]["value_template"] == "{{ value_json['red'] }}"
    assert "red" in keys


def test_a_home_assistant_that_starts_anew_is_told_everything_again(site: Site) -> None:
    for topic in RETAINED:
        site.published.until(topic)
    before = {topic: len(site.published.heard(topic)) for topic in RETAINED}
    publish(site.broker, "homeassistant/status", "online")

    def told() -> list[Heard] | None:
        again = {topic: site.published.heard(topic)[before[topic] :] for topic in RETAINED}
        return again[DISCOVERY] if all(again.values()) else None

    assert eventually(told)[0].retain  # type: ignore[index] # eventually returns only what is true
