"""Do sensors, models and rules fit together? What the configuration's own types cannot see."""

import math
from collections.abc import Iterator, Mapping

from appliance.config import ChannelConfig, Config, RuleConfig, SamplesConfig
from appliance.core.model import ClassifyDecode, Model, ScoreDecode, SsdPostprocessedDecode, SsdRawDecode
from appliance.core.types import FrameKind
from appliance.core.wire import STATE_KEYS
from appliance.errors import ConfigError

SENSOR_KINDS = {
    "camera": {FrameKind.IMAGE},
    "picamera": {FrameKind.IMAGE},
    "transactions": {FrameKind.RECORD},
    "samples": {FrameKind.WINDOW},
    "replay": set(FrameKind),
}
"""What each sensor delivers."""


def check_fit(config: Config, models: Mapping[str, Model], file: str) -> None:
    """Raise ConfigError naming every place where channel, sensor, model and rules contradict one another.

    ``models`` are by key of the configuration; ``file`` is for the message.
    """
    faults = [
        f"{file}: channels.{name}.{fault}"
        for name, channel in config.channels.items()
        for fault in _channel_faults(channel, models[channel.model])
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def _channel_faults(channel: ChannelConfig, model: Model) -> Iterator[str]:
    """What is wrong with one channel, each as ``key: sentence``."""
    wanted = model.preprocess.kind
    delivered = SENSOR_KINDS[channel.sensor.kind]
    if wanted not in delivered:
        yield (
            f"sensor.kind: {channel.sensor.kind!r} delivers {_words(delivered)}, but model {model.name} takes "
            f"{wanted.value}; choose {_words(_sensors_for(wanted))}"
        )
    if isinstance(channel.sensor, SamplesConfig) and wanted is FrameKind.WINDOW:
        yield from _window_faults(channel.sensor, model)
    for number, rule in enumerate(channel.rules):
        for fault in _rule_faults(rule, model):
            yield f"rules.{number}.{fault}"


def _window_faults(sensor: SamplesConfig, model: Model) -> Iterator[str]:
    """A window must hold as many values as the model takes."""
    needed = math.prod(model.input.shape) // len(model.preprocess.mean)
    if sensor.length != needed:
        yield f"sensor.length: {sensor.length}, but model {model.name} takes windows of {needed} samples"


def _rule_faults(rule: RuleConfig, model: Model) -> Iterator[str]:
    """A rule must ask for what the model can say, at a score it can reach."""
    known = labels_of(model)
    for label in rule.labels:
        if label not in known:
            yield f"labels: {label!r} is not a label of model {model.name}; it says {_words(known)}"
    if rule.name in STATE_KEYS:
        yield f"name: {rule.name!r} is a fixed key of the state topic; choose another name"
    if _is_probability(model) and not 0.0 < rule.threshold <= 1.0:
        yield f"threshold: {rule.threshold:g} can never separate; scores of {model.name} lie between 0 and 1"
    floor = getattr(model.decode, "score_min", 0.0)
    lowest = rule.threshold if rule.release is None else rule.release
    if lowest < floor:
        key = "threshold" if rule.release is None else "release"
        yield f"{key}: {lowest:g} is below {floor:g}, under which {model.name} reports nothing; raise it"
    boxes = isinstance(model.decode, SsdRawDecode | SsdPostprocessedDecode)
    if not boxes and (rule.zone is not None or rule.height_min > 0.0):
        yield f"zone, height_min: model {model.name} gives no boxes; remove them"


def labels_of(model: Model) -> tuple[str, ...]:
    """Every label the model may say."""
    return model.labels or (getattr(model.decode, "label", ""),)


def _is_probability(model: Model) -> bool:
    """Whether the model's scores are between 0 and 1."""
    decode = model.decode
    if isinstance(decode, ScoreDecode):
        return decode.activation == "sigmoid"
    if isinstance(decode, ClassifyDecode):
        return decode.activation == "softmax"
    return isinstance(decode, SsdRawDecode | SsdPostprocessedDecode)


def _sensors_for(kind: FrameKind) -> tuple[str, ...]:
    """Sensors that deliver ``kind``."""
    return tuple(name for name, kinds in SENSOR_KINDS.items() if kind in kinds)


def _words(names: object) -> str:
    """Quoted names, in order."""
    assert isinstance(names, tuple | set)
    return ", ".join(sorted(repr(str(name)) for name in names))
