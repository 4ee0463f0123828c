"""What a technician is told about an Edge TPU: row by row, then what holds for any mixture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.accelerator import TpuHealth
from appliance.core.advice import ADVICE_CHARACTERS_MAX, CLIMBING, GIVEN_UP, SEVERITY, TABLE, advice, rows, worst
from appliance.core.recovery import SERVES, State
from tests.core.tpus import (
    CARD,
    IN_DFU,
    REASONS,
    SLOW_STICK,
    STICK,
    VERSION_CRASH,
    fleets,
    make_tpu,
    tpus,
)

JARGON = ("SIG", "transfer on tag", "DFU", "USBDEVFS", "usb_driver", "uhubctl", "{", "}", "\n")

CASES: list[tuple[dict[str, object], str]] = [
    (
        {"state": State.RESPAWN, "reason": VERSION_CRASH},
        "its software is missing or does not fit together: install ai-edge-litert 2.1.2",
    ),
    (
        {"state": State.CPU_ONLY, "reason": "cannot open /dev/bus/usb/002/003: Permission denied"},
        "the appliance is not allowed to use it: install the rules in systemd/ and plug it in again",
    ),
    (
        {"state": State.UNFIT, "device": None},
        "its software is missing or does not fit together, the log says which: install a pair that fits",
    ),
    ({"state": State.REPLACE, "device": IN_DFU}, "replace the Edge TPU: it no longer leaves its bootloader"),
    (
        {"state": State.REPLACE, "device": None},
        "no Edge TPU is seen: plug it in, try another port and cable, else replace it",
    ),
    (
        {"state": State.CPU_ONLY, "device": CARD, "reason": "-87.9 °C: the PCIe link is lost"},
        "switch the device off and reseat the Edge TPU's card; if that does not help, replace it",
    ),
    ({"resets_1h": 3}, "it resets with no crash: check cable and power supply"),
    (
        {"resets_1h": 1, "aborts_1h": 2},
        "it crashes and resets: probably under-voltage: try a stronger power supply, a powered hub, a lower clock",
    ),
    (
        {"state": State.REPLACE},
        "replace the Edge TPU: nothing has brought it back; a new one is tried as soon as it is plugged in",
    ),
    (
        {"aborts_1h": 3},
        "it crashes though it stays plugged in: update libedgetpu; if that does not help, replace it",
    ),
    (
        {"state": State.CPU_ONLY, "device": IN_DFU},
        "it stays in its bootloader: unplug it, wait ten seconds, plug it into another port; it is tried at once",
    ),
    (
        {"state": State.CPU_ONLY},
        "unplug it, wait ten seconds, plug it in again; it is tried at once, else by itself later",
    ),
    ({"state": State.RESET}, "nothing to do yet: it is being brought back, the CPU decides meanwhile"),
    (
        {"refused": ("person: 12 steps off", "ecg: 7 steps off")},
        "the CPU decides for person, ecg, the log says why: update libedgetpu; if that does not help, replace it",
    ),
    (
        {"device": SLOW_STICK},
        "it runs at USB 2 speed, some ten times slower: use a blue USB 3 port and a USB 3 cable",
    ),
    ({"device": CARD, "temperature_c": 91.6}, "it is at 92 °C and slows itself down: give it air"),
    (
        {"cooling": True, "performance": "low"},
        "it got slow, probably warm: give it air; it runs at low for now",
    ),
]
"""For each row of the table, in its order, an Edge TPU that it is the first to apply to."""


@pytest.mark.parametrize(("changes", "words"), CASES, ids=[row.when for row in TABLE])
def test_the_first_row_that_applies_says_what_to_do(changes: dict[str, object], words: str) -> None:
    assert advice(make_tpu(**changes)) == words


def test_each_row_is_the_first_that_applies_to_something() -> None:
    """A row that none reaches would be a promise of the documentation that is never kept."""
    first = [next(row for row in TABLE if row.applies(make_tpu(**changes))) for changes, _ in CASES]
    assert first == list(TABLE)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"state": State.OPENING},
        {"state": State.OPENING, "device": IN_DFU},  # where every stick begins
        {"state": State.OPENING, "device": None},
        {"state": State.AFTER_RESET, "resets_1h": 1, "aborts_1h": 1},  # one accident, and it is back
        {"device": CARD, "temperature_c": 60.0},
        {"device": IN_DFU},  # has just been reset: the speed of a bootloader says nothing of the link
    ],
    ids=str,
)
def test_who_is_well_or_has_only_begun_gets_no_advice(changes: dict[str, object]) -> None:
    assert advice(make_tpu(**changes)) == ""


@pytest.mark.parametrize("state", sorted(GIVEN_UP | CLIMBING))
def test_nobody_is_sent_to_replace_hardware_for_a_fault_of_software(state: State) -> None:
    """With versions that crash one another no stick ever leaves its bootloader; a new one would not either."""
    words = advice(make_tpu(state=state, device=IN_DFU, reason=VERSION_CRASH, resets_1h=9, aborts_1h=9))
    assert "install ai-edge-litert" in words
    assert "replace" not in words


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("libedgetpu.so.1 cannot be loaded (no such file); install libedgetpu1-std", "install libedgetpu1-std"),
        ("no TFLite runtime (tried two); pip install ai-edge-litert.", "install ai-edge-litert"),
        ("a and b crash: not of one build; install a pair that is, as libedgetpu1-std with x; or", "with x"),
        ("uhubctl is not installed: apt-get install uhubctl", "replace the Edge TPU: it no longer leaves"),
        ("tpu: not installed properly", "replace the Edge TPU: it no longer leaves"),
    ],
)
def test_what_an_error_says_to_install_is_passed_on_where_models_cannot_run_without_it(reason: str, words: str) -> None:
    """What only a rung of the ladder would have liked to have is no reason to keep a dead stick."""
    assert words in advice(make_tpu(state=State.REPLACE, device=IN_DFU, reason=reason))


def needs_nobody(tpu: TpuHealth) -> bool:
    """Whether all is well, said in another way than the table does."""
    fine = tpu.state in SERVES or tpu.state is State.OPENING
    calm = tpu.resets_1h + tpu.aborts_1h < 3 and not tpu.cooling and (tpu.temperature_c or 0.0) < 85.0
    on_usb_2 = tpu.state in SERVES and tpu.device == SLOW_STICK
    return fine and calm and not tpu.refused and not on_usb_2


@given(tpus)
def test_there_is_advice_exactly_when_something_is_wrong(tpu: TpuHealth) -> None:
    assert (advice(tpu) == "") is needs_nobody(tpu)


@given(tpus)
def test_advice_is_one_short_line_whatever_errors_and_models_are_called(tpu: TpuHealth) -> None:
    words = advice(tpu)
    assert len(words) <= ADVICE_CHARACTERS_MAX
    assert len(words.splitlines()) <= 1


@given(tpus, st.sampled_from(REASONS))
def test_advice_speaks_to_somebody_who_never_saw_the_source(tpu: TpuHealth, reason: str) -> None:
    models = ("person: outputs 12 steps off",) if tpu.refused else ()
    words = advice(make_tpu(**{**fields(tpu), "reason": reason, "refused": models}))
    assert [word for word in JARGON if word in words] == []


def fields(tpu: TpuHealth) -> dict[str, object]:
    return {name: getattr(tpu, name) for name in TpuHealth.__slots__}


def test_of_several_one_that_serves_and_needs_somebody_goes_before_one_that_begins() -> None:
    warm = make_tpu("warm", cooling=True)
    assert worst([make_tpu("new", state=State.OPENING), warm, make_tpu("well")]) is warm


@given(fleets)
def test_of_several_the_one_with_advice_is_spoken_of_and_among_those_the_worst(fleet: list[TpuHealth]) -> None:
    told = worst(fleet)
    assert bool(advice(told)) is any(advice(tpu) for tpu in fleet)
    rivals = [tpu for tpu in fleet if bool(advice(tpu)) is bool(advice(told))]
    assert SEVERITY.index(told.state) == max(SEVERITY.index(tpu.state) for tpu in rivals)


@pytest.mark.parametrize("state", State)
def test_of_equals_the_first_is_spoken_of_so_that_reports_do_not_change_by_themselves(state: State) -> None:
    fleet = [make_tpu("left", state=state, reason="a"), make_tpu("right", state=state, reason="b")]
    assert worst(fleet) is fleet[0]


def test_states_are_ranked_all_of_them_and_every_one_that_serves_before_one_that_does_not() -> None:
    assert sorted(SEVERITY) == sorted(State)
    assert set(SEVERITY[: len(SERVES)]) == SERVES
    assert set(SEVERITY[-len(GIVEN_UP) :]) == GIVEN_UP
    assert (SEVERITY[0], SEVERITY[-1]) == (State.SERVING, State.REPLACE)


def test_the_table_can_be_read_by_people() -> None:
    printed = rows()
    assert len(printed) == len(TABLE)
    assert dict(printed)["slowed down by the appliance"].endswith("it runs at <performance> for now")
    assert all(when and words and "{" not in words for when, words in printed)


def test_a_stick_without_a_known_speed_is_not_blamed_for_it() -> None:
    unknown = type(STICK)(STICK.bus, STICK.path, STICK.node)
    assert advice(make_tpu(device=unknown)) == ""
