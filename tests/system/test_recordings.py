"""Payments, heartbeats and a pump, on the recordings that come with the examples: decisions over a real broker."""

import signal
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.adapters.sensors.replay import write_recording
from appliance.core.types import FrameKind, OutcomeState
from tests.broker import Mosquitto
from tests.system.device import BASE, NODE, ROOT, Device
from tests.system.running import Running, parsed
from tests.system.subscriber import Subscriber, mosquitto_sub
from tests.waiting import eventually

pytestmark = pytest.mark.broker

EXAMPLES = ROOT / "examples"


def as_fast_as_it_goes(example: str, folder: Path, broker: Mosquitto) -> dict[str, Any]:
    """An example as it is, but that its recording plays once and without waiting."""
    tree: dict[str, Any] = tomllib.loads((EXAMPLES / f"{example}.toml").read_text())
    for model in tree["models"].values():
        model["folder"] = str(EXAMPLES / model["folder"])
    for channel in tree["channels"].values():
        source = channel["sensor"].get("source", channel["sensor"])
        source |= {"file": str(EXAMPLES / source["file"]), "speed": "fast", "repeat": False}
    tree["node"] = {"id": NODE, "state_dir": str(folder / "state")}
    tree["mqtt"] = {"port": broker.port, "reconnect_min_s": 0.05}
    tree["log"] = {"format": "json"}
    return tree


def played(example: str, channel: str, folder: Path, broker: Mosquitto, subscriber: Subscriber) -> list[OutcomeState]:
    """Play an example's recording to its end; what each of its channel's decisions was."""
    with Running(parsed(as_fast_as_it_goes(example, folder, broker), folder)) as running:
        running.until_ended()
    eventually(lambda: any(each.payload == "offline" for each in subscriber.heard(f"{BASE}/availability")))
    return [decision.outcome_state for decision in running.decisions(channel)]


def kinds(subscriber: Subscriber, channel: str) -> set[str]:
    """What its alerts were about."""
    return {event["kind"] for event in subscriber.events(channel)}


@pytest.mark.slow
def test_fraud_is_told_with_its_reasons_and_a_card_without_history_gets_no_score(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber:
        played("fraud", "till", tmp_path, mosquitto, subscriber)
        events = subscriber.events("till")
    assert {"fraud", "suspicious", "below_limit"} <= kinds(subscriber, "till")
    [first, *_] = events
    assert (first["outcome_state"], first["kind"], first["label"]) == ("no_score", first["kind"], "amount")
    told = next(event for event in events if event["kind"] == "fraud" and event["event_type"] == "new")
    assert told["outcome_state"] == "result"
    assert {"reason_1", "reason_1_effect", "reason_1_words", "context_card"} <= told.keys()
    assert told["reason_1_effect"] > 0


def second_half(file: Path, folder: Path) -> tuple[Path, Path]:
    """Cut a recording of requests in two, as if the device were restarted in its middle."""
    with np.load(file) as whole:
        words = dict(zip(whole["context_keys"].tolist(), whole["context"].T.tolist(), strict=True))
        frames, times_s = whole["frames"], whole["times_s"]
    middle = len(frames) // 2
    for name, part in (("before", slice(None, middle)), ("after", slice(middle, None))):
        context = {key: column[part] for key, column in words.items()}
        write_recording(folder / f"{name}.npz", FrameKind.RECORD, frames[part], times_s[part], context=context)
    return folder / "before.npz", folder / "after.npz"


def unscored(folder: Path, broker: Mosquitto, *files: Path) -> int:
    """Play recordings one after the other on one device; how many requests of the last one had no score."""
    for file in files:
        tree = as_fast_as_it_goes("fraud", folder, broker)
        tree["channels"]["till"]["sensor"]["file"] = str(file)
        with Running(parsed(tree, folder)) as running:
            running.until_ended()
    return [each.outcome_state for each in running.decisions("till")].count(OutcomeState.NO_SCORE)


@pytest.mark.slow
def test_what_cards_did_before_a_restart_is_known_after_it(tmp_path: Path, mosquitto: Mosquitto) -> None:
    before, after = second_half(EXAMPLES / "recordings" / "fraud.npz", tmp_path)
    fresh = unscored(tmp_path / "fresh", mosquitto, after)
    restarted = unscored(tmp_path / "restarted", mosquitto, before, after)
    assert fresh > 100
    assert restarted < fresh / 10, "only cards that are new have no history"


def test_a_heartbeat_is_learned_first_and_then_told_when_it_is_not_the_wearers_own(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber:
        seen = played("heartbeat", "wearer", tmp_path, mosquitto, subscriber)
        told = kinds(subscriber, "wearer")
    assert "ventricular" in told
    assert seen.index(OutcomeState.NO_SCORE) < seen.index(OutcomeState.RESULT), "nobody is judged before being known"
    assert OutcomeState.NO_SIGNAL in seen, "an electrode that is off is no healthy heart"


def test_a_pump_with_a_failing_bearing_is_told_and_a_cable_that_is_off_is_no_healthy_pump(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber:
        seen = played("machine", "pump", tmp_path, mosquitto, subscriber)
        events = subscriber.events("pump")
    assert kinds(subscriber, "pump") == {"unusual"}
    assert {OutcomeState.NO_SIGNAL, OutcomeState.RESULT} <= set(seen)
    assert {"reason_1", "reason_1_effect"} <= events[0].keys()


def test_no_sample_and_no_amount_leaves_the_device(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """An alert is a few hundred bytes of words and scores; a window of ECG would be thousands of numbers."""
    with mosquitto_sub(tmp_path, mosquitto, "sub") as subscriber:
        device = Device(tmp_path, as_fast_as_it_goes("heartbeat", tmp_path, mosquitto))
        with device:
            subscriber.until(f"{BASE}/wearer/state", count=3)
            device.end(signal.SIGTERM)
        longest = max(len(each.payload) for each in subscriber.heard() if "/wearer/" in each.topic)
    assert longest < 2_000
