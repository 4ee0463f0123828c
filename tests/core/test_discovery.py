"""What Home Assistant is told, and that it is only what the appliance publishes."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.discovery import ChannelCard, discovery, goodbye
from appliance.core.health import assess
from appliance.core.types import ClockState, FrameKind, Message, Severity
from appliance.core.wire import Identity, encode, state, status
from tests.core.making import IDENTITY, STAMP, make_channel_health, make_decision, make_outbox_health, make_rule
from tests.core.tpus import make_tpu

GATE = ChannelCard("gate", (make_rule("person"), make_rule("car", labels=("car", "bus"))), FrameKind.IMAGE, "person")

# What the Home Assistant documentation requires and allows of each platform that we use.
COMMON = {"platform", "unique_id", "default_entity_id", "name", "device_class", "entity_category", "state_topic"}
ALLOWED = {
    "binary_sensor": COMMON
    | {"value_template", "payload_on", "payload_off", "expire_after", "availability", "availability_mode"},
    "event": (COMMON | {"event_types"}) - {"device_class", "entity_category"},
    "update": (COMMON | {"command_topic", "payload_install"}),
    "sensor": COMMON | {"value_template", "expire_after", "unit_of_measurement", "state_class", "enabled_by_default"},
}


def announced(*cards: ChannelCard, tpu: bool = False, models: Sequence[str] = ()) -> dict[str, Any]:
    """What a subscriber reads, through the bytes that go over the wire."""
    return cast("dict[str, Any]", json.loads(encode(discovery(IDENTITY, cards, tpu=tpu, models=models).payload)))


def test_the_device_is_announced_by_one_retained_message() -> None:
    message = discovery(IDENTITY, [GATE])
    assert (message.topic, message.retain, message.qos) == ("homeassistant/device/edge_a1b2c3/config", True, 1)
    payload = announced(GATE)
    assert payload["device"] == {
        "identifiers": ["edge_a1b2c3"],
        "name": "Gate camera",
        "manufacturer": "edge-appliance",
        "model": "Raspberry Pi 4B",
        "sw_version": "1.4.0",
        "serial_number": "a1b2c3",
    }
    assert payload["origin"] == {"name": "edge-appliance", "sw_version": "1.4.0"}
    assert (payload["availability"], payload["availability_mode"], payload["qos"]) == (
        [{"topic": "edge/a1b2c3/availability"}],
        "all",
        1,
    )
    assert sorted(payload["components"]) == ["degraded", "gate-alert", "gate_car", "gate_person", "latency"]


def test_goodbye_clears_what_was_announced() -> None:
    assert goodbye(IDENTITY) == Message(discovery(IDENTITY, [GATE]).topic, None, qos=1, retain=True)


def test_a_rule_is_a_sensor_that_is_there_while_device_and_channel_are() -> None:
    assert announced(GATE)["components"]["gate_person"] == {
        "platform": "binary_sensor",
        "unique_id": "edge_a1b2c3_gate_person",
        "default_entity_id": "binary_sensor.gate_person",
        "name": "Gate person",
        "device_class": "occupancy",
        "state_topic": "edge/a1b2c3/gate/state",
        "value_template": "{{ value_json['person'] }}",
        "payload_on": "ON",
        "payload_off": "OFF",
        "expire_after": 120,
        "availability": [{"topic": "edge/a1b2c3/availability"}, {"topic": "edge/a1b2c3/gate/availability"}],
        "availability_mode": "all",
    }


def test_a_model_that_may_be_updated_has_an_entity_with_an_install_button() -> None:
    update = announced(GATE, models=["person_v"])["components"]["person__v-model"]
    assert update == {
        "platform": "update",
        "unique_id": "edge_a1b2c3_person__v-model",
        "default_entity_id": "update.person_v_model",
        "name": "Person v model",
        "entity_category": "config",
        "state_topic": "edge/a1b2c3/model/person_v/state",
        "command_topic": "edge/a1b2c3/model/person_v/set",
        "payload_install": "INSTALL",
    }
    assert update.keys() <= ALLOWED["update"]


def test_a_channel_has_an_entity_for_its_events() -> None:
    assert announced(GATE)["components"]["gate-alert"] == {
        "platform": "event",
        "unique_id": "edge_a1b2c3_gate-alert",
        "default_entity_id": "event.gate_alert",
        "name": "Gate alert",
        "event_types": ["new", "update", "end"],
        "state_topic": "edge/a1b2c3/gate/event",
    }


def test_the_device_has_its_health_and_its_latency() -> None:
    components = announced(GATE)["components"]
    assert components["degraded"]["state_topic"] == "edge/a1b2c3/status"
    assert components["degraded"]["device_class"] == "problem"
    assert components["latency"]["state_topic"] == "edge/a1b2c3/metrics"
    assert components["latency"]["value_template"] == "{{ value_json.decision_p95_ms }}"


def test_where_an_edge_tpu_is_to_be_used_its_problem_and_what_to_do_have_entities() -> None:
    """Their unique ids and entity ids are an API: automations are built on them (hass-integration#1138)."""
    with_tpu, without = announced(GATE, tpu=True)["components"], announced(GATE)["components"]
    assert {key: with_tpu[key] for key in without} == without
    assert {key: with_tpu[key] for key in with_tpu.keys() - without.keys()} == {
        "tpu-problem": {
            "platform": "binary_sensor",
            "unique_id": "edge_a1b2c3_tpu-problem",
            "default_entity_id": "binary_sensor.gate_camera_tpu_problem",
            "name": "Edge TPU problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": "edge/a1b2c3/status",
            "value_template": "{{ 'ON' if value_json.tpu_problem else 'OFF' }}",
            "payload_on": "ON",
            "payload_off": "OFF",
        },
        "tpu-advice": {
            "platform": "sensor",
            "unique_id": "edge_a1b2c3_tpu-advice",
            "default_entity_id": "sensor.gate_camera_tpu_advice",
            "name": "Edge TPU advice",
            "entity_category": "diagnostic",
            "state_topic": "edge/a1b2c3/status",
            "value_template": "{{ value_json.tpu_advice or 'nothing to do' }}",
        },
        "tpu-temperature": {
            "platform": "sensor",
            "unique_id": "edge_a1b2c3_tpu-temperature",
            "default_entity_id": "sensor.gate_camera_tpu_temperature",
            "name": "Edge TPU temperature",
            "device_class": "temperature",
            "unit_of_measurement": "°C",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "enabled_by_default": False,
            "state_topic": "edge/a1b2c3/status",
            "value_template": "{{ value_json.tpu_temp_c }}",
        },
    }


def test_a_channel_called_tpu_takes_no_entity_of_the_edge_tpu() -> None:
    rules = tuple(make_rule(name) for name in ("problem", "advice", "temperature"))
    components = announced(ChannelCard("tpu", rules, FrameKind.WINDOW, "m"), tpu=True)["components"]
    assert len({component["unique_id"] for component in components.values()}) == len(components) == 2 + 3 + 1 + 3


@pytest.mark.parametrize(
    ("kind", "labels", "severity", "device_class"),
    [
        (FrameKind.IMAGE, ("person",), Severity.WARNING, "occupancy"),
        (FrameKind.IMAGE, ("cat", "person"), Severity.INFO, "occupancy"),
        (FrameKind.IMAGE, ("cat",), Severity.CRITICAL, None),
        (FrameKind.WINDOW, ("anomaly",), Severity.WARNING, "problem"),
        (FrameKind.WINDOW, ("walking",), Severity.INFO, None),
        (FrameKind.WINDOW, ("person",), Severity.INFO, None),
        (FrameKind.RECORD, ("fraud",), Severity.CRITICAL, "problem"),
    ],
)
def test_what_on_means_follows_from_what_is_seen(
    kind: FrameKind, labels: Sequence[str], severity: Severity, device_class: str | None
) -> None:
    card = ChannelCard("c", (make_rule("r", labels=labels, severity=severity),), kind, "m")
    assert announced(card)["components"]["c_r"].get("device_class") == device_class


@pytest.mark.parametrize(
    ("kind", "expires"), [(FrameKind.IMAGE, 120), (FrameKind.WINDOW, 120), (FrameKind.RECORD, None)]
)
def test_a_state_grows_old_but_for_records_that_nobody_asked_about(kind: FrameKind, expires: int | None) -> None:
    card = ChannelCard("c", (make_rule("r"),), kind, "m")
    assert announced(card)["components"]["c_r"].get("expire_after") == expires


def published() -> dict[str, Mapping[str, object]]:
    """Example payloads of the retained topics, by topic."""
    report = assess(
        [make_channel_health()],
        outbox=make_outbox_health(),
        before=None,
        broker_connected=True,
        clock=ClockState.UNSYNCED,
        tpus=[make_tpu()],
    )
    messages = [
        state(make_decision({"person": True, "car": None}), IDENTITY, STAMP),
        status(report, IDENTITY, STAMP, seq=1),
    ]
    return {message.topic: cast("Mapping[str, object]", message.payload) for message in messages}


def test_templates_read_keys_that_are_published() -> None:
    payloads = published()
    read = 0
    for component in announced(GATE, tpu=True)["components"].values():
        payload = payloads.get(component["state_topic"])
        if payload is not None:
            (key,) = re.findall(r"value_json(?:\.(\w+)|\['([^']+)'\])", component["value_template"])
            assert "".join(key) in payload
            read += 1
    assert read == 6


identifiers = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,31}\Z")
tricky = st.sampled_from(
    [
        "a",
        "a_b",
        "b",
        "b_c",
        "a_",
        "a__b",
        "a-alert",
        "alert",
        "b-alert",
        "degraded",
        "latency",
        "tpu",
        "problem",
        "tpu-problem",
    ]
)
names = tricky | identifiers
card_lists = st.lists(
    st.builds(
        lambda channel, rules, kind: ChannelCard(channel, tuple(make_rule(name) for name in rules), kind, "m"),
        names,
        st.lists(names, min_size=1, max_size=6, unique=True),
        st.sampled_from(FrameKind),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda card: card.channel,
)


@given(card_lists)
def test_every_entity_has_an_id_of_its_own_that_home_assistant_takes(cards: list[ChannelCard]) -> None:
    components = announced(*cards, tpu=True)["components"]
    assert len(components) == 5 + sum(1 + len(card.rules) for card in cards)
    unique_ids = [component["unique_id"] for component in components.values()]
    assert len(set(unique_ids)) == len(unique_ids)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", name) for name in (*components, *unique_ids))


@given(card_lists)
def test_every_component_has_what_its_platform_needs_and_nothing_it_does_not_know(cards: list[ChannelCard]) -> None:
    payload = announced(*cards, tpu=True)
    for component in payload["components"].values():
        assert set(component) <= ALLOWED[component["platform"]]
        assert {"platform", "unique_id", "name", "state_topic"} <= set(component)
        assert re.fullmatch(rf"{component['platform']}\.[a-z0-9_]+", component["default_entity_id"])
        assert component["state_topic"].startswith("edge/a1b2c3/")
    assert set(payload) == {"device", "origin", "availability", "availability_mode", "qos", "components"}


def test_an_announcement_does_not_depend_on_anything_but_its_arguments() -> None:
    assert encode(discovery(IDENTITY, [GATE]).payload) == encode(discovery(IDENTITY, [GATE]).payload)


def test_a_name_for_people_is_no_entity_id() -> None:
    identity = Identity("edge", "n_1", "Tür (süd)", "b", "1", "Pi", "ha")
    payload = cast("dict[str, Any]", discovery(identity, [GATE]).payload)
    assert payload["device"]["name"] == "Tür (süd)"
    assert payload["components"]["degraded"]["default_entity_id"] == "binary_sensor.t_r__s_d__degraded"
    assert payload["components"]["gate_person"]["unique_id"] == "edge_n__1_gate_person"
