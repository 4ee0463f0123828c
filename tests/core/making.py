"""Values of the loop, made with one word: tests say only what they are about."""

from collections.abc import Mapping, Sequence

import numpy as np

from appliance.core.health import ChannelHealth, OutboxHealth
from appliance.core.policy import Policy, PolicyState, Rule, decide, start, undecided
from appliance.core.types import (
    Alert,
    Box,
    ClockState,
    Decision,
    EventType,
    Frame,
    FrameKind,
    Message,
    OutcomeState,
    Prediction,
    Provenance,
    Severity,
)
from appliance.core.wire import Identity, Stamp

IDENTITY = Identity(
    root="edge",
    node="a1b2c3",
    name="Gate camera",
    boot_id="5f0c",
    software_version="1.4.0",
    hardware="Raspberry Pi 4B",
    discovery_prefix="homeassistant",
)
STAMP = Stamp(mono_ns=1_000_000_000, ts="2026-03-01T12:00:00.250Z", clock=ClockState.SYNCED)
BY_CPU = Provenance(model="person", model_version="1.0.0", backend="cpu", degraded=False)


def make_rule(
    name: str = "person",
    *,
    labels: Sequence[str] = ("person",),
    threshold: float = 0.6,
    release: float | None = None,
    hold: tuple[int, int] = (1, 1),
    cooldown_s: float = 0.0,
    update_interval_s: float = 1000.0,
    polygon: tuple[tuple[float, float], ...] | None = None,
    height_min: float = 0.0,
    severity: Severity = Severity.WARNING,
) -> Rule:
    return Rule(
        name=name,
        labels=frozenset(labels),
        threshold=threshold,
        release=threshold if release is None else release,
        hold_n=hold[0],
        hold_m=hold[1],
        cooldown_s=cooldown_s,
        update_interval_s=update_interval_s,
        polygon=polygon,
        height_min=height_min,
        severity=severity,
    )


def make_frame(
    seq: int = 0,
    *,
    kind: FrameKind = FrameKind.IMAGE,
    captured_s: float = 0.0,
    context: dict[str, str | float] | None = None,
) -> Frame:
    return Frame(kind=kind, data=np.zeros(0), captured_s=captured_s, seq=seq, context=context or {})


def make_prediction(score: float, label: str = "person", box: Box | None = None) -> Prediction:
    return Prediction(label, score, box)


def make_decision(rules: dict[str, bool | None], **changes: object) -> Decision:
    values: dict[str, object] = {
        "channel": "gate",
        "outcome_state": OutcomeState.RESULT,
        "rules": rules,
        "predictions": (),
        "alerts": (),
        "provenance": BY_CPU,
        "frame_seq": 7,
        "captured_s": 1.0,
        "decided_s": 1.025,
        "threshold": 0.6,
    }
    return Decision(**(values | changes))  # type: ignore[arg-type]  # a test's own spelling of a long constructor


def make_alert(**changes: object) -> Alert:
    values: dict[str, object] = {
        "event_id": "b1-gate-1",
        "event_type": EventType.NEW,
        "rule": "intruder",
        "label": "person",
        "score": 0.8125,
        "threshold": 0.6,
        "severity": Severity.CRITICAL,
        "frame_seq": 7,
        "captured_s": 1.0,
    }
    return Alert(**(values | changes))  # type: ignore[arg-type]  # a test's own spelling of a long constructor


def make_channel_health(channel: str = "gate", **changes: object) -> ChannelHealth:
    """One that is well, but for ``changes``."""
    values: dict[str, object] = {
        "channel": channel,
        "sensor_ok": True,
        "backend": "cpu",
        "degraded": False,
        "model": "person",
        "model_version": "1.0.0",
        "model_sha256": "00",
        "outcome_state": OutcomeState.RESULT,
        "fault": "",
        "last_decision_s": 100.0,
        "decisions": 5,
        "frames_per_s": 10.0,
    }
    return ChannelHealth(**(values | changes))  # type: ignore[arg-type]  # a test's own spelling of a long constructor


def make_outbox_health(**changes: int) -> OutboxHealth:
    """An empty one with room for 100 rows and 10,000 bytes, but for ``changes``."""
    values: dict[str, int] = {
        "rows": 0,
        "rows_max": 100,
        "size_bytes": 0,
        "size_bytes_max": 10_000,
        "in_memory": 0,
        "dropped": 0,
        "dead_letters": 0,
        "unstored": 0,
        "volatile": False,
    }
    values |= changes
    return OutboxHealth(**{**values, "volatile": bool(values["volatile"])})  # type: ignore[arg-type] # bool is an int


def keys_of(message: Message) -> Mapping[str, object]:
    assert isinstance(message.payload, Mapping)
    return message.payload


class Playing:
    """One policy, played frame by frame, one second apart unless told otherwise."""

    def __init__(self, *rules: Rule, kind: FrameKind = FrameKind.IMAGE, prefix: str = "b1") -> None:
        self.policy = Policy("gate", rules)
        self.state: PolicyState = start(self.policy, prefix)
        self.now_s = 100.0
        self.seq = 0
        self._kind = kind

    def see(
        self, *predictions: Prediction | float, after_s: float = 1.0, context: dict[str, str | float] | None = None
    ) -> Decision:
        """Judge a frame on which the model says ``predictions``; a bare number is a person's score."""
        self.now_s += after_s
        self.seq += 1
        said = [item if isinstance(item, Prediction) else make_prediction(item) for item in predictions]
        frame = make_frame(self.seq, kind=self._kind, captured_s=self.now_s - 0.025, context=context)
        self.state, decision = decide(self.state, said, frame, self.policy, now_s=self.now_s, provenance=BY_CPU)
        return decision

    def blind(
        self,
        outcome_state: OutcomeState = OutcomeState.NO_RESULT,
        *,
        after_s: float = 1.0,
        frame: Frame | None = None,
        reason: str = "lens covered",
    ) -> Decision:
        """Come to a frame that cannot be judged."""
        self.now_s += after_s
        self.state, decision = undecided(
            self.state,
            self.policy,
            outcome_state=outcome_state,
            reason=reason,
            now_s=self.now_s,
            provenance=Provenance("person", "1.0.0", backend="", degraded=True),
            frame=frame,
        )
        return decision


def told(*decisions: Decision) -> list[str]:
    """What was told, as a list of event types."""
    return [alert.event_type.value for decision in decisions for alert in decision.alerts]
