"""Edge TPUs in a folder: what one process does to them, another sees, whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.accelerator import USB_ID_DFU, USB_ID_RUNTIME
from appliance.sim import tpu_tree

ACTS = ("plug", "unplug", "remove", "enter_runtime", "enumerate_again", "sicken", "heal", "stick_in_dfu")
HEAVY = {"pydantic", "numpy", "structlog", "threading", "cv2", "typer"}


def test_a_child_opens_the_device_and_its_parent_sees_another_one(tmp_path: Path) -> None:
    tpu_tree.plug(tmp_path)
    (before,) = tpu_tree.sticks(tmp_path)
    child = f"""
import sys
from pathlib import Path
from appliance.sim import tpu_tree
assert tpu_tree.present(Path({str(tmp_path)!r}))
assert tpu_tree.enter_runtime(Path({str(tmp_path)!r}))
print(*{{name.partition('.')[0] for name in sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True, timeout=30)
    assert not HEAVY & set(done.stdout.split()), "a worker's child begins with it"
    (after,) = tpu_tree.sticks(tmp_path)
    assert (before.ids, after.ids) == (USB_ID_DFU, USB_ID_RUNTIME)
    assert after.node != before.node


def test_opening_what_is_open_changes_nothing(tmp_path: Path) -> None:
    tpu_tree.plug(tmp_path)
    tpu_tree.enter_runtime(tmp_path)
    before = tpu_tree.sticks(tmp_path)
    assert tpu_tree.enter_runtime(tmp_path)
    assert tpu_tree.sticks(tmp_path) == before


def test_a_stick_that_is_stuck_in_its_bootloader_never_leaves_it(tmp_path: Path) -> None:
    tpu_tree.plug(tmp_path)
    tpu_tree.enter_runtime(tmp_path)
    tpu_tree.stick_in_dfu(tmp_path)
    for _ in range(3):
        assert not tpu_tree.enter_runtime(tmp_path)
        assert tpu_tree.sticks(tmp_path)[0].ids == USB_ID_DFU
        assert tpu_tree.enumerate_again(tmp_path, dfu=True)


def test_a_card_on_pcie_is_opened_like_a_stick(tmp_path: Path) -> None:
    assert not tpu_tree.enter_runtime(tmp_path)
    tpu_tree.set_temperature(tmp_path, 40.0)
    assert tpu_tree.present(tmp_path)
    assert tpu_tree.present(tmp_path, "apex_0")
    assert tpu_tree.enter_runtime(tmp_path)
    tpu_tree.remove(tmp_path)
    assert not tpu_tree.present(tmp_path)


@settings(max_examples=40)
@given(acts=st.lists(st.sampled_from(ACTS), max_size=12))
def test_after_any_history_the_bus_shows_at_most_one_whole_device(
    acts: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    nodes: list[str] = []
    in_socket = False
    for act in acts:
        getattr(tpu_tree, act)(folder)
        in_socket = act == "plug" or (in_socket and act != "unplug")
        sticks = tpu_tree.sticks(folder)
        assert len(sticks) == tpu_tree.present(folder) <= in_socket
        for stick in sticks:
            assert (folder / stick.node.lstrip("/")).exists()
            if nodes[-1:] != [stick.node]:
                nodes.append(stick.node)
    assert len(set(nodes)) == len(nodes), "a device that comes back has a device file that it never had"
    left = list((folder / "sys").glob("devices/sim/*"))
    assert len(left) == len(tpu_tree.sticks(folder)), "nothing is left of devices that went"


def test_a_process_that_is_killed_in_a_change_leaves_the_device_as_it_was_or_as_it_would_be(tmp_path: Path) -> None:
    child = f"""
from pathlib import Path
from appliance.sim import tpu_tree
folder = Path({str(tmp_path)!r})
print("ready", flush=True)
while True:
    tpu_tree.enumerate_again(folder, dfu=True)
    tpu_tree.enter_runtime(folder)
"""
    tpu_tree.plug(tmp_path)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", child], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        seen: set[tuple[int, int]] = set()
        while len(seen) < 2:
            seen |= {stick.ids for stick in tpu_tree.sticks(tmp_path)}
        process.kill()
        process.wait(10)
        process.stdout.close()
        (stick,) = tpu_tree.sticks(tmp_path)
        assert stick.ids in {USB_ID_DFU, USB_ID_RUNTIME}
        assert tpu_tree.enumerate_again(tmp_path), "the lock went with the process"
