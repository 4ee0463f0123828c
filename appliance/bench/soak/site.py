"""The appliance that is soaked: four channels and three models on two simulated Edge TPUs, a stick and a card.

Everything but the two devices, the cameras and the broker (there is none) is what a device runs, built from a
configuration. Each Edge TPU has the person model, whose every answer can be held against the truth, beside another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance import config as configuration
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.sensors import make_sensor
from appliance.bench import scene
from appliance.bench.edge import Device, make_device
from appliance.compose import Appliance, Parts, build
from appliance.config import Config, SensorConfig, TpuConfig
from appliance.loop import Channel
from appliance.ports import Clock, Meter, Sensor, SensorContext
from appliance.sim.tpu_faults import CARD, STICK

CAMERAS = {"gate": (STICK, 0.1), "yard": (CARD, 0.25)}
"""Channels that see the pictures in memory: on which Edge TPU, and the seconds from one picture to the next."""
RECORDINGS = {"till": ("fraud", STICK), "wearer": ("heartbeat", CARD)}
"""Channels of the example that is called as the model."""
PLACES = {STICK: "usb:0", CARD: "pci:0"}
"""Which device is meant, as configuration has it."""
PICTURES = 20
OPEN_DEADLINE_S = 4.0
"""Shorter than the default, so that more faults fit into an hour."""
PATIENT: dict[str, object] = {"frame_age_max_s": 20.0, "reasons_max": 0}
"""No frame is too old: whatever gets no result is lost by us. Reasons would ask the model twenty times more."""
NO_BROKER_PORT = 9


@dataclass(frozen=True, slots=True)
class Site:
    """A built appliance, its Edge TPUs, and who uses which."""

    appliance: Appliance
    devices: dict[str, Device]
    users: dict[str, list[Channel]]

    def served(self, device: Device) -> bool:
        """Whether every channel that is to run on ``device`` does."""
        return all(channel.health().backend == "tpu" for channel in self.users[device.name])


@contextmanager
def site(folder: Path, *channels: str) -> Iterator[Site]:
    """Build the appliance below ``folder``, an empty one, with these channels (default: all); no device is opened yet.

    Frees what it holds when it was not run.
    """
    config = _config(folder, channels)
    devices: dict[str, Device] = {}
    pictures = scene.pictures(PICTURES)

    def make(name: str, settings: TpuConfig, _clock: Clock, meter: Meter, state: Path) -> EdgeTpu:
        devices[name] = make_device(name, settings, meter, state)
        return devices[name].tpu

    def sense(settings: SensorConfig, context: SensorContext) -> Sensor:
        if context.channel in CAMERAS:
            return scene.Memory(pictures, period_s=CAMERAS[context.channel][1])
        return make_sensor(settings, context)

    appliance = build(config, parts=Parts(make_tpu=make, make_sensor=sense))
    users: dict[str, list[Channel]] = {name: [] for name in devices}
    for channel in appliance.channels:
        users[config.tpu_of(config.channels[channel.name].model)].append(channel)
    yield Site(appliance, devices, users)


def _config(folder: Path, wanted: tuple[str, ...]) -> Config:
    """The configuration with these channels, by default all."""
    channels: dict[str, dict[str, object]] = {}
    models: dict[str, dict[str, object]] = {}
    person = scene.compiled_folder(scene.PERSON, folder)
    for name, (tpu, _) in CAMERAS.items():
        models[name] = {"folder": person, "backends": ("tpu", "cpu"), "tpu": tpu}
        rule = {"name": "person", "labels": ["person"], "threshold": 0.6, "hold_m": 30, "update_interval_s": 600.0}
        camera = {"kind": "camera", "source": "memory"}
        channels[name] = {"model": name, "sensor": camera, "rules": [rule], **PATIENT}
    for name, (model, tpu) in RECORDINGS.items():
        example = configuration.load(scene.ROOT / "examples" / f"{model}.toml")
        own = scene.compiled_folder(example.models[model].folder.resolve(), folder)
        models[model] = {"folder": own, "backends": ("tpu", "cpu"), "tpu": tpu}
        channels[name] = example.channels[name].model_dump() | PATIENT
    shown = {name: channel for name, channel in channels.items() if name in (wanted or channels)}
    used = {channel["model"] for channel in shown.values()}
    return Config.model_validate(
        {
            "node": {"id": "soak", "state_dir": folder / "state"},
            "mqtt": {"port": NO_BROKER_PORT},
            "tpus": {name: {"device": each, "open_deadline_s": OPEN_DEADLINE_S} for name, each in PLACES.items()},
            "models": {key: model for key, model in models.items() if key in used},
            "channels": shown,
        }
    )
