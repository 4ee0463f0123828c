"""``[limits]``, ``[[metrics]]``, ``[provenance]`` and ``[data]`` of a ``model.toml``; every one may be left out."""

from typing import Annotated, Self

from pydantic import Field, Strict, StringConstraints, model_validator

from appliance.core.facts import DataCard, Limits, ModelMetric, ModelProvenance
from appliance.schema import Section

MEMORY_BYTES_MAX = 16 * 1024**3
"""More than any board the appliance is for has."""
LATENCY_MS_MAX = 3_600_000.0
"""An hour: more is a wrong unit."""

_Number = Annotated[float, Strict()]
_Words = Annotated[str, StringConstraints(min_length=1, max_length=1000, pattern=r"\S")]
_Short = Annotated[str, StringConstraints(min_length=1, max_length=120, pattern=r"\S")]
_Package = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class LimitsSection(Section):
    """``[limits]``."""

    latency_ms_max: Annotated[_Number, Field(gt=0.0, le=LATENCY_MS_MAX)] | None = None
    latency_on: Annotated[str, StringConstraints(max_length=120)] = ""
    memory_bytes_max: Annotated[int, Strict(), Field(ge=1, le=MEMORY_BYTES_MAX)] | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if (self.latency_ms_max is None) != (not self.latency_on.strip()):
            msg = "latency_ms_max and latency_on go together: a time means nothing without the hardware it is for"
            raise ValueError(msg)
        return self

    def fact(self) -> Limits:
        """The core's value."""
        return Limits(**self.model_dump())


class MetricSection(Section):
    """One of ``[[metrics]]``. No metric without the command that measures it again."""

    name: _Short
    value: _Number
    low: _Number | None = None
    high: _Number | None = None
    unit: Annotated[str, StringConstraints(max_length=16)] = ""
    data: _Words
    command: _Words

    @model_validator(mode="after")
    def _interval(self) -> Self:
        if (self.low is None) != (self.high is None):
            msg = "low and high are the two ends of one interval; give both or neither"
            raise ValueError(msg)
        if self.low is not None and self.high is not None and not self.low <= self.value <= self.high:
            msg = f"value {self.value} is not from low {self.low} to high {self.high}"
            raise ValueError(msg)
        return self

    def fact(self) -> ModelMetric:
        """The core's value."""
        return ModelMetric(**self.model_dump())


class ProvenanceSection(Section):
    """``[provenance]``."""

    training_data: _Words
    data_licence: _Words
    made_by: _Words
    seeds: tuple[Annotated[int, Strict()], ...] = Field(default=(), max_length=64)
    toolchain: dict[_Package, _Short] = Field(default_factory=dict, max_length=64)

    def fact(self) -> ModelProvenance:
        """The core's value."""
        return ModelProvenance(**self.model_dump())


class DataSection(Section):
    """``[data]``: the data card."""

    what: _Words
    source: _Words
    missing: _Words

    def fact(self) -> DataCard:
        """The core's value."""
        return DataCard(**self.model_dump())


Metrics = Annotated[tuple[MetricSection, ...], Field(max_length=100)]
