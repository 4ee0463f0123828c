"""The whole configuration, and how it is read."""

import tomllib
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError, model_validator

from appliance.config.channels import ChannelConfig
from appliance.config.device import (
    HealthConfig,
    LogConfig,
    MemoryConfig,
    ModelConfig,
    MqttConfig,
    NodeConfig,
    OutboxConfig,
    TpuConfig,
)
from appliance.config.fields import FOLDER, Identifier
from appliance.config.sensors import CameraConfig, TransactionsConfig
from appliance.config.update import UpdateConfig
from appliance.core.deadline import DEADLINE_CEILING_S
from appliance.errors import ConfigError
from appliance.schema import Section, describe, key_lines

CONFIG_BYTES_MAX = 1_000_000
"""A configuration larger than this is not one."""
DEADLINE_SHARE = 0.5
"""Of a frame's greatest age, what may be spent on waiting for an Edge TPU; the rest is the twin's."""
CLOSE_S = 2.0
"""More than a camera takes to let a device go that hangs."""


class Config(Section):
    """The whole configuration."""

    node: NodeConfig = NodeConfig()
    mqtt: MqttConfig = MqttConfig()
    outbox: OutboxConfig = OutboxConfig()
    memory: MemoryConfig = MemoryConfig()
    tpus: dict[Identifier, TpuConfig] = Field(default_factory=lambda: {"tpu": TpuConfig()}, min_length=1, max_length=8)
    models: dict[Identifier, ModelConfig] = Field(min_length=1)
    channels: dict[Identifier, ChannelConfig] = Field(min_length=1, max_length=32)
    health: HealthConfig = HealthConfig()
    update: UpdateConfig = UpdateConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _watchdog_waits_for_capture(self) -> Self:
        for name, channel in self.channels.items():
            keys, longest_s = "capture_timeout_s", channel.capture_timeout_s
            if isinstance(channel.sensor, CameraConfig):
                keys = f"{keys} plus sensor.open_timeout_s and {CLOSE_S:g} to close it"
                longest_s += channel.sensor.open_timeout_s + CLOSE_S
            if longest_s >= self.health.stall_after_s:
                msg = (
                    f"channels.{name}.{keys} ({longest_s:g}) must be less than health.stall_after_s "
                    f"({self.health.stall_after_s:g}), or a slow sensor reads as a stalled loop"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _tpus_exist(self) -> Self:
        for name, model in self.models.items():
            known = ", ".join(sorted(self.tpus))
            if model.tpu is not None and model.tpu not in self.tpus:
                msg = f"models.{name}.tpu names {model.tpu!r}, which is not under tpus (there: {known})"
                raise ValueError(msg)
            if "tpu" in model.backends and model.tpu is None and len(self.tpus) > 1:
                msg = f"models.{name}.tpu is missing: there are several ({known}); name one"
                raise ValueError(msg)
            if len(set(model.backends)) < len(model.backends):
                msg = f"models.{name}.backends names one twice"
                raise ValueError(msg)
            if model.backends[-1] == "tpu":
                msg = f"models.{name}.backends ends with 'tpu'; the last is the twin that must always answer: add 'cpu'"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _a_stall_leaves_time_for_the_twin(self) -> Self:
        for name, channel in self.channels.items():
            model = self.models.get(channel.model)
            if model is None or "tpu" not in model.backends or model.invoke_deadline_s is None:
                continue
            if model.invoke_deadline_s >= channel.frame_age_max_s:
                msg = (
                    f"models.{channel.model}.invoke_deadline_s ({model.invoke_deadline_s:g}) must be less than "
                    f"channels.{name}.frame_age_max_s ({channel.frame_age_max_s:g}), or a frame that meets a stall is "
                    "too old for the twin; leave it out to have it measured"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _tpus_are_several(self) -> Self:
        used = {self.tpu_of(key) for key, model in self.models.items() if "tpu" in model.backends}
        wanted = {name: _plain(tpu.device) for name, tpu in self.tpus.items() if name in used}
        forms = {device.partition(":")[0] == "" for device in wanted.values()}
        if len(set(wanted.values())) < len(wanted) or len(forms) > 1:
            told = ", ".join(f"{name} {self.tpus[name].device!r}" for name in wanted)
            msg = f"tpus: two may mean the same device ({told}); number them: all ':N', or all 'usb:N' and 'pci:N'"
            raise ValueError(msg)
        return self

    def deadline_max_s(self, model: str) -> float:
        """Longest wait for an answer of ``model`` that leaves its channels' frames young enough for the twin's."""
        ages_s = [channel.frame_age_max_s for channel in self.channels.values() if channel.model == model]
        return min([DEADLINE_CEILING_S, *(age_s * DEADLINE_SHARE for age_s in ages_s)])

    def tpu_of(self, model: str) -> str:
        """Key of the Edge TPU that serves ``model``, a key of ``models``."""
        return self.models[model].tpu or next(iter(self.tpus))

    @model_validator(mode="after")
    def _models_exist(self) -> Self:
        for name, channel in self.channels.items():
            if channel.model not in self.models:
                known = ", ".join(sorted(self.models))
                msg = f"channels.{name}.model names {channel.model!r}, which is not under models (there: {known})"
                raise ValueError(msg)
            if isinstance(channel.sensor, TransactionsConfig) and self.mqtt.protocol != "5":
                msg = f'channels.{name}: a transactions sensor needs mqtt.protocol = "5" (response topics)'
                raise ValueError(msg)
        return self


def _plain(device: str) -> str:
    """A device with its number: the first where none is given."""
    return device if ":" in device else f"{device}:0"


def load(file: Path) -> Config:
    """Read a configuration; its relative paths become relative to its folder. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}; give the path of a TOML file (see examples/)"
        raise ConfigError(msg) from error
    if len(raw) > CONFIG_BYTES_MAX:
        msg = f"{file}: larger than {CONFIG_BYTES_MAX} bytes; this is not a configuration"
        raise ConfigError(msg)
    try:
        text = raw.decode("utf-8")
        tree = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{file}: not TOML: {error}"
        raise ConfigError(msg) from error
    return parse(tree, text=text, file=file)


def parse(tree: dict[str, object], *, text: str, file: Path) -> Config:
    """Check a parsed TOML tree. ``text`` and ``file`` are for the messages and relative paths. Raises ConfigError."""
    try:
        return Config.model_validate(tree, context={FOLDER: file.resolve().parent})
    except ValidationError as error:
        raise ConfigError(
            describe(error, str(file), tree=tree, lines=key_lines(text), hint="`appliance check --keys`")
        ) from error
