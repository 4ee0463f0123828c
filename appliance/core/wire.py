"""What goes over MQTT: topics, flat JSON payloads, QoS and retain. Pure.

| topic                                  | retain | QoS | payload                              |
|----------------------------------------|--------|-----|--------------------------------------|
| `<root>/<node>/availability`           | yes    | 1   | `online` or `offline`; also the will |
| `<root>/<node>/status`                 | yes    | 1   | health                               |
| `<root>/<node>/<channel>/availability` | yes    | 1   | `online` or `offline`                |
| `<root>/<node>/<channel>/state`        | yes    | 1   | the newest decision                  |
| `<root>/<node>/<channel>/event`        | no     | 1   | a step of an event                   |
| `<root>/<node>/metrics`                | no     | 0   | numbers                              |
| `<root>/<node>/metrics/history`        | no     | 1   | numbers that had to wait             |

Payloads are flat, because that is what dashboards read without a program. A key is never overwritten by data:
context gets a prefix, and rules may not take a name of ``STATE_KEYS`` (the configuration refuses it).
"""

import json
from collections.abc import Mapping, Sequence
from math import isfinite

from appliance.core.accelerator import TpuHealth
from appliance.core.advice import advice, worst
from appliance.core.health import Level, Report
from appliance.core.identity import Identity, Stamp
from appliance.core.policy import outcome
from appliance.core.types import REASONS_MAX, Alert, Box, Decision, EventType, Message

__all__ = [
    "CONTEXT_PREFIX",
    "SCHEMA",
    "STATE_KEYS",
    "Identity",
    "Stamp",
    "availability",
    "encode",
    "event",
    "metrics",
    "reply",
    "state",
    "status",
]

SCHEMA = 1
"""Version of the payloads: rises when a key changes its meaning or goes away, not when one is added."""
CONTEXT_PREFIX = "context_"
_REASON_KEYS = frozenset(
    f"reason_{place}{leaf}" for place in range(1, REASONS_MAX + 1) for leaf in ("", "_effect", "_words")
)
STATE_KEYS = frozenset(
    {
        "schema",
        "node",
        "channel",
        "outcome",
        "outcome_state",
        "reason",
        "label",
        "score",
        "threshold",
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
        "request_id",
        *_REASON_KEYS,
    }
)
"""The fixed keys of a state or reply, which no rule may be named."""
_SIGNIFICANT_DIGITS = 6
_METRIC_DECIMALS = 6


def encode(payload: Mapping[str, object] | str | None) -> bytes:
    """Return the bytes of a payload: compact JSON in UTF-8, a plain word, or nothing.

    A surrogate without its pair, which JSON from outside may smuggle in, becomes ``?``.

    Raises:
        ValueError: a number is not finite. No payload of this module has one unless a score is a bug.
    """
    if payload is None:
        return b""
    text = payload if isinstance(payload, str) else _dumps(payload)
    return text.encode("utf-8", errors="replace")


def availability(identity: Identity, *, online: bool, channel: str | None = None) -> Message:
    """Say that the device, or one of its channels, is there or not. Of the device it is also the will."""
    topic = identity.availability_topic if channel is None else identity.channel_topic(channel, "availability")
    return Message(topic, "online" if online else "offline", retain=True)


def event(alert: Alert, decision: Decision, identity: Identity, stamp: Stamp) -> Message:
    """Tell a step of an event.

    ``seq`` is 0 until the outbox gives the alert its durable sequence; the publisher sets ``historical`` when the
    alert had to wait. ``stamp`` is the time of capture.
    """
    payload: dict[str, object] = {
        "schema": SCHEMA,
        "id": alert.event_id,
        "node": identity.node,
        "channel": decision.channel,
        "event_type": alert.event_type.value,
        "kind": alert.rule,
        "label": alert.label,
        "score": _short(alert.score),
        "threshold": _short(alert.threshold),
        "severity": alert.severity.value,
        "outcome_state": decision.outcome_state.value,
        **_judged_by(decision),
        **_when(identity, stamp),
        "seq": 0,
        "frame_age_ms": _age_ms(decision),
        "historical": False,
        **_box(alert.box),
        **({} if alert.event_type is EventType.END else _reasons(decision)),  # those of an end are of the next record
        **({"reason": decision.reason} if decision.reason else {}),
        **{f"{CONTEXT_PREFIX}{key}": _plain(value) for key, value in alert.context.items()},
    }
    return Message(identity.channel_topic(decision.channel, "event"), payload)


def state(decision: Decision, identity: Identity, stamp: Stamp) -> Message:
    """Show the newest decision: each rule by its name, ON or OFF, or null when the frame could not be judged.

    ``stamp`` is the time of capture.
    """
    payload = _state(decision, identity, stamp)
    return Message(identity.channel_topic(decision.channel, "state"), payload, retain=True)


def reply(decision: Decision, identity: Identity, stamp: Stamp, request_id: str) -> dict[str, object]:
    """Return the answer to a request: the keys of ``state`` and ``request_id``.

    ``outcome`` is the word to act on: a rule's name or ``clear``; when the request was not judged ``below_limit`` or
    ``above_limit`` where the channel has a fallback, else ``unknown``.
    """
    return {**_state(decision, identity, stamp), "request_id": request_id}


def status(report: Report, identity: Identity, stamp: Stamp, *, seq: int) -> Message:
    """Show health. ``seq`` counts the reports of this process; ``stamp`` is the time of the report.

    The keys that begin with ``tpu_`` are there only where an Edge TPU is to be used.
    """
    channels, outbox = report.channels, report.outbox
    payload: dict[str, object] = {
        "schema": SCHEMA,
        "node": identity.node,
        "name": identity.name,
        "overall": report.level.value,
        "faults": "; ".join(report.faults),
        "channels": len(channels),
        "channels_failed": sum(level is Level.FAILED for level in report.levels.values()),
        "backend": ", ".join(sorted({channel.backend for channel in channels if channel.backend})),
        "degraded": any(channel.degraded for channel in channels),
        "models": ", ".join(sorted({f"{channel.model} {channel.model_version}" for channel in channels})),
        "broker_connected": report.broker_connected,
        "spool_messages": outbox.rows,
        "spool_bytes": outbox.size_bytes,
        "spool_in_memory": outbox.in_memory,
        "spool_dropped": outbox.dropped,
        "spool_dead_letters": outbox.dead_letters,
        **_tpus(report.tpus),
        "software_version": identity.software_version,
        "hardware": identity.hardware,
        **_when(identity, stamp),
        "seq": seq,
    }
    return Message(identity.status_topic, payload, retain=True)


def metrics(flat: Mapping[str, float], identity: Identity, stamp: Stamp, *, historical: bool) -> Message:
    """Send numbers: at QoS 0 while they are fresh; on a topic of their own, and surely, when they had to wait.

    So numbers of the past never stand on a live dashboard as if they were new. A number that is not finite is
    left out: missing says "not known".
    """
    fixed = {"schema": SCHEMA, "node": identity.node, **_when(identity, stamp), "historical": historical}
    taken = fixed.keys() & flat.keys()
    assert not taken, f"metrics may not be named {sorted(taken)}"
    payload = fixed | {key: round(float(value), _METRIC_DECIMALS) for key, value in flat.items() if isfinite(value)}
    if historical:
        return Message(f"{identity.metrics_topic}/history", payload, qos=1)
    return Message(identity.metrics_topic, payload, qos=0)


def _tpus(tpus: Sequence[TpuHealth]) -> dict[str, object]:
    """Return how the Edge TPUs are: of several the worst, named in its words; the hottest; the sums of events."""
    if not tpus:
        return {}
    told = worst(tpus)
    todo = advice(told)
    name = f"{told.name}: " if len(tpus) > 1 else ""
    device = "" if told.device is None else str(told.device)
    return {
        "tpu_state": told.state.value,
        "tpu_problem": bool(todo),
        "tpu_advice": todo and f"{name}{todo}",
        "tpu_reason": told.reason and f"{name}{told.reason}",
        "tpu_temp_c": max((tpu.temperature_c for tpu in tpus if tpu.temperature_c is not None), default=None),
        "tpu_resets_1h": sum(tpu.resets_1h for tpu in tpus),
        "tpu_aborts_1h": sum(tpu.aborts_1h for tpu in tpus),
        "tpu_performance": told.performance,
        "tpu_device": device,
    }


def _state(decision: Decision, identity: Identity, stamp: Stamp) -> dict[str, object]:
    """Return the keys that ``state`` and ``reply`` share."""
    taken = STATE_KEYS & decision.rules.keys()
    assert not taken, f"rules may not be named {sorted(taken)}"
    top = decision.top
    return {
        "schema": SCHEMA,
        "node": identity.node,
        "channel": decision.channel,
        **{name: None if active is None else ("ON" if active else "OFF") for name, active in decision.rules.items()},
        "outcome": outcome(decision),
        "outcome_state": decision.outcome_state.value,
        "reason": decision.reason,
        "label": None if top is None else top.label,
        "score": None if top is None else _short(top.score),
        "threshold": _short(decision.threshold),
        **_judged_by(decision),
        **_when(identity, stamp),
        "seq": decision.frame_seq,
        "frame_age_ms": _age_ms(decision),
        **_reasons(decision),
    }


def _reasons(decision: Decision) -> dict[str, object]:
    """Return what moved the score, strongest first: ``reason_1``, its effect, and its words where it has some."""
    flat: dict[str, object] = {}
    for place, reason in enumerate(decision.reasons, start=1):
        flat[f"reason_{place}"] = reason.feature
        flat[f"reason_{place}_effect"] = _short(reason.effect)
        if reason.words:
            flat[f"reason_{place}_words"] = reason.words
    return flat


def _judged_by(decision: Decision) -> dict[str, object]:
    """Return who judged."""
    who = decision.provenance
    return {
        "backend": who.backend,
        "degraded": who.degraded,
        "model": who.model,
        "model_version": who.model_version,
    }


def _when(identity: Identity, stamp: Stamp) -> dict[str, object]:
    """Return when, as far as it is known."""
    return {"boot_id": identity.boot_id, "mono_ns": stamp.mono_ns, "ts": stamp.ts, "clock": stamp.clock.value}


def _age_ms(decision: Decision) -> float:
    """Return the time from capture to decision in milliseconds."""
    return round(decision.frame_age_s * 1000, 3)


def _box(box: Box | None) -> dict[str, object]:
    """Return a box as flat keys, or none."""
    if box is None:
        return {}
    sides = {"ymin": box.ymin, "xmin": box.xmin, "ymax": box.ymax, "xmax": box.xmax}
    return {f"box_{side}": _short(value) for side, value in sides.items()}


def _short(value: float) -> float:
    """Drop the digits that float32 never had: 0.8 and not 0.800000011920929."""
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")


def _plain(value: str | float) -> str | float | None:
    """Return a value from outside as one that JSON can hold: a number that is not finite is null."""
    return value if isinstance(value, str) or isfinite(value) else None


def _dumps(payload: Mapping[str, object]) -> str:
    """Return compact JSON."""
    return json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
