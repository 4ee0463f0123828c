"""The store of models on a real disk keeps the contract; what only a disk can do to it stands in test_slots_disk.py."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.adapters.slots import Slots
from appliance.ports import SlotStore
from tests.contract.slot_suite import SlotContract


class TestSlots(SlotContract):
    @pytest.fixture
    def slots(self, tmp_path: Path) -> SlotStore:
        return Slots(tmp_path / "state" / "models")

    @pytest.fixture
    def again(self, tmp_path: Path) -> Callable[[], SlotStore]:
        return lambda: Slots(tmp_path / "state" / "models")
