"""The Edge TPUs that a configuration's models run on."""

from collections.abc import Callable
from pathlib import Path

from appliance.adapters.edgetpu import Claims, EdgeTpu
from appliance.adapters.ladder_file import LadderFile
from appliance.adapters.tpu_bus import LinuxTpuBus
from appliance.config import Config, TpuConfig
from appliance.ports import Clock, Meter

MakeTpu = Callable[[str, TpuConfig, Clock, Meter, Path], EdgeTpu]
"""Makes an Edge TPU of its key and section; the folder is for what survives a reboot."""


def make_tpu(name: str, config: TpuConfig, clock: Clock, meter: Meter, folder: Path) -> EdgeTpu:
    """Make one on this device's buses; nothing is opened yet."""
    bus = LinuxTpuBus(name=name, power_cycle=config.power_cycle, clock=clock)
    return EdgeTpu(name, config, bus=bus, clock=clock, meter=meter, kept=LadderFile(folder, name))


def make_tpus(config: Config, make: MakeTpu, clock: Clock, meter: Meter, folder: Path) -> dict[str, EdgeTpu]:
    """Make those that a model wants, by key."""
    wanted = dict.fromkeys(config.tpu_of(key) for key, model in config.models.items() if "tpu" in model.backends)
    made = {name: make(name, config.tpus[name], clock, meter, folder) for name in wanted}
    claims = Claims()
    for tpu in made.values():
        tpu.agree(claims)
    return made
