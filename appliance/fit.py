"""Do sensors, models and rules fit together? What the configuration's own types cannot see."""

import math
from collections.abc import Iterator, Mapping

from appliance.config import BackendName, ChannelConfig, Config, ModelConfig, RuleConfig, SamplesConfig
from appliance.core.fallback import ABOVE_LIMIT, BELOW_LIMIT
from appliance.core.model import (
    BeatsExtract,
    ClassifyDecode,
    Model,
    ScoreDecode,
    SpectrumExtract,
    SsdPostprocessedDecode,
    SsdRawDecode,
    Task,
)
from appliance.core.types import FrameKind
from appliance.core.wire import STATE_KEYS
from appliance.errors import ConfigError
from appliance.trust.consistency import EDGETPU_FILE, MODEL_FILE, ONNX_FILE

SENSOR_KINDS = {
    "camera": {FrameKind.IMAGE},
    "picamera": {FrameKind.IMAGE},
    "transactions": {FrameKind.RECORD},
    "samples": {FrameKind.WINDOW},
    "replay": set(FrameKind),
}
"""What each sensor delivers."""
BACKEND_FILES: Mapping[BackendName, tuple[str, str]] = {
    "tpu": (EDGETPU_FILE, f"appliance forge compile {MODEL_FILE}"),
    "onnx": (ONNX_FILE, "python models/to_onnx.py FOLDER"),
}
"""Backends that open another file than the one every folder has: that file, and the command that makes it."""


def check_fit(config: Config, models: Mapping[str, Model], file: str) -> None:
    """Raise ConfigError naming every place where channel, sensor, model, backends and rules contradict one another.

    ``models`` are by key of the configuration; ``file`` is for the message.
    """
    faults = [
        f"{file}: models.{name}.{fault}"
        for name, section in config.models.items()
        for fault in _backend_faults(section, models[name])
    ]
    faults += [
        f"{file}: channels.{name}.{fault}"
        for name, channel in config.channels.items()
        for fault in _channel_faults(channel, models[channel.model])
    ]
    if faults:
        raise ConfigError("\n".join(faults))


def _backend_faults(section: ModelConfig, model: Model) -> Iterator[str]:
    """A backend must find the file that it opens in the model's folder."""
    missing = {"tpu": model.tflite_edgetpu is None, "onnx": model.onnx is None}
    for backend in section.backends:
        if missing.get(backend, False):
            needed, command = BACKEND_FILES[backend]
            yield (
                f"backends: {backend!r} runs {needed}, and the folder of {model.name} {model.version} has none; "
                f"`{command}` makes it on a build machine (models/README.md says how it gets there), or remove "
                f"{backend!r}"
            )


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
    if channel.tiling is not None and not (wanted is FrameKind.IMAGE and model.task is Task.DETECT):
        yield f"tiling: model {model.name} does not look for things in pictures, so tiles tell nothing; remove it"
    if channel.fallback is not None and channel.fallback.field not in model.fields:
        there = f"it has {_words(model.fields)}" if model.fields else "only transactions have fields"
        yield f"fallback.field: {channel.fallback.field!r} is no field of model {model.name}; {there}"
    for number, rule in enumerate(channel.rules):
        for fault in _rule_faults(rule, model):
            yield f"rules.{number}.{fault}"


def _window_faults(sensor: SamplesConfig, model: Model) -> Iterator[str]:
    """A window must hold as many samples as the model takes, at the rate that its features are made for."""
    extract = model.extract if isinstance(model.extract, BeatsExtract | SpectrumExtract) else None
    needed = extract.length if extract else math.prod(model.input.shape) // len(model.preprocess.mean)
    if sensor.length != needed:
        yield f"sensor.length: {sensor.length}, but model {model.name} takes windows of {needed} samples"
    if extract and sensor.rate_hz != extract.rate_hz:
        yield f"sensor.rate_hz: {sensor.rate_hz:g}, but model {model.name} takes {extract.rate_hz:g}"
    if isinstance(extract, BeatsExtract) and sensor.stride != extract.stride:
        yield f"sensor.stride: {sensor.stride}, but model {model.name} judges each beat once at {extract.stride}"


def _rule_faults(rule: RuleConfig, model: Model) -> Iterator[str]:
    """A rule must ask for what the model can say, at a score it can reach."""
    known = labels_of(model)
    for label in rule.labels:
        if label not in known:
            yield f"labels: {label!r} is not a label of model {model.name}; it says {_words(known)}"
    if rule.name in STATE_KEYS | {BELOW_LIMIT, ABOVE_LIMIT}:
        yield f"name: {rule.name!r} is a fixed word of the state topic; choose another name"
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
