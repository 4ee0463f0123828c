"""What a model says of itself beyond its tensors: limits, metrics, where it comes from, what it was made from.

None of it changes a decision. It is for the person who chooses a model, and for ``appliance model verify``, which
holds a device against the limits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """What one inference may cost where the model is meant to run. None: the author sets no limit."""

    latency_ms_max: float | None = None
    """Median time of one invoke on ``latency_on``, in milliseconds."""
    latency_on: str = ""
    """The reference hardware of ``latency_ms_max``, with the number of threads."""
    memory_bytes_max: int | None = None
    """What opening the model and invoking it once adds to the process's resident memory: arena and weights."""


@dataclass(frozen=True, slots=True)
class ModelMetric:
    """A measured figure, with what it was measured on and the command that measures it again."""

    name: str
    value: float
    data: str
    command: str
    low: float | None = None
    """Lower end of the 95 % interval; None, as ``high``, for what has no sampling error (a size)."""
    high: float | None = None
    unit: str = ""
    """Empty for fractions and areas under curves."""

    def __str__(self) -> str:
        """Say the value with its interval and unit."""
        unit = f" {self.unit}" if self.unit else ""
        if self.low is None or self.high is None:
            return f"{self.value:,.7g}{unit}"
        return f"{self.value:,.4g} [{self.low:,.4g}, {self.high:,.4g}]{unit}"


@dataclass(frozen=True, slots=True)
class ModelProvenance:
    """Who made the model, of what, with what."""

    training_data: str
    data_licence: str
    made_by: str
    """The recipe, as a path in the repository, or the command."""
    seeds: tuple[int, ...] = ()
    toolchain: Mapping[str, str] = field(default_factory=dict)
    """Package to version."""


@dataclass(frozen=True, slots=True)
class DataCard:
    """The data a model was made from and tested on."""

    what: str
    """What one example is, and how many there are."""
    source: str
    """Where they come from: recorded by whom and when, or simulated by what."""
    missing: str
    """What is not in them, so that nobody relies on it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything of the kind; each part may be missing."""

    limits: Limits = field(default_factory=Limits)
    metrics: tuple[ModelMetric, ...] = ()
    provenance: ModelProvenance | None = None
    data: DataCard | None = None
    measured_lsb: Mapping[str, int] = field(default_factory=dict)
    """For each role the largest difference that was seen between ``runtimes``; the tolerance is that and a margin."""
    runtimes: tuple[str, ...] = ()
    """Runtimes in which the golden vectors were held against one another, the one that gave them first."""
