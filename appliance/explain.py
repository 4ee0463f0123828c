"""Explains configurations and models to a person: tables and texts for the command line."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tomli_w
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rich.markup import escape
from rich.table import Column, Table

from appliance.adapters.model_folder import read_model
from appliance.compose import prove_folder
from appliance.compose.cost import available_bytes, measure, together
from appliance.config import Config, ModelConfig
from appliance.core.facts import Limits, ModelMetric
from appliance.core.model import Model, TensorSpec
from appliance.schema import hide_credentials

NUMBERS_MAX = 8
"""More numbers in a row nobody reads."""


def effective(config: Config) -> str:
    """The configuration as TOML with every default filled in; passwords inside URLs are hidden."""
    return tomli_w.dumps(_without_credentials(config.model_dump(mode="json", exclude_none=True)))


def _without_credentials(value: Any) -> Any:  # noqa: ANN401 - any value of a TOML tree
    """A part of a configuration with the credentials of its URLs hidden."""
    if isinstance(value, dict):
        return {key: _without_credentials(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_credentials(each) for each in value]
    return hide_credentials(value) if isinstance(value, str) else value


def keys_table() -> Table:
    """Every key of the configuration: path, type, bounds, default, meaning."""
    columns = [Column(name, overflow="fold") for name in ("key", "value", "default", "meaning")]
    table = Table(*columns, title="keys of the configuration", title_justify="left")
    for path, field in _keys(Config, ""):
        default = "required" if field.is_required() else _shown(field)
        meaning = " ".join((field.description or "").replace("``", "").split())
        table.add_row(*(escape(cell) for cell in (path, _type_and_bounds(field), default, meaning)))
    return table


def _keys(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, FieldInfo]]:
    """Walk a section and those below it; alternatives (a sensor's kinds) one after another."""
    for name, field in section.model_fields.items():
        below = list(dict.fromkeys(_sections(field.annotation)))
        if not below:
            yield f"{prefix}{name}", field
        level = f"{prefix}{name}." + ("<name>." if "dict" in str(field.annotation) else "")
        for each in below:
            kind = get_args(each.model_fields["kind"].annotation)[0] if "kind" in each.model_fields else ""
            yield from _keys(each, level.removesuffix(".") + (f"({kind})." if kind else "."))


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - typing's forms have no common type
    """The sections that an annotation mentions, through unions, dicts and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)


def _type_and_bounds(field: FieldInfo) -> str:
    """``int, 1 to 65535`` and the like."""
    limits = {type(each).__name__: each for each in field.metadata}
    low = next((getattr(limits[kind], kind.lower()) for kind in ("Ge", "Gt") if kind in limits), None)
    high = next((getattr(limits[kind], kind.lower()) for kind in ("Le", "Lt") if kind in limits), None)
    words = _type_words(field.annotation)
    if low is None and high is None:
        return words
    return f"{words}, {'' if low is None else f'{low:g}'} to {'' if high is None else f'{high:,g}'}"


def _type_words(annotation: Any) -> str:  # noqa: ANN401 - typing's forms have no common type
    """A type as a person would write it: alternatives with ``|``, a key that may be left out without its None."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation in {None, type(None), Ellipsis}:
        return ""
    if origin is Literal:
        return " | ".join(repr(part) for part in parts)
    if origin is Annotated:
        return _type_words(parts[0])
    if origin in {Union, UnionType}:
        return " | ".join(filter(None, map(_type_words, parts)))
    if origin in {tuple, dict}:
        return f"{origin.__name__} of {', '.join(dict.fromkeys(filter(None, map(_type_words, parts))))}"
    return str(getattr(annotation, "__name__", annotation))


def _shown(field: FieldInfo) -> str:
    """A default as it would be written."""
    value = field.get_default(call_default_factory=True, validated_data={})
    return "none" if value is None else str(getattr(value, "value", value))


def model_table(model: Model) -> Table:
    """What a model says of itself."""
    columns = [Column(overflow="fold"), Column(overflow="fold")]
    table = Table(*columns, show_header=False, title=f"{model.name} {model.version}", title_justify="left")
    rows = {
        "description": model.description,
        "task": model.task.value,
        "licence": model.licence,
        "source": model.source,
        "sha256": model.sha256,
        "size": f"{len(model.tflite):,} bytes",
        "input": _tensor(model.input),
        "preprocess": f"{model.preprocess.kind.value}, {_normalisation(model)}",
        "extract": "-" if model.extract is None else str(model.extract),
        "decode": type(model.decode).__name__,
        "labels": ", ".join(model.labels) or "-",
        "golden vectors": f"{len(model.golden.inputs)}, tolerance {dict(model.golden.tolerance_lsb)} steps",
    }
    for key, value in rows.items():
        table.add_row(key, value)
    for role, spec in model.outputs.items():
        table.add_row(f"output {role}", _tensor(spec))
    if model.preprocess.features:
        table.add_row("features", ", ".join(model.preprocess.features))
    for key, value in _facts(model):
        table.add_row(key, escape(value))
    return table


def _facts(model: Model) -> Iterator[tuple[str, str]]:
    """What a model says of itself beyond tensors, a row each."""
    facts, limits = model.facts, model.facts.limits
    if model.extract is not None:
        yield "extract", type(model.extract).__name__
    if facts.runtimes:
        yield "runtimes compared", f"{', '.join(facts.runtimes)}: {dict(facts.measured_lsb)} steps apart"
    if limits.latency_ms_max is not None:
        yield "latency limit", f"{limits.latency_ms_max:g} ms an invoke on {limits.latency_on}"
    if limits.memory_bytes_max is not None:
        yield "memory limit", f"{limits.memory_bytes_max:,} bytes"
    yield from ((f"metric {each.name}", _told_metric(each)) for each in facts.metrics)
    parts = {"provenance": facts.provenance, "data": facts.data}
    told = ((name, *item) for name, part in parts.items() if part is not None for item in asdict(part).items())
    yield from ((f"{name}: {key.replace('_', ' ')}", _told(value)) for name, key, value in told if value)


def _told_metric(metric: ModelMetric) -> str:
    return f"{metric}, on {metric.data}; measured by: {metric.command}"


def _told(value: object) -> str:
    """A fact in one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _normalisation(model: Model) -> str:
    """Mean and std, where they are few enough to be read."""
    mean, std = model.preprocess.mean, model.preprocess.std
    return f"mean {mean}, std {std}" if len(mean) <= NUMBERS_MAX else f"mean and std of {len(mean)} features"


def _tensor(spec: TensorSpec) -> str:
    """One tensor in a line."""
    shape = " x ".join(str(side) for side in spec.shape)
    affine = f", real = (q - {spec.zero_point}) * {spec.scale:.6g}" if spec.scale else ""
    return f"{spec.name}: {spec.dtype.value} [{shape}]{affine}"


def proof(folder: Path) -> Iterator[str]:
    """Prove a model folder on this device's CPU; yields what was shown, measured and warned of, a line each.

    Raises ModelError, BackendError.
    """
    model, config = read_model(folder), ModelConfig(folder=folder)
    cost = measure(model, config)
    yield f"{folder}: sound. Digests and tensors agree; {prove_folder(model, config)}"
    yield f"on this device's CPU {cost}"
    for passed in cost.beyond(model.facts.limits):
        yield f"warning: {passed}"
    for metric in model.facts.metrics:
        yield f"{metric.name}: {_told_metric(metric)}"


def limits_passed(config: Config) -> Iterator[str]:
    """What a configuration's models cost on this device beyond what their authors allow, a sentence each.

    Raises ModelError, BackendError.
    """
    wanted_bytes = 0
    for name, settings in config.models.items():
        model = read_model(settings.folder)
        limits = model.facts.limits
        wanted_bytes += limits.memory_bytes_max or 0
        if limits != Limits():
            yield from (f"model {name}: {sentence}" for sentence in measure(model, settings).beyond(limits))
    yield from together(wanted_bytes, available_bytes())
