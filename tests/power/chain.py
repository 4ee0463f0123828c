"""The real updater from an archive to the end, on a store that tells: ``python -m tests.power.chain MATERIAL FOLDER``.

The loop's part, self-test and trial, is done by a stub that is content with everything.
"""

import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from appliance import config as configuration
from appliance.adapters.repository.archive import ArchiveRepository
from appliance.adapters.slots import Slots
from appliance.compose.folders import MODELS_FOLDER
from appliance.compose.updates import open_updates
from appliance.ports import SlotStore
from appliance.trust import plan
from appliance.trust.state import ModelState, Stage
from tests.power.claims import Told
from tests.process.test_update_apply import V1, V2
from tests.process.update_fleet import Hub, device
from tests.slots import MODEL

ARCHIVE, ROOT_FILE = "models.update", "root.json"
RUNS_MAX = 10


def materials(folder: Path) -> bytes:
    """Make what comes from outside: the publisher's root and an archive; returns the bundle that is in it for v1."""
    hub = Hub(folder / "hub")
    hub.publish(V1)
    hub.publish(V2, base=V1)
    hub.archive(folder / ARCHIVE)
    (folder / ROOT_FILE).write_bytes(hub.repository.root_bytes())
    return next(content for path, content in hub.files().items() if path.endswith(f".{V1.model_id}"))


def run(material: Path, folder: Path, *, told: bool) -> ModelState:
    """Go on from wherever the disk says, until v2 serves; each round is what a new process would do."""
    with TemporaryDirectory() as scratch:
        file = device(Path(scratch), V1, (material / ROOT_FILE).read_bytes())
        loaded = configuration.load(file)
        node = loaded.node.model_copy(update={"state_dir": folder})
        updates = open_updates(loaded.model_copy(update={"node": node}), file)
        inner = Slots(folder / MODELS_FOLDER, reserve_bytes=0)  # the rig's disks are small
        slots: SlotStore = Told(inner) if told else inner
        updates = replace(updates, slots=slots)
        for _ in range(RUNS_MAX):
            with ArchiveRepository(material / ARCHIVE) as archive:
                result = updates.updater(lambda _state, _received: None, Event(), archive).run()
            assert result.faults == (), result
            if slots.load(MODEL).stage is Stage.IDLE:
                return slots.load(MODEL)
            _tried(slots)
    raise AssertionError("the update does not end")


def _tried(slots: SlotStore) -> None:
    """Take a candidate through its self-test and its trial."""
    while slots.load(MODEL).stage in plan.LOOP_STAGES:
        with slots.locked(MODEL):
            slots.save(plan.started(slots.load(MODEL)))
        with slots.locked(MODEL):
            slots.save(plan.advance(slots.load(MODEL), plan.Event.DONE))


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), told=True)
