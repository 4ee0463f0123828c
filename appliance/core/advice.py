"""What a technician should do about an Edge TPU, in one sentence. Pure.

``TABLE`` is read from the top; its first row that applies speaks. A row that no person could act on, or that would
send somebody to replace hardware for a fault of software, is worse than none: so what the software says comes first.
There is something to do exactly when there is advice; this is what the Home Assistant entity *problem* shows.

Sources of the rows: google-coral/edgetpu#914 (bootloader), #754 (the cable), #11 (power: up to 900 mA at full clock),
#347 (other numbers than the CPU's), #843 (lost PCIe link); frigate#7034 (USB 2); libedgetpu's runtime and the gasket
driver (clocks, temperatures).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from appliance.core.accelerator import SUPERSPEED_MBPS, Bus, TpuHealth
from appliance.core.recovery import RUNGS, SERVES, State

ADVICE_CHARACTERS_MAX = 200
"""Longest advice; with a name before it, it is still a state that Home Assistant takes (255)."""
OFTEN_1H = 3
"""Resets and aborts in an hour from which on they are no accident."""
HOT_C = 85.0
"""The first trip of the PCIe driver (gasket): from here on it halves its clock."""
GIVEN_UP = frozenset(State) - SERVES - RUNGS
"""States in which it neither serves nor is anything tried: the CPU decides, for now or for good."""
CLIMBING = RUNGS - {State.OPENING}
"""States in which it is being brought back; the first opening is a start and no fault."""
SEVERITY = (
    *(state for state in State if state in SERVES),
    State.OPENING,
    *(state for state in State if state in CLIMBING),
    *(state for state in State if state in GIVEN_UP - {State.REPLACE}),
    State.REPLACE,
)
"""All states, best first."""
_REMEDY = re.compile(r"\binstall\b[^;\n]*(?:libedgetpu|litert|tflite)[^;\n]*", re.IGNORECASE)
"""What an error says to install to run a model at all (and not for a rung: uhubctl), to the end of the clause."""
_FORBIDDEN = re.compile(r"permission|not permitted", re.IGNORECASE)
"""How the kernel's errors EACCES and EPERM read."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    when: str
    """What ``applies`` asks, for people."""
    applies: Callable[[TpuHealth], bool]
    words: str
    """The advice; names in braces are those of ``_BLANKS``."""


TABLE = (
    Row(
        "it does not serve, and the error says what to install",
        lambda tpu: _in_trouble(tpu) and bool(_REMEDY.search(tpu.reason)),
        "its software is missing or does not fit together: {remedy}",
    ),
    Row(
        "it does not serve, and the error speaks of permission",
        lambda tpu: _in_trouble(tpu) and bool(_FORBIDDEN.search(tpu.reason)),
        "the appliance is not allowed to use it: install the rules in systemd/ and plug it in again",
    ),
    Row(
        "its software is missing or does not fit together",
        lambda tpu: tpu.state is State.UNFIT,
        "its software is missing or does not fit together, the log says which: install a pair that fits",
    ),
    Row(
        "given up, in its bootloader",
        lambda tpu: tpu.state is State.REPLACE and _in_bootloader(tpu),
        "replace the Edge TPU: it no longer leaves its bootloader",
    ),
    Row(
        "CPU only or given up, and none is seen",
        lambda tpu: tpu.state in GIVEN_UP and tpu.device is None,
        "no Edge TPU is seen: plug it in, try another port and cable, else replace it",
    ),
    Row(
        "CPU only or given up, on PCIe",
        lambda tpu: tpu.state in GIVEN_UP and _is_on(tpu, Bus.PCI),
        "switch the device off and reseat the Edge TPU's card; if that does not help, replace it",
    ),
    Row(
        f"{OFTEN_1H} or more resets in the last hour, no crash",
        lambda tpu: _often(tpu) and not tpu.aborts_1h,
        "it resets with no crash: check cable and power supply",
    ),
    Row(
        f"{OFTEN_1H} or more resets and crashes in the last hour, some of each",
        lambda tpu: _often(tpu) and bool(tpu.resets_1h),
        "it crashes and resets: probably under-voltage: try a stronger power supply, a powered hub, a lower clock",
    ),
    Row(
        "given up",
        lambda tpu: tpu.state is State.REPLACE,
        "replace the Edge TPU: nothing has brought it back; a new one is tried as soon as it is plugged in",
    ),
    Row(
        f"{OFTEN_1H} or more crashes in the last hour, no reset",
        lambda tpu: _often(tpu),  # noqa: PLW0108 - defined below the table
        "it crashes though it stays plugged in: update libedgetpu; if that does not help, replace it",
    ),
    Row(
        "CPU only, in its bootloader",
        lambda tpu: tpu.state in GIVEN_UP and _in_bootloader(tpu),
        "it stays in its bootloader: unplug it, wait ten seconds, plug it into another port; it is tried at once",
    ),
    Row(
        "CPU only",
        lambda tpu: tpu.state in GIVEN_UP,
        "unplug it, wait ten seconds, plug it in again; it is tried at once, else by itself later",
    ),
    Row(
        "being brought back",
        lambda tpu: tpu.state in CLIMBING,
        "nothing to do yet: it is being brought back, the CPU decides meanwhile",
    ),
    Row(
        "not used for a model",
        lambda tpu: bool(tpu.refused),
        "the CPU decides for {models}, the log says why: update libedgetpu; if that does not help, replace it",
    ),
    Row(
        "serves, on a USB link slower than USB 3",
        lambda tpu: tpu.state in SERVES and _is_on(tpu, Bus.USB) and _slow_link(tpu),
        "it runs at USB 2 speed, some ten times slower: use a blue USB 3 port and a USB 3 cable",
    ),
    Row(
        f"{HOT_C:g} °C or more (PCIe)",
        lambda tpu: (tpu.temperature_c or 0.0) >= HOT_C,
        "it is at {temperature} °C and slows itself down: give it air",
    ),
    Row(
        "slowed down by the appliance",
        lambda tpu: tpu.cooling,
        "it got slow, probably warm: give it air; it runs at {performance} for now",
    ),
)
"""In order; no row: all is well."""

_BLANKS: dict[str, Callable[[TpuHealth], str]] = {
    "remedy": lambda tpu: _remedy(tpu.reason),
    "models": lambda tpu: ", ".join(each.partition(":")[0] for each in tpu.refused),
    "temperature": lambda tpu: f"{tpu.temperature_c:.0f}",
    "performance": lambda tpu: tpu.performance,
}
"""What stands in braces in a row's words."""


def advice(health: TpuHealth) -> str:
    """Return what a person should do, in one line of at most ADVICE_CHARACTERS_MAX; empty when all is well."""
    row = next((row for row in TABLE if row.applies(health)), None)
    if row is None:
        return ""
    filled = {name: fill(health) for name, fill in _BLANKS.items() if f"{{{name}}}" in row.words}
    line = " ".join(row.words.format_map(filled).split())
    return line if len(line) <= ADVICE_CHARACTERS_MAX else line[: ADVICE_CHARACTERS_MAX - 1] + "…"


def worst(tpus: Sequence[TpuHealth]) -> TpuHealth:
    """Return the one to speak of when only one can be: those with advice first, then by ``SEVERITY``; then the first.

    Args:
        tpus: one or more.
    """
    return max(tpus, key=lambda tpu: (bool(advice(tpu)), SEVERITY.index(tpu.state)))


def rows() -> list[tuple[str, str]]:
    """Return the table as when and advice: for documentation."""
    names = {name: f"<{name}>" for name in _BLANKS}
    return [(row.when, row.words.format_map(names)) for row in TABLE]


def _in_trouble(tpu: TpuHealth) -> bool:
    """Tell whether it should serve and does not; while it opens for the first time nothing is known yet."""
    return tpu.state in GIVEN_UP or tpu.state in CLIMBING


def _in_bootloader(tpu: TpuHealth) -> bool:
    """Tell whether it waits for its firmware."""
    return tpu.device is not None and tpu.device.dfu


def _is_on(tpu: TpuHealth, bus: Bus) -> bool:
    """Tell whether one is seen there."""
    return tpu.device is not None and tpu.device.bus is bus


def _often(tpu: TpuHealth) -> bool:
    """Tell whether what happened in the last hour is no accident."""
    return tpu.resets_1h + tpu.aborts_1h >= OFTEN_1H


def _slow_link(tpu: TpuHealth) -> bool:
    """Tell whether the link is known to be slower than USB 3; a bootloader's speed says nothing of the link."""
    if tpu.device is None or tpu.device.dfu or tpu.device.speed_mbps is None:
        return False
    return tpu.device.speed_mbps < SUPERSPEED_MBPS


def _remedy(reason: str) -> str:
    """Return what an error says to install."""
    found = _REMEDY.search(reason)
    assert found is not None, "asked only where the row applies"
    return found[0].rstrip(" .")
