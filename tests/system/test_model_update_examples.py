"""Each model of this repository is replaced while its example runs: pictures, windows and transactions."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from appliance.adapters.slots import Slots
from appliance.config import Config
from appliance.core.types import OutcomeState
from appliance.trust.manifest import Terms
from appliance.trust.state import Stage
from tests.model_folders import FRAUD, HEARTBEAT, MACHINE, PERSON, TINY
from tests.system.device import NODE, ROOT
from tests.system.running import Running, parsed
from tests.system.scenes import PATIENT, lamp
from tests.updates import laid_ready, newer
from tests.waiting import eventually

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"
NOBODY_LISTENS = 9
TERMS = Terms(shadow_frames=8, agreement_min=0.9, decisions_min=12, duration_s=1.0, memory_bytes_max=64 << 20)
WITHIN_S = 120.0


def example(name: str, folder: Path) -> dict[str, Any]:
    """An example whose recording never ends, on a device with updates."""
    tree: dict[str, Any] = tomllib.loads((EXAMPLES / f"{name}.toml").read_text())
    for model in tree["models"].values():
        model["folder"] = str(EXAMPLES / model["folder"])
    for channel in tree["channels"].values():
        sensor = channel["sensor"]
        source = sensor["source"] if isinstance(sensor.get("source"), dict) else sensor
        key = "file" if "file" in source else "source"
        source |= {key: str(EXAMPLES / source[key]), "repeat": True}
        channel.update(PATIENT)
    return with_updates(tree, folder)


def with_updates(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    (folder / "root.json").write_text("{}")
    tree["node"] = {"id": NODE, "state_dir": str(folder / "state")}
    tree["mqtt"] = {"port": NOBODY_LISTENS, "reconnect_min_s": 0.05}
    tree["update"] = {"root_file": str(folder / "root.json")}
    return tree


def replaced(config: Config, folder: Path, source: Path) -> list[tuple[OutcomeState, str]]:
    """Run until a newer version is committed and has decided; outcomes and versions of every decision."""
    slots = Slots(folder / "state" / "models")
    name = source.parent.name
    laid_ready(slots, newer(source, folder / "new", "9.0.0"), TERMS)
    with Running(config) as running:
        decisions = [running.decisions(channel) for channel in config.channels]
        eventually(lambda: slots.load(name).stage is Stage.IDLE, within_s=WITHIN_S)
        state = slots.load(name)
        assert state.outcome == "committed", state.reason

        def decided() -> bool:
            nonlocal decisions
            decisions = [running.decisions(channel) for channel in config.channels]
            return all(each[-1].provenance.model_version == "9.0.0" for each in decisions)

        eventually(decided)
    for each in decisions:
        versions = [decision.provenance.model_version for decision in each]
        assert versions == sorted(versions)
    return [(each.outcome_state, each.provenance.model_version) for of_one in decisions for each in of_one]


@pytest.mark.parametrize(
    ("name", "source"),
    [("fraud", FRAUD), ("heartbeat", HEARTBEAT), ("machine", MACHINE), ("people-walking", PERSON)],
    ids=["fraud", "heartbeat", "machine", "person"],
)
def test_a_model_is_replaced_without_a_frame_lost(name: str, source: Path, tmp_path: Path) -> None:
    told = replaced(parsed(example(name, tmp_path), tmp_path), tmp_path, source)
    assert OutcomeState.NO_RESULT not in {state for state, _ in told}


def test_two_keys_of_one_model_are_replaced_together(tmp_path: Path) -> None:
    one, other = lamp(tmp_path / "one.npz"), lamp(tmp_path / "other.npz") | {"model": "twin"}
    models = {"tiny": {"folder": str(TINY)}, "twin": {"folder": str(TINY)}}
    tree = with_updates({"models": models, "channels": {"one": one, "other": other}}, tmp_path)
    told = replaced(parsed(tree, tmp_path), tmp_path, TINY)
    assert {state for state, _ in told} == {OutcomeState.RESULT}
