"""The loop's reaction to everything its edges may do: one leaf of the error tree, one reaction."""

import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.types import ClockState, Decision, EventType, Frame, FrameKind, OutcomeState
from appliance.errors import EndOfRecording
from appliance.sim.backend import Act
from appliance.sim.clock import ManualClock
from appliance.sim.sensor import End, Lose, Rest, Show, Stall, Step
from tests.channels import (
    AGE_MAX_S,
    GREEN,
    PERIOD_S,
    RED,
    REOPEN_MIN_S,
    STATE_INTERVAL_S,
    TIMEOUT_S,
    ChannelBench,
    bench,
    show,
)
from tests.core.making import make_rule

JUST_OVER_S = 1e-6
STAGES = ("capture", "pre", "invoke", "post", "decide", "publish")


OLD = show(GREEN, after_s=AGE_MAX_S + 0.5, age_s=AGE_MAX_S + 0.5)
"""A picture that was held up on its way; the world goes on in the meantime, as frames do not overtake one another."""


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What was told of faults: failed or recovered, and what."""
    told = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    return [(each["event"], each["fault"]) for each in told if "fault" in each]


def not_judged(decision: Decision, state: OutcomeState = OutcomeState.NO_RESULT) -> bool:
    """Whether a decision says that nothing is known: no rule is off, nothing was seen, nothing is told."""
    silent = (decision.predictions, decision.alerts) == ((), ())
    unknown = set(decision.rules.values()) == {None}
    return decision.outcome_state is state and silent and unknown and bool(decision.reason)


def test_a_judged_frame_says_what_was_seen_by_whom_and_when(tmp_path: Path) -> None:
    with bench(tmp_path, show(RED, age_s=0.25)) as device:
        decision = device.step()
        assert decision.outcome_state is OutcomeState.RESULT
        assert decision.rules == {"red": True}
        assert decision.top is not None
        assert decision.top.label == "red"
        who = decision.provenance
        assert (who.model, who.model_version, who.backend, who.degraded) == ("tiny-uint8", "1.0.0", "tpu", False)
        assert decision.frame_age_s == pytest.approx(0.25)
        assert device.meter.observations("edge_frame_age_seconds", channel="gate") == [pytest.approx(0.25)]


def test_things_happen_in_the_order_that_loses_nothing(tmp_path: Path) -> None:
    """Whatever blocks or dies after the first of them, the alert is on disk."""
    with bench(tmp_path, show(GREEN), show(RED)) as device:
        device.step()
        device.happened.clear()
        device.channel.watch = lambda _frame, _decision: device.happened.append("watched")
        device.step()
        assert device.happened == ["capture", "stored", "answered", "state", "watched"]


def test_every_stage_of_a_frame_is_measured_once(tmp_path: Path) -> None:
    with bench(tmp_path, show(), show()) as device:
        device.steps(2)
        for stage in STAGES:
            measured = device.meter.observations("edge_stage_duration_seconds", stage=stage)
            assert len(measured) == 2, stage
        waited = device.meter.observations("edge_stage_duration_seconds", stage="capture")
        assert waited == [pytest.approx(PERIOD_S)] * 2


@pytest.mark.parametrize("fault", [Stall(), Lose(), show(after_s=TIMEOUT_S + 1.0)], ids=["stall", "lose", "late"])
def test_a_lost_sensor_is_no_result_and_offline_until_it_was_opened_again(tmp_path: Path, fault: Step) -> None:
    with bench(tmp_path, show(), fault, show()) as device:
        device.step()
        lost = device.step()
        assert not_judged(lost)
        assert (lost.provenance.backend, lost.provenance.degraded) == ("", True)
        assert "script says" in lost.reason
        health = device.channel.health()
        assert (health.sensor_ok, health.fault) == (False, lost.reason)
        *waited, _ = device.steps_until_judged()
        assert [decision.reason for decision in waited] == [lost.reason], "one turn of waiting, then opened again"
        assert device.availability() == ["online", "offline", "online"]
        health = device.channel.health()
        assert (health.sensor_ok, health.fault) == (True, "")
        assert device.terminal.opens == 2
        assert device.meter.value("edge_sensor_reopens_total", channel="gate") == 1


def test_an_idle_sensor_is_well_and_nothing_is_decided(tmp_path: Path) -> None:
    with bench(tmp_path, Rest(), show()) as device:
        before_s = device.clock.monotonic_s()
        assert device.channel.step() is None
        assert device.channel.progress.last_progress_s == before_s + TIMEOUT_S
        assert device.availability() == ["online"]
        assert device.states() == []
        assert device.channel.progress.decisions == 0
        assert device.meter.value("edge_decisions_total") == 0
        assert device.meter.value("edge_blind_seconds_total") == 0
        assert device.step().outcome_state is OutcomeState.RESULT
        assert device.terminal.opens == 1


def test_an_idle_sensor_that_was_lost_is_no_fault_any_more(tmp_path: Path) -> None:
    with bench(tmp_path, Stall(), Rest()) as device:
        device.steps(2)
        assert device.channel.step() is None
        health = device.channel.health()
        assert (health.sensor_ok, health.fault) == (True, "")
        assert device.availability() == ["offline", "online"]


def test_the_end_of_a_recording_ends_the_channel_and_is_no_fault(tmp_path: Path) -> None:
    with bench(tmp_path, show(), End()) as device:
        device.channel.run(Event())
        health = device.channel.health()
        assert (health.finished, health.sensor_ok, health.decisions) == (True, True, 1)
        assert not device.terminal.is_open


def test_a_stop_ends_the_channel_and_lets_the_sensor_go(tmp_path: Path) -> None:
    with bench(tmp_path, *[show()] * 5) as device:
        stop = Event()

        def watch(_frame: Frame | None, _decision: Decision) -> None:
            if device.channel.progress.decisions == 3:
                stop.set()

        device.channel.watch = watch
        device.channel.run(stop)
        assert device.channel.progress.decisions == 3
        assert not device.channel.health().finished
        assert not device.terminal.is_open


def test_a_bug_is_not_caught_but_the_sensor_is_let_go(tmp_path: Path) -> None:
    with bench(tmp_path, show()) as device:

        def watch(_frame: Frame | None, _decision: Decision) -> None:
            raise ZeroDivisionError

        device.channel.watch = watch
        with pytest.raises(ZeroDivisionError):
            device.channel.run(Event())
        assert not device.terminal.is_open
        assert not device.channel.health().finished


def test_a_frame_of_the_wrong_kind_is_no_result_and_the_sensor_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with bench(tmp_path, show(kind=FrameKind.RECORD), show()) as device:
        assert not_judged(device.step())
        assert device.channel.health().sensor_ok
        assert device.availability() == ["online"]
        [(frame, answer)] = device.terminal.answers
        assert (frame.seq, answer.outcome_state) == (0, OutcomeState.NO_RESULT)
        assert device.step().outcome_state is OutcomeState.RESULT
        assert device.terminal.opens == 1
    assert logged(caplog) == [("fault", "gate:judge")]


def test_without_any_backend_there_is_no_result_but_an_answer(tmp_path: Path) -> None:
    with bench(tmp_path, show(), show()) as device:
        device.tpu.then(Act.DIE)
        device.cpu.then(Act.DIE)
        decision = device.step()
        assert not_judged(decision)
        assert (decision.provenance.backend, decision.provenance.degraded) == ("", True)
        assert len(device.terminal.answers) == 1
        health = device.channel.health()
        assert (health.sensor_ok, health.backend, health.fault) == (True, "", decision.reason)
        device.inference.probe()
        assert device.step().outcome_state is OutcomeState.RESULT


def test_the_twin_answers_the_very_frame_that_an_accelerator_died_on(tmp_path: Path) -> None:
    with bench(tmp_path, show()) as device:
        device.tpu.then(Act.DIE)
        decision = device.step()
        assert decision.outcome_state is OutcomeState.RESULT
        assert (decision.provenance.backend, decision.provenance.degraded) == ("cpu", True)
        [alert] = device.alerts()
        assert (alert["backend"], alert["degraded"]) == ("cpu", True)


def test_health_says_why_the_first_backend_does_not_serve_for_as_long_as_it_does_not(tmp_path: Path) -> None:
    with bench(tmp_path, *[show()] * 3) as device:
        device.step()
        assert device.channel.health().backend_fault == ""
        device.tpu.then(Act.DIE)
        device.step()
        health = device.channel.health()
        assert (health.degraded, health.fault) == (True, ""), "the twin answers: the channel itself lacks nothing"
        assert health.backend_fault.startswith("tpu: ")
        device.clock.advance(31.0)
        device.inference.probe()
        assert device.channel.health().backend_fault == ""


def test_an_alert_that_cannot_be_stored_is_told_and_the_loop_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with bench(tmp_path, show(context={"note": "x" * 200_000}), show(GREEN), show()) as device:
        assert device.step().alerts
        assert device.alerts() == []
        assert [answer.outcome_state for _, answer in device.terminal.answers] == [OutcomeState.RESULT]
        assert device.states()[-1]["red"] == "ON"
        device.steps(2)
        assert [alert["event_type"] for alert in device.alerts()] == ["new"]
        assert device.meter.value("edge_spool_dropped_total", reason="too_large") == 2  # NEW and END
    assert logged(caplog) == [("fault", "gate:outbox"), ("recovered", "gate:outbox")]


def test_what_is_no_signal_is_not_judged_and_not_nothing(tmp_path: Path) -> None:
    with bench(tmp_path, show(), show(GREEN, signal_fault="flat line")) as device:
        device.step()
        asked = device.tpu.invokes
        decision = device.step()
        assert not_judged(decision, OutcomeState.NO_SIGNAL)
        assert decision.reason == "flat line"
        assert device.tpu.invokes == asked
        assert device.availability() == ["online"]
        assert (device.states()[-1]["outcome"], device.states()[-1]["red"]) == ("unknown", None)


def test_a_frame_that_is_too_old_is_not_even_sent_to_the_backend(tmp_path: Path) -> None:
    with bench(tmp_path, show(age_s=AGE_MAX_S), show(age_s=AGE_MAX_S + JUST_OVER_S)) as device:
        assert device.step().outcome_state is OutcomeState.RESULT
        asked = device.tpu.invokes
        assert not_judged(device.step())
        assert device.tpu.invokes == asked


def test_a_frame_that_grew_too_old_while_the_backend_thought_is_not_judged(tmp_path: Path) -> None:
    """Fault 12 of the field: an inference of 5 s read as an empty picture."""
    with bench(tmp_path, show(), *[show(GREEN)] * 3, show()) as device:
        device.step()
        device.tpu.then(*[Act.SLOW] * 3)
        late = device.steps(3)
        assert all(not_judged(decision) for decision in late)
        assert {decision.provenance.backend for decision in late} == {"tpu"}
        assert {decision.reason for decision in late} == {"frame is older than 1 s"}
        assert (device.states()[-1]["outcome"], device.states()[-1]["red"]) == ("unknown", None)
        recovered = device.step()
        assert (recovered.outcome_state, recovered.rules) == (OutcomeState.RESULT, {"red": True})
        assert [alert["event_type"] for alert in device.alerts()] == ["new"], "three blind frames ended nothing"


@pytest.mark.parametrize(
    "blind",
    [Stall(), Lose(), show(GREEN, signal_fault="gap"), OLD, show(kind=FrameKind.WINDOW)],
    ids=["stall", "lose", "no signal", "too old", "wrong kind"],
)
def test_an_event_does_not_end_while_nobody_sees(tmp_path: Path, blind: Step) -> None:
    with bench(tmp_path, show(), *[blind] * 4, show(), show(GREEN)) as device:
        first = device.step()
        *blinded, back = device.steps_until_judged()
        assert len(blinded) >= 4
        assert all(not_judged(decision, decision.outcome_state) for decision in blinded)
        gone = device.step()
        assert [alert.event_type for alert in first.alerts] == [EventType.NEW]
        assert (back.rules, back.alerts) == ({"red": True}, ())
        assert [alert.event_type for alert in gone.alerts] == [EventType.END]
        assert gone.alerts[0].event_id == first.alerts[0].event_id


def test_the_state_is_told_on_change_and_at_its_interval_and_not_for_each_frame(tmp_path: Path) -> None:
    frames = round(2 * STATE_INTERVAL_S / PERIOD_S)
    with bench(tmp_path, *[show(RED)] * frames, show(GREEN), show(GREEN)) as device:
        device.steps(frames)
        assert len(device.states()) == 2
        first, second = (message.payload for message in device.shown["state"])
        assert isinstance(first, dict)
        assert isinstance(second, dict)
        assert second["mono_ns"] - first["mono_ns"] == STATE_INTERVAL_S * 1e9
        device.steps(2)
        assert [state["red"] for state in device.states()] == ["ON", "ON", "OFF"]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([show(GREEN), show(GREEN, signal_fault="gap"), show(GREEN)], ["", "gap", ""]),
        ([show(signal_fault="gap"), show(signal_fault="gap"), show(signal_fault="flat line")], ["gap", "flat line"]),
        ([show(age_s=2.0), show(age_s=2.1), show(age_s=2.5)], ["frame is older than 1 s"]),
    ],
)
def test_a_change_of_why_is_told_and_the_same_why_is_not_repeated(
    tmp_path: Path, steps: list[Step], told: list[str]
) -> None:
    with bench(tmp_path, *steps) as device:
        device.steps(len(steps))
        assert [state["reason"] for state in device.states()] == told


def test_a_change_of_who_judges_is_told(tmp_path: Path) -> None:
    with bench(tmp_path, *[show(GREEN)] * 3) as device:
        device.step()
        device.tpu.then(Act.DIE)
        device.steps(2)
        assert [(state["backend"], state["degraded"]) for state in device.states()] == [("tpu", False), ("cpu", True)]


def test_blind_time_is_counted_and_seeing_and_idle_time_is_not(tmp_path: Path) -> None:
    script: list[Step] = [show(), Rest(), show(signal_fault="gap"), Stall(), show(age_s=2.0), show()]
    with bench(tmp_path, *script) as device:
        for _ in range(len(script) + 1):  # one turn is spent waiting to reopen
            device.channel.step()
        blind_s = PERIOD_S + TIMEOUT_S + (REOPEN_MIN_S + PERIOD_S)  # the gap, the stall, the wait to reopen
        assert device.meter.value("edge_blind_seconds_total", channel="gate") == pytest.approx(blind_s)


def test_decisions_are_counted_by_outcome_and_frames_when_they_came(tmp_path: Path) -> None:
    script: list[Step] = [show(), show(GREEN), show(signal_fault="gap"), Rest(), OLD, Stall()]
    with bench(tmp_path, *script) as device:
        for _ in script:
            device.channel.step()
        outcomes = {
            state.value: device.meter.value("edge_decisions_total", channel="gate", outcome_state=state.value)
            for state in OutcomeState
        }
        assert outcomes == {"result": 2, "no_signal": 1, "no_score": 0, "no_result": 2}
        assert device.meter.value("edge_capture_frames_total", channel="gate") == 4
        assert device.channel.progress.decisions == 5
        assert device.channel.progress.alerts == 2


def test_the_rate_is_of_judged_frames_and_falls_to_nothing_when_none_are(tmp_path: Path) -> None:
    with bench(tmp_path, *[show()] * 200, *[Stall()] * 9) as device:
        device.steps(200)
        assert device.channel.health().frames_per_s == pytest.approx(1 / PERIOD_S)
        device.steps(9)
        assert device.channel.health().frames_per_s == 0.0


def test_a_channel_that_has_not_begun_is_not_stalled_since_boot(tmp_path: Path) -> None:
    with bench(tmp_path) as device:
        assert device.channel.health().last_decision_s == device.clock.monotonic_s()
        assert device.channel.health().outcome_state is None


def test_while_the_wall_clock_is_wrong_alerts_have_no_time_of_day_but_an_order(tmp_path: Path) -> None:
    with bench(tmp_path, show(), show(GREEN)) as device:
        device.clock.set_state(ClockState.UNSYNCED)
        device.steps(2)
        new, end = device.alerts()
        assert (new["ts"], new["clock"], new["boot_id"]) == (None, "unsynced", end["boot_id"])
        assert [alert["seq"] for alert in (new, end)] == [1, 2]
        assert isinstance(new["mono_ns"], int)
        assert isinstance(end["mono_ns"], int)
        assert new["mono_ns"] < end["mono_ns"]


def test_a_skipped_number_of_the_sensor_is_seen_in_the_decision(tmp_path: Path) -> None:
    with bench(tmp_path, show(), show(skipped=4), Stall()) as device:
        assert [decision.frame_seq for decision in device.steps(3)] == [0, 5, 5]


SHOWS = st.builds(
    show,
    st.sampled_from([RED, RED, GREEN]),
    after_s=st.sampled_from([PERIOD_S, AGE_MAX_S + 0.5]),
    age_s=st.sampled_from([0.0, 0.0, AGE_MAX_S, AGE_MAX_S + 0.1]),
    kind=st.sampled_from([FrameKind.IMAGE] * 5 + [FrameKind.RECORD]),
    signal_fault=st.sampled_from(["", "", "", "gap"]),
)
STEPS = st.one_of(SHOWS, SHOWS, st.builds(Stall), st.builds(Lose, st.integers(0, 3)), st.builds(Rest))
ACTS = st.sampled_from([Act.ANSWER, Act.ANSWER, *Act])
HOLDING = (make_rule("red", labels=("red",), hold=(1, 2), update_interval_s=0.5),)


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(STEPS, min_size=1, max_size=15),
    tpu=st.lists(ACTS, max_size=8),
    cpu=st.lists(ACTS, max_size=8),
    probes=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_whatever_sensor_and_backends_do_blindness_is_told_and_ends_nothing(
    script: list[Step], tpu: list[Act], cpu: list[Act], probes: list[bool]
) -> None:
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder), *script, rules=HOLDING) as device:
        device.tpu.then(*tpu)
        device.cpu.then(*cpu)
        for number, decision in enumerate(played(device)):
            if probes[number % len(probes)]:
                device.inference.probe()
            if decision is not None:
                speaks_only_of_what_it_saw(decision, device)
        assert all(before <= after for before, after in pairwise(ordered_s(device)))


def played(device: ChannelBench) -> Iterator[Decision | None]:
    """Step until the recording ends, which is the only thing that is ever raised; time always moves."""
    while True:
        before_s, before = device.channel.progress.last_progress_s, device.clock.monotonic_s()
        rows, done = device.outbox.depth().rows, device.channel.progress.decisions
        try:
            decision = device.channel.step()
        except EndOfRecording:
            return
        progress = device.channel.progress
        assert progress.last_progress_s == device.clock.monotonic_s()
        assert progress.last_progress_s > before_s or device.clock.monotonic_s() == before
        assert progress.decisions == done + (decision is not None)
        assert device.outbox.depth().rows == rows + (0 if decision is None else len(decision.alerts))
        yield decision


def speaks_only_of_what_it_saw(decision: Decision, device: ChannelBench) -> None:
    judged = decision.outcome_state is OutcomeState.RESULT
    assert judged or not_judged(decision, decision.outcome_state)
    assert None not in decision.rules.values() or not judged
    assert bool(decision.reason) is not judged
    if judged:
        assert decision.provenance.backend in {"tpu", "cpu"}
        assert decision.provenance.degraded is (decision.provenance.backend != "tpu")
        assert decision.frame_age_s <= AGE_MAX_S
    state = device.states()[-1]
    assert state["outcome_state"] == decision.outcome_state.value
    assert state["red"] == {True: "ON", False: "OFF", None: None}[decision.rules["red"]]


def ordered_s(device: ChannelBench) -> list[int]:
    stamps = [alert["mono_ns"] for alert in device.alerts()]
    assert all(isinstance(stamp, int) for stamp in stamps)
    return [stamp for stamp in stamps if isinstance(stamp, int)]


def test_two_steps_of_one_event_carry_one_id_and_another_event_another(tmp_path: Path) -> None:
    with bench(tmp_path, show(), show(GREEN), show()) as device:
        device.steps(3)
        ids = [alert["id"] for alert in device.alerts()]
        assert ids[0] == ids[1] != ids[2]
        assert all(str(each).startswith("b1-gate-") for each in ids)


def test_no_frame_leaves_the_process(tmp_path: Path) -> None:
    """Alerts and states are numbers and words; the largest of them is far smaller than the smallest picture."""
    with bench(tmp_path, show(), Show(GREEN)) as device:
        device.steps(2)
        for payload in [*device.alerts(), *device.states()]:
            assert all(value is None or isinstance(value, str | int | float) for value in payload.values())
            assert max(len(str(value)) for value in payload.values()) < 100


def test_a_manual_clock_makes_time_only_by_waiting(tmp_path: Path) -> None:
    """The measure of these tests: what they say of seconds is of scripted waits alone."""
    clock = ManualClock(auto_advance=True)
    device = ChannelBench(tmp_path, [show(after_s=0.0)], clock=clock)
    device.start()
    before_s = clock.monotonic_s()
    device.step()
    device.end()
    assert clock.monotonic_s() == before_s
