"""Which model a device starts with: what is committed, and whatever is wrong with that, one that works."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.compose import Appliance, Parts, build
from appliance.config import Config
from appliance.errors import ModelError, StoreError
from appliance.sim.slots import VolatileSlots
from appliance.trust.state import Stage
from tests.loop.test_compose import config
from tests.model_folders import TINY
from tests.updates import laid_ready, newer, stored

NAME = TINY.parent.name


class Device:
    """A configuration, and a store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.slots = VolatileSlots(folder / "models")
        self.factory = folder / "factory" / NAME / "1.0.0"
        shutil.copytree(TINY, self.factory)
        root = folder / "root.json"
        root.write_text("{}")
        self.update: dict[str, object] = {"root_file": str(root)}

    def config(self) -> Config:
        return config(self.folder, model=self.factory, update=self.update)

    @contextmanager
    def started(self) -> Iterator[Appliance]:
        appliance = build(self.config(), parts=Parts(make_slots=lambda _: self.slots))
        try:
            yield appliance
        finally:
            appliance.close()

    def serves(self) -> tuple[str, str]:
        """The version that decides, and what is said to be wrong with models."""
        with self.started() as appliance:
            [fault] = appliance.supervisor._crew.trials.faults or ("",)  # type: ignore[union-attr]  # there are updates
            health = appliance.channels[0].health()
            assert health.model_version == appliance.channels[0].judge.inference.model.version
            return health.model_version, fault

    def commit(self, model: Path, *, previous: Path | None = None) -> Path:
        """Let the record name a model as committed; returns its folder in the store."""
        ids = {"committed": stored(self.slots, model), "previous": stored(self.slots, previous) if previous else None}
        with self.slots.locked(NAME):
            self.slots.save(self.slots.load(NAME).model_copy(update=ids))
        folder = self.slots.folder(ids["committed"] or "")
        assert folder is not None
        return folder


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_without_an_update_the_factorys_model_serves(device: Device) -> None:
    assert device.serves() == ("1.0.0", "")


def test_the_committed_model_serves(device: Device, tmp_path: Path) -> None:
    device.commit(newer(TINY, tmp_path / "new"))
    assert device.serves() == ("2.0.0", "")
    with device.started() as appliance:
        assert [each.model.version for each in appliance.supervisor._crew.inferences] == ["2.0.0"]


@pytest.mark.parametrize("stage", [Stage.FETCH, Stage.SELFTEST, Stage.TRIAL, Stage.ROLLBACK])
def test_whatever_is_under_way_the_committed_model_is_the_one_to_start_with(
    device: Device, stage: Stage, tmp_path: Path
) -> None:
    device.commit(newer(TINY, tmp_path / "new"))
    laid_ready(device.slots, newer(TINY, tmp_path / "newer", "3.0.0"), stage=stage)
    assert device.serves() == ("2.0.0", "")


def test_a_committed_model_that_is_damaged_gives_way_to_the_one_before_it(device: Device, tmp_path: Path) -> None:
    folder = device.commit(newer(TINY, tmp_path / "new", "3.0.0"), previous=newer(TINY, tmp_path / "new"))
    (folder / "labels.txt").write_bytes(b"red\ngreen\nblack\n")
    version, fault = device.serves()
    assert version == "2.0.0"
    assert fault.startswith(f"model {NAME}: ")
    assert "labels.txt" in fault


def test_a_description_that_is_not_the_one_of_its_id_is_not_believed(device: Device, tmp_path: Path) -> None:
    folder = device.commit(newer(TINY, tmp_path / "new"))
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(f"{text}\n# one byte more\n")
    version, fault = device.serves()
    assert version == "1.0.0"
    assert "damaged" in fault


def test_a_committed_model_that_does_not_open_gives_way(device: Device, tmp_path: Path) -> None:
    device.commit(newer(TINY, tmp_path / "new", input={"zero_point": 1}))
    version, fault = device.serves()
    assert version == "1.0.0"
    assert "tiny-uint8 2.0.0 does not open" in fault


def test_a_committed_model_that_does_not_know_what_a_rule_looks_for_gives_way(device: Device, tmp_path: Path) -> None:
    device.commit(newer(TINY, tmp_path / "new", files={"labels.txt": b"rouge\nvert\nbleu\n"}))
    version, fault = device.serves()
    assert version == "1.0.0"
    assert "'red' is not a label" in fault


def test_a_store_that_cannot_be_read_costs_the_update_and_not_the_start(device: Device, tmp_path: Path) -> None:
    device.commit(newer(TINY, tmp_path / "new"))
    device.slots.script.unreadable = "Input/output error"
    version, fault = device.serves()
    assert version == "1.0.0"
    assert "Input/output error" in fault


def test_a_factory_model_that_is_damaged_is_not_missed_while_another_serves(device: Device, tmp_path: Path) -> None:
    device.commit(newer(TINY, tmp_path / "new"))
    (device.factory / "labels.txt").write_bytes(b"")
    assert device.serves() == ("2.0.0", "")


def test_where_nothing_serves_the_start_says_so(device: Device) -> None:
    (device.factory / "labels.txt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"labels\.txt"):
        build(device.config(), parts=Parts(make_slots=lambda _: device.slots))


def test_without_a_root_file_nobody_looks_at_a_store(device: Device) -> None:
    device.update = {}

    def none(folder: Path) -> VolatileSlots:
        raise StoreError(str(folder))

    appliance = build(device.config(), parts=Parts(make_slots=none))
    try:
        assert appliance.supervisor._crew.trials is None
    finally:
        appliance.close()
