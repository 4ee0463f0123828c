"""How the appliance judges its own health: one row of a table at a time, then what holds for any mixture."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.accelerator import TpuHealth
from appliance.core.advice import CLIMBING, GIVEN_UP, advice
from appliance.core.health import (
    STATUS_LINE_CHARACTERS_MAX,
    ChannelHealth,
    Level,
    OutboxHealth,
    Report,
    assess,
    stalled,
    status_line,
)
from appliance.core.recovery import SERVES, State
from appliance.core.types import ClockState, OutcomeState
from tests.core.making import make_channel_health, make_outbox_health
from tests.core.tpus import SLOW_STICK, fleets, make_tpu

WELL = make_channel_health("well")


def report_of(
    *channels: ChannelHealth,
    outbox: OutboxHealth | None = None,
    before: OutboxHealth | None = None,
    broker_connected: bool = True,
    clock: ClockState = ClockState.SYNCED,
    tpus: Sequence[TpuHealth] = (),
) -> Report:
    return assess(
        channels,
        outbox=outbox or make_outbox_health(),
        before=before,
        broker_connected=broker_connected,
        clock=clock,
        tpus=tpus,
    )


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({}, Level.OK, None),
        ({"sensor_ok": False, "fault": "unplugged"}, Level.FAILED, "gate: sensor lost (unplugged)"),
        ({"sensor_ok": False}, Level.FAILED, "gate: sensor lost"),
        ({"sensor_ok": False, "backend": ""}, Level.FAILED, "gate: sensor lost"),
        ({"backend": "", "degraded": True}, Level.FAILED, "gate: no backend"),
        (
            {"outcome_state": OutcomeState.NO_SIGNAL, "fault": "flat line"},
            Level.DEGRADED,
            "gate: no signal (flat line)",
        ),
        ({"outcome_state": OutcomeState.NO_RESULT}, Level.DEGRADED, "gate: frames cannot be judged"),
        ({"degraded": True}, Level.DEGRADED, "gate: not on the first backend"),
        (
            {"degraded": True, "backend_fault": "tpu: no answer within 0.5 s", "fault": "card has no history"},
            Level.DEGRADED,
            "gate: not on the first backend (tpu: no answer within 0.5 s)",
        ),
        ({"degraded": False, "backend_fault": "of before"}, Level.OK, None),
        ({"outcome_state": None}, Level.OK, None),
        ({"outcome_state": None, "sensor_ok": False}, Level.OK, None),  # has just been started
        (
            {"outcome_state": None, "sensor_ok": False, "fault": "no such device"},
            Level.FAILED,
            "gate: sensor lost (no such device)",
        ),
        ({"finished": True, "sensor_ok": False}, Level.OK, None),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_a_channel_has_the_level_of_the_first_rule_that_applies(
    changes: dict[str, object], level: Level, words: str | None
) -> None:
    report = report_of(make_channel_health("gate", **changes), WELL)
    assert report.levels == {"gate": level, "well": Level.OK}
    assert report.faults == (() if words is None else (words,))
    assert report.level is (Level.OK if level is Level.OK else Level.DEGRADED), "one of two channels: degraded at most"


def test_the_node_has_failed_when_all_of_its_channels_have() -> None:
    dead = make_channel_health("gate", sensor_ok=False)
    assert report_of(dead, make_channel_health("yard", backend="")).level is Level.FAILED
    assert report_of(dead).faults == ("gate: sensor lost", "no channel works")


@pytest.mark.parametrize(
    ("outbox", "before", "level", "words"),
    [
        ({"rows": 79, "size_bytes": 7_999}, None, Level.OK, None),
        ({"rows": 80}, None, Level.DEGRADED, "outbox is filling up"),
        ({"size_bytes": 8_000}, None, Level.DEGRADED, "outbox is filling up"),
        ({"in_memory": 1}, None, Level.DEGRADED, "outbox is in memory: the disk takes nothing"),
        ({"dropped": 5}, {"dropped": 4}, Level.DEGRADED, "outbox is full and drops messages"),
        ({"dropped": 5}, {"dropped": 5}, Level.OK, None),
        ({"dead_letters": 2}, {"dead_letters": 1}, Level.DEGRADED, "broker refuses messages"),
        ({"dead_letters": 2}, {"dead_letters": 2}, Level.OK, None),
        ({"dead_letters": 2}, None, Level.OK, None),
        ({"unstored": 1}, {"unstored": 0}, Level.FAILED, "alerts cannot be stored"),
        ({"unstored": 1}, {"unstored": 1}, Level.OK, None),
    ],
)
def test_a_loss_is_told_while_it_goes_on_and_not_for_ever(
    outbox: dict[str, int], before: dict[str, int] | None, level: Level, words: str | None
) -> None:
    earlier = None if before is None else make_outbox_health(**before)
    report = report_of(WELL, outbox=make_outbox_health(**outbox), before=earlier)
    assert (report.level, report.faults) == (level, () if words is None else (words,))


def test_without_the_broker_the_node_is_degraded_and_its_channels_are_not() -> None:
    report = report_of(WELL, broker_connected=False)
    assert (report.level, report.levels) == (Level.DEGRADED, {"well": Level.OK})
    assert report.faults == ("broker not connected",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"state": State.OPENING}, []),  # a start is no alarm
        ({"state": State.AFTER_REBIND}, []),
        ({"state": State.RESET}, ["Edge TPU tpu: being brought back (reset)"]),
        (
            {"state": State.RESPAWN, "reason": "no answer within 0.5 s"},
            ["Edge TPU tpu: being brought back (respawn): no answer within 0.5 s"],
        ),
        (
            {"state": State.CPU_ONLY, "reason": "no Edge TPU at usb", "device": None},
            ["Edge TPU tpu: not brought back, the CPU decides: no Edge TPU at usb"],
        ),
        ({"state": State.REPLACE}, ["Edge TPU tpu: replace hardware"]),
        (
            {"state": State.UNFIT, "reason": "no library"},
            ["Edge TPU tpu: its software does not fit, the CPU decides: no library"],
        ),
        (
            {"refused": ("person: scores 12 steps off", "ecg: rhythm 3 steps off")},
            ["Edge TPU tpu: not used for person: scores 12 steps off; ecg: rhythm 3 steps off"],
        ),
        (
            {"state": State.RESET, "refused": ("person: 12 steps off",), "reason": "died {of} it"},
            [
                "Edge TPU tpu: being brought back (reset): died {of} it",
                "Edge TPU tpu: not used for person: 12 steps off",
            ],
        ),
        ({"cooling": True, "performance": "low"}, []),
        ({"device": SLOW_STICK, "resets_1h": 9}, []),  # it serves: a hand is wanted, nothing is amiss with decisions
    ],
    ids=str,
)
def test_an_edge_tpu_that_does_not_do_its_work_degrades_the_node_and_is_named(
    changes: dict[str, object], words: list[str]
) -> None:
    report = report_of(WELL, tpus=[make_tpu(**changes)])
    assert report.faults == tuple(words)
    assert report.level is (Level.DEGRADED if words else Level.OK)
    assert report.levels == {"well": Level.OK}, "the twin answers: no channel is worse for it"


def test_where_no_model_is_to_run_on_an_edge_tpu_none_is_spoken_of() -> None:
    report = report_of(WELL)
    assert (report.tpus, report.faults) == ((), ())
    assert "Edge TPU" not in status_line(report)


@given(fleets)
def test_whatever_is_wrong_with_an_edge_tpu_somebody_is_told_what_to_do(fleet: list[TpuHealth]) -> None:
    report = report_of(WELL, tpus=fleet)
    named = [tpu for tpu in fleet if any(fault.startswith(f"Edge TPU {tpu.name}: ") for fault in report.faults)]
    assert all(advice(tpu) for tpu in named)
    assert report.level is (Level.DEGRADED if named else Level.OK), "never failed: the twin answers"
    assert set(named) >= {tpu for tpu in fleet if tpu.state not in SERVES | {State.OPENING}}
    assert report.tpus == tuple(fleet)


def test_every_state_that_neither_serves_nor_begins_is_a_fault() -> None:
    assert set(State) == SERVES | {State.OPENING} | CLIMBING | GIVEN_UP
    assert {State.CPU_ONLY, State.UNFIT, State.REPLACE} == GIVEN_UP


@pytest.mark.parametrize("clock", ClockState)
def test_no_network_to_set_the_clock_by_is_normal(clock: ClockState) -> None:
    report = report_of(WELL, clock=clock)
    assert (report.level, report.clock) == (Level.OK, clock)


@pytest.mark.parametrize(
    ("now_s", "names"),
    [(129.9, ()), (130.0, ("slow",)), (139.9, ("slow",)), (140.0, ("slow", "late")), (1e9, ("slow", "late"))],
)
def test_a_channel_without_progress_for_long_enough_has_stalled(now_s: float, names: tuple[str, ...]) -> None:
    channels = [
        make_channel_health("slow", last_decision_s=100.0),
        make_channel_health("late", last_decision_s=110.0),
        make_channel_health("played", last_decision_s=0.0, finished=True),
    ]
    assert stalled(channels, now_s, 30.0) == names


def test_deciding_that_there_is_no_result_is_progress() -> None:
    lost = make_channel_health("gate", sensor_ok=False, outcome_state=OutcomeState.NO_RESULT, last_decision_s=100.0)
    assert stalled([lost], 101.0, 30.0) == ()


def test_the_status_line_says_what_works_and_what_does_not() -> None:
    lost = make_channel_health("gate", sensor_ok=False, fault="unplugged", frames_per_s=0.0)
    line = status_line(report_of(WELL, lost, outbox=make_outbox_health(rows=3), broker_connected=False))
    assert line == (
        "degraded: 1 of 2 channels work, 10.0 frames/s, 3 messages waiting; "
        "gate: sensor lost (unplugged); broker not connected"
    )
    assert status_line(report_of(WELL)) == "ok: 1 of 1 channels work, 10.0 frames/s, 0 messages waiting"


def test_the_status_line_says_what_to_do_about_an_edge_tpu_before_it_is_cut_off() -> None:
    yanked = make_tpu(state=State.CPU_ONLY, device=None, reason="no Edge TPU at usb")
    gate = make_channel_health("gate", degraded=True, backend_fault="tpu: no Edge TPU at usb")
    line = status_line(report_of(gate, tpus=[make_tpu("well"), yanked]))
    assert line.startswith(
        "degraded: 1 of 1 channels work, 10.0 frames/s, 0 messages waiting; "
        "Edge TPU: no Edge TPU is seen: plug it in, try another port and cable, else replace it; gate: not on"
    )
    warm = make_tpu(cooling=True, performance="low")
    assert "give it air" in status_line(report_of(WELL, tpus=[warm])), "also where nothing is amiss with decisions"


channels = st.lists(
    st.builds(
        make_channel_health,
        st.text(min_size=1, max_size=32),
        sensor_ok=st.booleans(),
        backend=st.sampled_from(("", "cpu", "tpu")),
        degraded=st.booleans(),
        outcome_state=st.none() | st.sampled_from(OutcomeState),
        fault=st.text() | st.just("line\nbreak " * 40),
        finished=st.booleans(),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda channel: channel.channel,
)
outboxes = st.builds(
    make_outbox_health,
    rows=st.integers(0, 100),
    dropped=st.integers(0, 2),
    dead_letters=st.integers(0, 2),
    unstored=st.integers(0, 2),
    in_memory=st.integers(0, 2),
)


@given(channels, outboxes, st.none() | outboxes, st.booleans())
def test_a_report_is_ok_exactly_when_it_names_no_fault(
    some: list[ChannelHealth],
    outbox: OutboxHealth,
    before: OutboxHealth | None,
    connected: bool,  # noqa: FBT001 - given by hypothesis, by position
) -> None:
    report = report_of(*some, outbox=outbox, before=before, broker_connected=connected)
    assert (report.level is Level.OK) is (report.faults == ())
    assert set(report.levels) == {channel.channel for channel in some}


@given(channels, outboxes, st.booleans(), st.just(()) | fleets)
def test_a_status_line_is_one_line_of_bounded_length(
    some: list[ChannelHealth],
    outbox: OutboxHealth,
    connected: bool,  # noqa: FBT001 - given by hypothesis, by position
    tpus: Sequence[TpuHealth],
) -> None:
    line = status_line(report_of(*some, outbox=outbox, broker_connected=connected, tpus=tpus))
    assert len(line.splitlines()) == 1
    assert len(line) <= STATUS_LINE_CHARACTERS_MAX


def test_what_is_wrong_with_a_model_degrades_the_node_and_no_channel() -> None:
    report = assess(
        [WELL],
        outbox=make_outbox_health(),
        before=None,
        broker_connected=True,
        clock=ClockState.SYNCED,
        models=["model person: labels.txt is damaged"],
    )
    assert (report.level, report.levels) == (Level.DEGRADED, {"well": Level.OK})
    assert report.faults == ("model person: labels.txt is damaged",)
