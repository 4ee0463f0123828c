"""Every knob of the appliance: its unit, its bounds, its default.

One TOML file. Unknown keys are refused, every number is bounded, every error names the file, the line where it
can be found, the key path and what would be right. Paths in the file are relative to the file.
"""

from appliance.config.channels import ChannelConfig, FallbackConfig, RuleConfig, TilingConfig, ZoneConfig
from appliance.config.device import (
    HealthConfig,
    LogConfig,
    MemoryConfig,
    ModelConfig,
    MqttConfig,
    NodeConfig,
    OutboxConfig,
    TlsConfig,
    TpuConfig,
)
from appliance.config.fields import BackendName
from appliance.config.file import CONFIG_BYTES_MAX, Config, load, parse
from appliance.config.sensors import (
    CameraConfig,
    PicameraConfig,
    QualityConfig,
    ReplayConfig,
    SamplesConfig,
    SamplesFileConfig,
    SamplesIioConfig,
    SamplesSerialConfig,
    SamplesSourceConfig,
    SensorConfig,
    TransactionsConfig,
)
from appliance.config.update import UpdateConfig

__all__ = [
    "CONFIG_BYTES_MAX",
    "BackendName",
    "CameraConfig",
    "ChannelConfig",
    "Config",
    "FallbackConfig",
    "HealthConfig",
    "LogConfig",
    "MemoryConfig",
    "ModelConfig",
    "MqttConfig",
    "NodeConfig",
    "OutboxConfig",
    "PicameraConfig",
    "QualityConfig",
    "ReplayConfig",
    "RuleConfig",
    "SamplesConfig",
    "SamplesFileConfig",
    "SamplesIioConfig",
    "SamplesSerialConfig",
    "SamplesSourceConfig",
    "SensorConfig",
    "TilingConfig",
    "TlsConfig",
    "TpuConfig",
    "TransactionsConfig",
    "UpdateConfig",
    "ZoneConfig",
    "load",
    "parse",
]
