"""From a configuration to a wired appliance: what is shared, what is proven first, and what a failed start leaves."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from appliance import config as configuration
from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.sensors.replay import write_recording
from appliance.compose import STATE_DIRECTORY, Appliance, Parts, build, check, state_dir, try_sensors
from appliance.config import BackendName, Config, ModelConfig, SensorConfig
from appliance.core.types import FrameKind
from appliance.errors import ConfigError, ModelError, NoBackendError, OutboxError, SensorError
from appliance.frames import Ahead, InTurn
from appliance.ports import Backend, SensorContext
from appliance.sim.backend import ScriptedBackend
from appliance.sim.clock import ManualClock
from appliance.sim.sensor import Lose, Rest, ScriptedTerminal, Step
from appliance.supervise import EXIT_OK
from tests.channels import GREEN, RED, show
from tests.model_folders import CARD, TINY, VIBRATION

NOBODY_LISTENS = 9
FRAMES = 20
FRAME_AGE_MAX_S = 60.0
"""No frame is so old before it is judged, on however busy a machine."""


def recording(folder: Path) -> Path:
    """Two red pictures and two green ones, in turn."""
    file = folder / "lamp.npz"
    frames = np.stack([RED, RED, GREEN, GREEN] * (FRAMES // 4))
    write_recording(file, FrameKind.IMAGE, frames, np.arange(FRAMES) / 100)
    return file


def config(folder: Path, *channels: str, model: Path = TINY, **sections: dict[str, Any]) -> Config:
    """Channels that play the recording as fast as they are asked, with no broker, and judge no frame too old for it."""
    rule = {"name": "red", "labels": ["red"], "threshold": 0.5}
    sensor = {"kind": "replay", "file": str(recording(folder)), "speed": "fast"}
    channel = {"model": "tiny", "sensor": sensor, "rules": [rule], "frame_age_max_s": FRAME_AGE_MAX_S}
    tree: dict[str, Any] = {
        "node": {"id": "n1", "state_dir": str(folder / "state")},
        "mqtt": {"port": NOBODY_LISTENS, "connect_timeout_s": 0.1},
        "models": {"tiny": {"folder": str(model)}},
        "channels": dict.fromkeys(channels or ("gate",), channel),
        **sections,
    }
    return configuration.parse(tree, text="", file=folder / "appliance.toml")


@contextmanager
def built(config: Config, parts: Parts | None = None) -> Iterator[Appliance]:
    appliance = build(config, parts=parts)
    try:
        yield appliance
    finally:
        appliance.close()


class Backends:
    """Makes scripted backends, and keeps them."""

    def __init__(self) -> None:
        self.made: list[ScriptedBackend] = []

    def make(self, name: BackendName, config: ModelConfig) -> Backend:
        backend = ScriptedBackend(CpuBackend.from_config(config), ManualClock(auto_advance=True), name=name)
        self.made.append(backend)
        return backend


def test_a_recording_is_judged_to_its_end_and_its_alerts_wait_for_a_broker(tmp_path: Path) -> None:
    appliance = build(config(tmp_path, "gate", "yard"))
    assert appliance.run(Event()) == EXIT_OK
    for channel in appliance.channels:
        assert channel.progress.decisions == FRAMES
        assert channel.progress.alerts == FRAMES // 2, "a NEW and an END for every four frames"
    with built(config(tmp_path)) as again:
        waiting = again.supervisor._crew.outbox.depth().rows
        assert waiting >= FRAMES, "a metrics message may wait with the alerts"


def test_channels_of_one_model_share_it(tmp_path: Path) -> None:
    backends = Backends()
    with built(config(tmp_path, "gate", "yard"), Parts(make_backend=backends.make)):
        assert [backend.opens for backend in backends.made] == [1]


def test_every_model_is_proven_before_anything_runs(tmp_path: Path) -> None:
    backends = Backends()
    with built(config(tmp_path), Parts(make_backend=backends.make)) as appliance:
        assert backends.made[0].invokes == len(appliance.channels[0].judge.model.golden.inputs)
        assert appliance.channels[0].progress.decisions == 0


def test_a_model_that_no_backend_serves_is_no_start(tmp_path: Path) -> None:
    def absent(name: BackendName, settings: ModelConfig) -> Backend:
        backend = Backends().make(name, settings)
        assert isinstance(backend, ScriptedBackend)
        backend.refuse(9)
        return backend

    with pytest.raises(NoBackendError, match=r"tiny-uint8 1\.0\.0: cpu: no device"):
        build(config(tmp_path), parts=Parts(make_backend=absent))
    assert not (tmp_path / "state" / "outbox.db").exists()


def test_a_broken_model_or_a_misfit_is_found_before_the_outbox_is_touched(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model folder"):
        build(config(tmp_path, model=tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"^my\.toml: channels\.gate\.rules\.0\.labels"):
        build(config(tmp_path, model=VIBRATION), file=Path("my.toml"))
    assert not (tmp_path / "state" / "outbox.db").exists()


def test_two_appliances_on_one_state_directory_are_one_too_many(tmp_path: Path) -> None:
    with built(config(tmp_path)), pytest.raises(OutboxError, match="another process"):
        build(config(tmp_path))
    with built(config(tmp_path)):
        """The first one let go."""


def test_a_metrics_port_that_is_taken_is_told_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with built(config(tmp_path, health={"metrics_port": port})):
            """It is there."""
    told = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    [reason] = [each["reason"] for each in told if each["event"] == "metrics are not served"]
    assert f"127.0.0.1:{port} cannot be had" in reason


def test_each_start_gives_its_events_other_ids(tmp_path: Path) -> None:
    clock = ManualClock()
    prefixes = []
    for _ in range(2):
        with built(config(tmp_path), Parts(clock=clock)) as appliance:
            prefixes.append(appliance.channels[0]._policy_state.event_prefix)
        clock.advance(1.0)
    assert len(set(prefixes)) == 2


def test_systemds_state_directory_takes_the_place_of_the_configured_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(tmp_path)
    monkeypatch.delenv(STATE_DIRECTORY, raising=False)
    assert state_dir(made) == tmp_path / "state"
    monkeypatch.setenv(STATE_DIRECTORY, f"{tmp_path}/first:{tmp_path}/second")  # systemd gives a list
    assert state_dir(made) == tmp_path / "first"
    with built(made):
        assert (tmp_path / "first" / "outbox.db").exists()
    assert not (tmp_path / "state" / "outbox.db").exists()


def test_pictures_are_prepared_ahead_and_everything_else_in_turn(tmp_path: Path) -> None:
    with built(config(tmp_path)) as pictures:
        assert isinstance(pictures.channels[0]._frames, Ahead)
    with built(_cards(tmp_path)) as records:
        assert isinstance(records.channels[0]._frames, InTurn)


def test_only_a_sensor_that_was_asked_is_answered(tmp_path: Path) -> None:
    with built(_cards(tmp_path)) as appliance:
        assert appliance.channels[0]._responder is not None
    with built(config(tmp_path)) as appliance:
        assert appliance.channels[0]._responder is None


def _cards(folder: Path) -> Config:
    channel = {
        "model": "card",
        "sensor": {"kind": "transactions"},
        "rules": [{"name": "fraud", "labels": ["fraud"], "threshold": 0.9}],
    }
    return config(folder, models={"card": {"folder": str(CARD)}}, channels={"terminal": channel})


def test_check_says_what_build_would_and_touches_nothing(tmp_path: Path) -> None:
    check(config(tmp_path), file=tmp_path / "a.toml")
    with pytest.raises(ConfigError, match=r"a\.toml: channels"):
        check(config(tmp_path, model=VIBRATION), file=tmp_path / "a.toml")
    assert not (tmp_path / "state").exists()


class Sensors:
    """Makes one scripted sensor for each channel, and keeps it."""

    def __init__(self, **scripts: Step) -> None:
        self.made: dict[str, ScriptedTerminal] = {}
        self._scripts = scripts

    def make(self, _config: SensorConfig, context: SensorContext) -> ScriptedTerminal:
        sensor = ScriptedTerminal([self._scripts[context.channel]], ManualClock(auto_advance=True))
        self.made[context.channel] = sensor
        return sensor


def test_trying_the_sensors_tells_what_each_sees_and_lets_it_go(tmp_path: Path) -> None:
    sensors = Sensors(gate=show(RED), yard=Rest())
    seen = list(try_sensors(config(tmp_path, "gate", "yard"), parts=Parts(make_sensor=sensors.make)))
    assert seen == [("gate", "image of 16 x 16 x 3"), ("yard", "well, nothing to judge yet")]
    assert all(not sensor.is_open for sensor in sensors.made.values())


def test_trying_a_dead_sensor_names_its_channel_and_lets_it_go(tmp_path: Path) -> None:
    sensors = Sensors(gate=show(RED), yard=Lose())
    with pytest.raises(SensorError, match="channel yard: the script says that the device is lost"):
        list(try_sensors(config(tmp_path, "gate", "yard"), parts=Parts(make_sensor=sensors.make)))
    assert all(not sensor.is_open for sensor in sensors.made.values())
