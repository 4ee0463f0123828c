"""What a subscriber sees: topics, QoS, retain, and every key of every payload."""

import json
from collections.abc import Sequence
from math import inf, nan

import pytest
from hypothesis import given

from appliance.core.accelerator import TpuHealth
from appliance.core.health import OutboxHealth, assess
from appliance.core.recovery import State
from appliance.core.types import (
    REASONS_MAX,
    Box,
    ClockState,
    EventType,
    Message,
    OutcomeState,
    Provenance,
    Reason,
)
from appliance.core.wire import (
    STATE_KEYS,
    Stamp,
    availability,
    encode,
    event,
    metrics,
    reply,
    state,
    status,
)
from tests.core.making import (
    IDENTITY,
    STAMP,
    keys_of,
    make_alert,
    make_channel_health,
    make_decision,
    make_outbox_health,
    make_prediction,
)
from tests.core.tpus import CARD, STICK, fleets, make_tpu

# Copied from the conventions of the ecosystem, so that a renamed key goes red here and not on a dashboard.
EVENT_KEYS_MINIMUM = [
    "schema",
    "id",
    "node",
    "channel",
    "event_type",
    "kind",
    "label",
    "score",
    "threshold",
    "severity",
    "outcome_state",
    "backend",
    "degraded",
    "model",
    "model_version",
    "boot_id",
    "seq",
    "mono_ns",
    "ts",
    "clock",
    "frame_age_ms",
    "historical",
]


def test_an_event_has_every_key_of_the_convention_and_their_values() -> None:
    message = event(make_alert(), make_decision({"intruder": True}), IDENTITY, STAMP)
    assert sorted(keys_of(message)) == sorted(EVENT_KEYS_MINIMUM)
    assert message.payload == {
        "schema": 1,
        "id": "b1-gate-1",
        "node": "a1b2c3",
        "channel": "gate",
        "event_type": "new",
        "kind": "intruder",
        "label": "person",
        "score": 0.8125,
        "threshold": 0.6,
        "severity": "critical",
        "outcome_state": "result",
        "backend": "cpu",
        "degraded": False,
        "model": "person",
        "model_version": "1.0.0",
        "boot_id": "5f0c",
        "seq": 0,
        "mono_ns": 1_000_000_000,
        "ts": "2026-03-01T12:00:00.250Z",
        "clock": "synced",
        "frame_age_ms": 25.0,
        "historical": False,
    }


def test_an_event_carries_its_box_and_context_under_keys_of_their_own() -> None:
    alert = make_alert(box=Box(0.1, 0.2, 0.3, 0.4), context={"card": "tok-1", "score": 3.5})
    payload = keys_of(event(alert, make_decision({"intruder": True}), IDENTITY, STAMP))
    assert set(payload) - set(EVENT_KEYS_MINIMUM) == {
        "box_ymin", "box_xmin", "box_ymax", "box_xmax", "context_card", "context_score",
    }  # fmt: skip
    assert [payload[f"box_{side}"] for side in ("ymin", "xmin", "ymax", "xmax")] == [0.1, 0.2, 0.3, 0.4]
    assert (payload["score"], payload["context_score"], payload["context_card"]) == (0.8125, 3.5, "tok-1")


def test_a_clock_known_to_be_wrong_gives_no_timestamp() -> None:
    stamp = Stamp(mono_ns=5, ts=None, clock=ClockState.UNSYNCED)
    payload = keys_of(event(make_alert(), make_decision({"intruder": True}), IDENTITY, stamp))
    assert (payload["ts"], payload["clock"], payload["mono_ns"]) == (None, "unsynced", 5)


def test_a_state_shows_each_rule_and_the_best_prediction() -> None:
    decision = make_decision(
        {"intruder": True, "dog": False}, predictions=(make_prediction(0.25, "cat"), make_prediction(0.75))
    )
    message = state(decision, IDENTITY, STAMP)
    assert message.payload == {
        "schema": 1,
        "node": "a1b2c3",
        "channel": "gate",
        "intruder": "ON",
        "dog": "OFF",
        "outcome": "intruder",
        "outcome_state": "result",
        "reason": "",
        "label": "person",
        "score": 0.75,
        "threshold": 0.6,
        "backend": "cpu",
        "degraded": False,
        "model": "person",
        "model_version": "1.0.0",
        "boot_id": "5f0c",
        "mono_ns": 1_000_000_000,
        "ts": "2026-03-01T12:00:00.250Z",
        "clock": "synced",
        "seq": 7,
        "frame_age_ms": 25.0,
    }


@pytest.mark.parametrize("outcome_state", [OutcomeState.NO_RESULT, OutcomeState.NO_SIGNAL, OutcomeState.NO_SCORE])
def test_a_state_that_was_not_judged_is_null_and_never_off(outcome_state: OutcomeState) -> None:
    decision = make_decision(
        {"intruder": None},
        outcome_state=outcome_state,
        reason="lens covered",
        provenance=Provenance("person", "1.0.0", backend="", degraded=True),
    )
    payload = keys_of(state(decision, IDENTITY, STAMP))
    assert (payload["intruder"], payload["outcome"], payload["label"], payload["score"]) == (
        None, "unknown", None, None,
    )  # fmt: skip
    assert (payload["outcome_state"], payload["reason"]) == (outcome_state.value, "lens covered")
    assert (payload["backend"], payload["degraded"]) == ("", True)


def test_the_reserved_names_are_exactly_the_fixed_keys() -> None:
    reasons = tuple(Reason(f"f{number}", 0.5, "far above") for number in range(REASONS_MAX))
    answer = reply(make_decision({"fraud": True}, reasons=reasons), IDENTITY, STAMP, "r1")
    assert set(answer) - {"fraud"} == STATE_KEYS


def test_an_end_is_told_without_the_reasons_of_the_frame_that_ended_it() -> None:
    decision = make_decision({"fraud": False}, reasons=(Reason("speed", 1.25),))
    told = {kind: keys_of(event(make_alert(event_type=kind), decision, IDENTITY, STAMP)) for kind in EventType}
    assert [kind for kind, payload in told.items() if "reason_1" in payload] == [EventType.NEW, EventType.UPDATE]


def test_reasons_stand_flat_and_in_order_and_words_only_where_there_are_some() -> None:
    reasons = (Reason("speed", 1.25, "too fast for any car"), Reason("hour", -0.5))
    payload = keys_of(state(make_decision({"fraud": True}, reasons=reasons), IDENTITY, STAMP))
    assert {key: value for key, value in payload.items() if key.startswith("reason_")} == {
        "reason_1": "speed",
        "reason_1_effect": 1.25,
        "reason_1_words": "too fast for any car",
        "reason_2": "hour",
        "reason_2_effect": -0.5,
    }


@pytest.mark.parametrize("name", sorted(STATE_KEYS))
def test_a_rule_named_like_a_fixed_key_is_refused_and_never_hides_it(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        state(make_decision({name: True}), IDENTITY, STAMP)


def test_a_reply_is_the_state_with_the_request_id() -> None:
    decision = make_decision({"fraud": True}, predictions=(make_prediction(0.9, "fraud"),))
    answer = reply(decision, IDENTITY, STAMP, "r-17")
    assert answer == {**keys_of(state(decision, IDENTITY, STAMP)), "request_id": "r-17"}
    assert (answer["outcome"], answer["fraud"]) == ("fraud", "ON")


OUTBOX = make_outbox_health(rows=3, size_bytes=900, dropped=2, dead_letters=1, in_memory=1)


def report_message(outbox: OutboxHealth = OUTBOX, tpus: Sequence[TpuHealth] = ()) -> Message:
    channels = [
        make_channel_health("gate"),
        make_channel_health("yard", sensor_ok=False, fault="unplugged", degraded=True, model="animal"),
    ]
    report = assess(channels, outbox=outbox, before=None, broker_connected=True, clock=ClockState.FLOOR, tpus=tpus)
    return status(report, IDENTITY, STAMP, seq=12)


def test_a_status_says_how_the_node_is_and_why() -> None:
    assert report_message().payload == {
        "schema": 1,
        "node": "a1b2c3",
        "name": "Gate camera",
        "overall": "degraded",
        "faults": "yard: sensor lost (unplugged); outbox is in memory: the disk takes nothing",
        "channels": 2,
        "channels_failed": 1,
        "backend": "cpu",
        "degraded": True,
        "models": "animal 1.0.0, person 1.0.0",
        "broker_connected": True,
        "spool_messages": 3,
        "spool_bytes": 900,
        "spool_in_memory": 1,
        "spool_dropped": 2,
        "spool_dead_letters": 1,
        "software_version": "1.4.0",
        "hardware": "Raspberry Pi 4B",
        "boot_id": "5f0c",
        "mono_ns": 1_000_000_000,
        "ts": "2026-03-01T12:00:00.250Z",
        "clock": "synced",
        "seq": 12,
    }


TPU_KEYS = {
    "tpu_state", "tpu_problem", "tpu_advice", "tpu_reason", "tpu_temp_c", "tpu_resets_1h", "tpu_aborts_1h",
    "tpu_performance", "tpu_device",
}  # fmt: skip


def tpu_part(*tpus: TpuHealth) -> dict[str, object]:
    """What a status says of Edge TPUs."""
    return {key: value for key, value in keys_of(report_message(tpus=tpus)).items() if key.startswith("tpu_")}


def test_a_status_says_how_the_edge_tpu_is_and_what_to_do() -> None:
    tpu = make_tpu(state=State.RESET, reason="no answer within 0.5 s", resets_1h=1, aborts_1h=1, performance="high")
    assert tpu_part(tpu) == {
        "tpu_state": "reset",
        "tpu_problem": True,
        "tpu_advice": "nothing to do yet: it is being brought back, the CPU decides meanwhile",
        "tpu_reason": "no answer within 0.5 s",
        "tpu_temp_c": None,
        "tpu_resets_1h": 1,
        "tpu_aborts_1h": 1,
        "tpu_performance": "high",
        "tpu_device": "usb 2-1.4",
    }


def test_an_edge_tpu_that_is_well_is_no_problem_and_its_words_are_empty() -> None:
    told = tpu_part(make_tpu(device=CARD, temperature_c=47.5))
    assert (told["tpu_problem"], told["tpu_advice"], told["tpu_reason"]) == (False, "", "")
    assert (told["tpu_state"], told["tpu_device"], told["tpu_temp_c"]) == ("serving", "pci apex_0", 47.5)


def test_where_no_edge_tpu_is_to_be_used_a_status_says_nothing_of_one() -> None:
    assert tpu_part() == {}
    assert set(keys_of(report_message(tpus=[make_tpu()]))) - set(keys_of(report_message())) == TPU_KEYS


def test_of_several_edge_tpus_the_worst_is_named_and_the_numbers_are_of_all() -> None:
    told = tpu_part(
        make_tpu("left", device=STICK, resets_1h=1, aborts_1h=2),
        make_tpu("right", state=State.REPLACE, device=None, reason="gone", performance="low"),
        make_tpu("card", device=CARD, temperature_c=52.0),
        make_tpu("warm-card", device=CARD, temperature_c=61.5, resets_1h=1),
    )
    assert told == {
        "tpu_state": "replace",
        "tpu_problem": True,
        "tpu_advice": "right: no Edge TPU is seen: plug it in, try another port and cable, else replace it",
        "tpu_reason": "right: gone",
        "tpu_temp_c": 61.5,
        "tpu_resets_1h": 2,
        "tpu_aborts_1h": 2,
        "tpu_performance": "low",
        "tpu_device": "",
    }


def test_several_edge_tpus_that_are_all_well_have_no_name_to_tell() -> None:
    told = tpu_part(make_tpu("left"), make_tpu("right", state=State.OPENING, device=None))
    assert (told["tpu_state"], told["tpu_problem"], told["tpu_advice"], told["tpu_reason"]) == (
        "opening",
        False,
        "",
        "",
    )


@given(fleets)
def test_whatever_the_edge_tpus_are_a_problem_comes_with_advice_that_home_assistant_can_show(
    fleet: list[TpuHealth],
) -> None:
    message = report_message(tpus=fleet)
    told = json.loads(encode(message.payload))
    assert told["tpu_problem"] is (told["tpu_advice"] != "")
    assert len(told["tpu_advice"]) <= 255, "the longest state of an entity"
    assert {type(told[key]) for key in TPU_KEYS} <= {str, bool, int, float, type(None)}, "flat"


def test_metrics_leave_out_what_is_not_known() -> None:
    flat = {"decision_p95_ms": 12.25, "spool_bytes": 123_456_789.0, "never": nan, "endless": inf}
    payload = keys_of(metrics(flat, IDENTITY, STAMP, historical=False))
    assert (payload["decision_p95_ms"], payload["spool_bytes"]) == (12.25, 123_456_789)
    assert not {"never", "endless"} & set(payload)
    assert (payload["historical"], payload["node"], payload["mono_ns"]) == (False, "a1b2c3", 1_000_000_000)


def test_metrics_cannot_hide_a_fixed_key() -> None:
    with pytest.raises(AssertionError, match="mono_ns"):
        metrics({"mono_ns": 1.0}, IDENTITY, STAMP, historical=False)


DECISION = make_decision({"intruder": True})


@pytest.mark.parametrize(
    ("message", "topic", "qos", "retain"),
    [
        (availability(IDENTITY, online=True), "edge/a1b2c3/availability", 1, True),
        (availability(IDENTITY, online=True, channel="gate"), "edge/a1b2c3/gate/availability", 1, True),
        (report_message(), "edge/a1b2c3/status", 1, True),
        (state(DECISION, IDENTITY, STAMP), "edge/a1b2c3/gate/state", 1, True),
        (event(make_alert(), DECISION, IDENTITY, STAMP), "edge/a1b2c3/gate/event", 1, False),
        (metrics({}, IDENTITY, STAMP, historical=False), "edge/a1b2c3/metrics", 0, False),
        (metrics({}, IDENTITY, STAMP, historical=True), "edge/a1b2c3/metrics/history", 1, False),
    ],
    ids=lambda value: value.topic if isinstance(value, Message) else None,
)
def test_topics_qos_and_retain_are_those_of_the_convention(
    message: Message, topic: str, qos: int, *, retain: bool
) -> None:
    assert (message.topic, message.qos, message.retain) == (topic, qos, retain)


@pytest.mark.parametrize("channel", [None, "gate"])
def test_availability_is_one_of_two_plain_words(channel: str | None) -> None:
    words = [availability(IDENTITY, online=online, channel=channel).payload for online in (True, False)]
    assert words == ["online", "offline"]


def test_topics_below_a_channel_and_of_home_assistant() -> None:
    assert IDENTITY.channel_topic("gate") == "edge/a1b2c3/gate"
    assert IDENTITY.channel_topic("gate", "request") == "edge/a1b2c3/gate/request"
    assert IDENTITY.birth_topic == "homeassistant/status"
