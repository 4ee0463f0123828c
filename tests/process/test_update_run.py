"""An update from a real publisher over real HTTP into a real store: v1 to v2, as a delta, ready for the loop."""

from pathlib import Path
from threading import Event

import pytest
import tomli_w

from appliance import config as configuration
from appliance.compose.updates import open_updates
from appliance.errors import ConfigError, ModelError
from appliance.trust.state import Stage
from tests.process.test_update_apply import V1, V2, folder_of
from tests.process.update_fleet import MODEL, Hub, device
from tests.repositories import FileServer
from tests.slots import sample


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


def test_a_rotten_file_of_the_factorys_or_of_another_model_condemns_no_good_update(tmp_path: Path) -> None:
    file = device(tmp_path / "device", V1, Hub(tmp_path / "hub").repository.root_bytes())
    factory = tmp_path / "device" / "factory" / MODEL / V1.version
    other = folder_of(sample("1.0.0", name="other"), tmp_path / "device" / "factory")
    file.write_text(file.read_text() + tomli_w.dumps({"models": {"others": {"folder": str(other)}}}))
    updates = open_updates(configuration.load(file), file)
    good = folder_of(V2, tmp_path / "new")
    for folder in (other, factory):
        updates.suits(MODEL, good)
        (folder / "model.tflite").write_bytes(b"rotten")
    updates.suits(MODEL, good)
    (good / "model.tflite").write_bytes(b"rotten")
    with pytest.raises(ModelError):
        updates.suits(MODEL, good)


def test_an_update_that_the_rules_do_not_fit_is_refused_though_the_factorys_model_is_rotten(tmp_path: Path) -> None:
    file = device(tmp_path / "device", V1, Hub(tmp_path / "hub").repository.root_bytes())
    file.write_text(file.read_text().replace('"cat"', '"unicorn"'))
    updates = open_updates(configuration.load(file), file)
    (tmp_path / "device" / "factory" / MODEL / V1.version / "model.tflite").write_bytes(b"rotten")
    with pytest.raises(ConfigError, match="unicorn"):
        updates.suits(MODEL, folder_of(V2, tmp_path / "new"))


def test_what_a_run_without_an_update_fetches_is_counted_too(tmp_path: Path) -> None:
    hub = Hub(tmp_path / "hub")
    hub.publish(V1)
    with FileServer(hub.files()) as server:
        file = device(tmp_path / "device", V1, hub.repository.root_bytes(), url=server.url)
        updates = open_updates(configuration.load(file), file)
        updates.updater(lambda _state, _received: None, Event()).run()
    assert updates.slots.file("budget.json") is not None
