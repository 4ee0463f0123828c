"""Several Edge TPUs keep to their own devices, whatever is plugged and pulled."""

from appliance.adapters.edgetpu.claims import Claims, option_of
from appliance.core.accelerator import Bus, TpuDevice

ONE, TWO, THREE = (TpuDevice(Bus.USB, f"2-{number}", f"/dev/bus/usb/002/00{number}") for number in (1, 2, 3))
CARD = TpuDevice(Bus.PCI, "apex_0", "/dev/apex_0")


def claimed() -> Claims:
    claims = Claims()
    claims.claim("first", ONE.path)
    claims.claim("second", TWO.path)
    return claims


def test_before_anything_was_opened_the_configuration_decides() -> None:
    claims = Claims()
    assert claims.choose("first", ":0", [ONE, TWO]) == ONE
    assert claims.choose("second", "usb:1", [ONE, TWO]) == TWO
    assert claims.choose("card", "pci", [ONE, CARD]) == CARD
    assert claims.choose("third", "", []) is None


def test_what_was_opened_is_kept_though_numbers_shift() -> None:
    claims = claimed()
    assert claims.choose("second", ":1", [TWO]) == TWO
    assert claims.choose("second", ":1", [TWO, THREE]) == TWO


def test_another_ones_device_is_never_taken() -> None:
    assert claimed().choose("first", ":0", [TWO]) is None


def test_one_that_was_pulled_out_is_found_in_another_port() -> None:
    assert claimed().choose("first", ":0", [TWO, THREE]) == THREE
    alone = Claims()
    alone.claim("only", ONE.path)
    assert alone.choose("only", "", [THREE]) == THREE


def test_the_library_is_told_the_number_that_a_device_has_now() -> None:
    assert option_of(TWO, [ONE, TWO, CARD]) == "usb:1"
    assert option_of(TWO, [TWO, CARD]) == "usb:0"
    assert option_of(CARD, [ONE, TWO, CARD]) == "pci:0"
