"""What can happen to a simulated Edge TPU hurts it, and can be mended."""

from pathlib import Path
from random import Random

import pytest

from appliance.errors import BackendError
from appliance.sim.tpu_bus import SimulatedTpuBus
from appliance.sim.tpu_faults import CARD, FAULTS, STICK, Fault, Plugged, bring, pull
from appliance.sim.tpu_script import Act, Script

RANDOM = Random(1)  # noqa: S311 - to be repeated


def plugged(folder: Path, name: str) -> Plugged:
    """One that is there and was opened once."""
    device = Plugged(name, SimulatedTpuBus(folder), Script(folder))
    device.plug()
    assert device.bus.open_by_runtime()
    return device


def hurt(device: Plugged) -> str:
    """What is wrong with it; empty when nothing is."""
    if device.script.left():
        return "something is to come"
    if len(device.bus.devices()) != 1:
        return "not there"
    (there,) = device.bus.devices()
    try:
        device.bus.temperature_c(there)
    except BackendError as error:
        return str(error)
    return "bootloader" if there.dfu else ""


@pytest.mark.parametrize(
    ("fault", "name"),
    [(fault, name) for fault in FAULTS for name in fault.devices],
    ids=lambda each: each if isinstance(each, str) else each.name,
)
def test_a_fault_hurts_and_once_it_is_mended_the_device_is_there_and_opens(
    tmp_path: Path, fault: Fault, name: str
) -> None:
    device = plugged(tmp_path, name)
    assert hurt(device) == ""
    fault.begin(device, RANDOM)
    assert hurt(device)
    device.script.clear()
    fault.mend(device, RANDOM)
    assert device.bus.open_by_runtime()
    assert hurt(device) == ""


def test_every_act_of_the_script_is_a_fault_and_each_has_one_name() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert {act.value for act in Act} <= set(names)


def test_a_lie_is_told_when_it_is_proven_and_never_to_a_frame(tmp_path: Path) -> None:
    device = plugged(tmp_path, STICK)
    next(fault for fault in FAULTS if fault.name == Act.LIE).begin(device, RANDOM)
    steps = [device.script.take(opening=False) for _ in range(2)]
    assert [step.act for step in steps if step] == [Act.ABORT, Act.LIE], "the worker is gone when it is told"


@pytest.mark.parametrize("name", [STICK, CARD])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_whatever_has_happened_another_one_in_its_place_is_well(tmp_path: Path, fault: Fault, name: str) -> None:
    device = plugged(tmp_path, name)
    if name in fault.devices:
        fault.begin(device, RANDOM)
    pull(device, RANDOM)
    assert device.bus.devices() == ()
    device.script.clear()
    bring(device, RANDOM)
    assert device.bus.open_by_runtime()
    assert hurt(device) == ""
