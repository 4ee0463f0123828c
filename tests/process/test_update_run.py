"""An update from a real publisher over real HTTP into a real store: v1 to v2, as a delta, ready for the loop."""

from pathlib import Path
from threading import Event

from appliance import config as configuration
from appliance.compose.updates import open_updates
from appliance.trust.state import Stage
from tests.process.test_update_apply import V1, V2
from tests.process.update_fleet import MODEL, Hub, device
from tests.repositories import FileServer


def test_v2_is_fetched_as_a_delta_against_v1_applied_in_a_child_and_stands_at_its_self_test(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub")
    hub.publish(V1)
    hub.publish(V2, base=V1)
    with FileServer(hub.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url)
        updates = open_updates(configuration.load(file), file)
        with updates.alone() as free:
            assert free
            result = updates.updater(lambda _state, _received: None, Event()).run()
    assert result.faults == ()
    state = updates.slots.load(MODEL)
    assert (state.stage, state.latest_version, state.failures) == (Stage.SELFTEST, "2.0.0", 0)
    folder = updates.slots.folder(V2.model_id)
    assert folder is not None
    assert {path: (folder / path).read_bytes() for path in V2.files} == V2.files
    assert updates.running(MODEL).version == "1.0.0", "until the loop has tried it"
    fetched = [path for path, _ in server.asked if path.startswith("/targets/")]
    assert [path.endswith(V1.model_id) for path in fetched] == [True], "the delta, once"
