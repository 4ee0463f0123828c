"""The contract of ``ports.TpuBus``, on Linux's files with a kernel on a script, and on the simulation."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.core.accelerator import Bus, TpuDevice, choose
from appliance.errors import BackendError, RungError
from appliance.sim import tpu_tree
from appliance.sim.tpu_bus import Outcome, Rung
from tests.contract.tpu_bus_rigs import PLACE, LinuxRig, Rig, SimulatedRig

Try = Callable[[Rig, TpuDevice], None]


@pytest.fixture(params=[LinuxRig, SimulatedRig], ids=["linux", "simulated"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    make: Callable[[Path], Rig] = request.param
    made = make(tmp_path)
    yield made
    made.bus.close()


def only(rig: Rig) -> TpuDevice:
    (device,) = rig.bus.devices()
    return device


def reset(rig: Rig, device: TpuDevice) -> None:
    rig.bus.reset(device)


def rebind(rig: Rig, device: TpuDevice) -> None:
    rig.bus.rebind(device)


def power_cycle(rig: Rig, device: TpuDevice) -> None:
    rig.bus.power_cycle(device.path)


TRIES: dict[Rung, Try] = {Rung.RESET: reset, Rung.REBIND: rebind, Rung.POWER_CYCLE: power_cycle}
every_rung = pytest.mark.parametrize("rung", Rung, ids=lambda rung: rung.value)


def test_an_empty_machine_has_no_device(rig: Rig) -> None:
    assert rig.bus.devices() == ()


def test_a_stick_shows_in_its_bootloader_and_comes_back_as_another_when_it_is_opened(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    before = only(rig)
    assert (before.bus, before.path, before.dfu, before.speed_mbps) == (Bus.USB, PLACE, True, 5000)
    assert tpu_tree.enter_runtime(rig.folder)
    after = only(rig)
    assert (after.path, after.dfu) == (PLACE, False)
    assert after.node != before.node
    assert after.node.startswith("/dev/bus/usb/002/")


def test_a_stick_that_was_pulled_out_is_gone_at_once(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    tpu_tree.unplug(rig.folder)
    assert rig.bus.devices() == ()


def test_usb_comes_first_and_ports_count_as_numbers(rig: Rig) -> None:
    tpu_tree.set_temperature(rig.folder, 50.0, "apex_1")
    tpu_tree.set_temperature(rig.folder, 50.0, "apex_0")
    for path in ("2-10", "2-9", "1-1.4", "1-1.4.2"):
        tpu_tree.plug(rig.folder, path)
    devices = rig.bus.devices()
    assert [device.path for device in devices] == ["1-1.4", "1-1.4.2", "2-9", "2-10", "apex_0", "apex_1"]
    assert devices[-2] == TpuDevice(Bus.PCI, "apex_0", "/dev/apex_0")
    assert choose(devices, "pci:1") == devices[-1]


def test_the_speed_of_the_link_is_told(rig: Rig) -> None:
    tpu_tree.plug(rig.folder, "1-1.2", speed_mbps=480)
    assert only(rig).speed_mbps == 480


@every_rung
def test_a_rung_that_helps_makes_a_sick_device_open_again(rig: Rig, rung: Rung) -> None:
    tpu_tree.plug(rig.folder)
    tpu_tree.enter_runtime(rig.folder)
    tpu_tree.sicken(rig.folder)
    assert not tpu_tree.enter_runtime(rig.folder)
    TRIES[rung](rig, only(rig))
    assert only(rig).dfu is (rung is Rung.POWER_CYCLE), "only a power cut leads back to the bootloader"
    assert tpu_tree.enter_runtime(rig.folder)


@every_rung
def test_a_rung_that_does_not_help_is_no_error(rig: Rig, rung: Rung) -> None:
    tpu_tree.plug(rig.folder)
    tpu_tree.sicken(rig.folder)
    rig.then(rung, Outcome.NOTHING)
    TRIES[rung](rig, only(rig))
    assert not tpu_tree.enter_runtime(rig.folder)


@every_rung
def test_a_device_that_comes_back_in_its_bootloader_has_come_back(rig: Rig, rung: Rung) -> None:
    tpu_tree.plug(rig.folder)
    tpu_tree.enter_runtime(rig.folder)
    before = only(rig)
    rig.then(rung, Outcome.DFU)
    TRIES[rung](rig, before)
    assert only(rig).dfu
    assert only(rig).node != before.node


@every_rung
def test_what_may_not_be_tried_is_told_apart_from_what_failed(rig: Rig, rung: Rung) -> None:
    tpu_tree.plug(rig.folder)
    rig.then(rung, Outcome.REFUSED)
    rig.then(rung, Outcome.FAILS)
    with pytest.raises(RungError):
        TRIES[rung](rig, only(rig))
    with pytest.raises(BackendError):
        TRIES[rung](rig, only(rig))
    assert only(rig).path == PLACE


@every_rung
def test_a_device_that_does_not_survive_the_try_is_a_failure(rig: Rig, rung: Rung) -> None:
    tpu_tree.plug(rig.folder)
    device = only(rig)
    rig.then(rung, Outcome.LOSES)
    with pytest.raises(BackendError):
        TRIES[rung](rig, device)
    assert rig.bus.devices() == ()


@pytest.mark.parametrize("act", [reset, rebind])
def test_where_nothing_is_plugged_in_nothing_can_be_reset_or_rebound(rig: Rig, act: Try) -> None:
    tpu_tree.plug(rig.folder)
    device = only(rig)
    tpu_tree.unplug(rig.folder)
    with pytest.raises(RungError, match=PLACE):
        act(rig, device)


def test_a_reset_finds_the_device_again_though_it_has_another_device_file_since(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    stale = only(rig)
    tpu_tree.enter_runtime(rig.folder)
    rig.bus.reset(stale)


def test_a_power_cut_brings_back_what_had_left_the_bus_but_not_what_was_pulled_out(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    tpu_tree.enter_runtime(rig.folder)
    tpu_tree.remove(rig.folder)
    assert rig.bus.devices() == ()
    rig.bus.power_cycle(PLACE)
    assert only(rig).dfu
    tpu_tree.unplug(rig.folder)
    rig.bus.power_cycle(PLACE)
    assert rig.bus.devices() == ()


def test_a_card_on_pcie_is_neither_reset_nor_switched_off(rig: Rig) -> None:
    tpu_tree.set_temperature(rig.folder, 50.0)
    with pytest.raises(RungError, match="USB"):
        rig.bus.reset(only(rig))
    with pytest.raises(RungError, match="USB"):
        rig.bus.power_cycle("apex_0")


def test_a_stick_has_no_thermometer(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    assert rig.bus.temperature_c(only(rig)) is None


@pytest.mark.parametrize("temp_c", [-40.0, 0.0, 61.25, 150.0])
def test_a_card_says_how_warm_it_is(rig: Rig, temp_c: float) -> None:
    tpu_tree.set_temperature(rig.folder, temp_c)
    assert rig.bus.temperature_c(only(rig)) == temp_c


@pytest.mark.parametrize("temp_c", [-87.9, -89.7, -40.001, 150.001])
def test_a_reading_that_is_no_temperature_says_that_the_link_is_lost(rig: Rig, temp_c: float) -> None:
    tpu_tree.set_temperature(rig.folder, temp_c)
    with pytest.raises(BackendError, match="link"):
        rig.bus.temperature_c(only(rig))


def test_a_card_whose_temperature_cannot_be_read_has_a_fault(rig: Rig) -> None:
    tpu_tree.set_temperature(rig.folder, 50.0)
    device = only(rig)
    (rig.folder / "sys/class/apex/apex_0/temp").write_text("nonsense")
    with pytest.raises(BackendError):
        rig.bus.temperature_c(device)


def test_a_card_without_a_sensor_has_no_temperature_and_no_fault(rig: Rig) -> None:
    tpu_tree.set_temperature(rig.folder, 50.0)
    device = only(rig)
    (rig.folder / "sys/class/apex/apex_0/temp").unlink()
    assert rig.bus.temperature_c(device) is None


def test_a_device_that_this_process_may_open_is_not_objected_to(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    rig.bus.check_access(only(rig))


def test_the_first_question_for_arrivals_begins_to_listen(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    assert rig.bus.arrivals() == ()
    tpu_tree.plug(rig.folder, "1-1.4")
    tpu_tree.set_temperature(rig.folder, 50.0)
    assert rig.bus.arrivals() == ("1-1.4", "apex_0")
    assert rig.bus.arrivals() == ()


def test_a_device_that_left_and_came_back_has_arrived_and_one_that_left_has_not(rig: Rig) -> None:
    tpu_tree.plug(rig.folder)
    rig.bus.arrivals()
    tpu_tree.enumerate_again(rig.folder, dfu=True)
    assert rig.bus.arrivals() == (PLACE,)
    tpu_tree.enter_runtime(rig.folder)
    assert rig.bus.arrivals() == (PLACE,)
    tpu_tree.unplug(rig.folder)
    assert rig.bus.arrivals() == ()
    tpu_tree.plug(rig.folder)
    assert rig.bus.arrivals() == (PLACE,)


@pytest.mark.parametrize("asked", [False, True], ids=["before", "after"])
def test_a_closed_bus_hears_of_no_arrival_and_may_be_closed_again(rig: Rig, asked: bool) -> None:  # noqa: FBT001 - a parameter of the table
    if asked:
        rig.bus.arrivals()
    rig.bus.close()
    rig.bus.close()
    tpu_tree.plug(rig.folder)
    assert rig.bus.arrivals() == ()
    assert len(rig.bus.devices()) == 1
