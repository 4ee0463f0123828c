"""Channels and their rules."""

from typing import Self

from pydantic import Field, model_validator

from appliance.config.fields import Fraction, Identifier, Point
from appliance.config.sensors import SensorConfig
from appliance.core.rule import Rule
from appliance.core.tiling import OVERLAP_MAX, SIDE_MAX, Tiling
from appliance.core.types import REASONS_MAX, Severity
from appliance.schema import Section


class ZoneConfig(Section):
    """Part of the picture in which a rule counts."""

    polygon: tuple[Point, ...] = Field(min_length=3, max_length=64)
    """Corners ``[x, y]``; a box counts when the middle of its lower edge is inside."""


class RuleConfig(Section):
    """When predictions become an event."""

    name: Identifier
    """Key in the state topic, and the entity's name."""
    labels: tuple[str, ...] = Field(min_length=1)
    threshold: float
    """Score at which a frame counts as a hit (the model's own scale; 0 to 1 for probabilities)."""
    release: float | None = None
    """Hysteresis: while an event is active, scores down to this still count; default: threshold."""
    hold_n: int = Field(default=1, ge=1, le=1000)
    hold_m: int = Field(default=1, ge=1, le=1000)
    """An event begins when hold_n of the last hold_m judged frames were hits, and ends when all of them were none."""
    cooldown_s: float = Field(default=0.0, ge=0.0, le=86_400.0)
    """After an event's end no new one begins for this long."""
    update_interval_s: float = Field(default=10.0, ge=0.1, le=86_400.0)
    """How often an active event says that it goes on."""
    zone: ZoneConfig | None = None
    height_min: Fraction = 0.0
    """Boxes lower than this fraction of the picture's height do not count."""
    severity: Severity = Severity.WARNING

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.release is not None and self.release > self.threshold:
            msg = f"release ({self.release}) must not be above threshold ({self.threshold})"
            raise ValueError(msg)
        if self.hold_n > self.hold_m:
            msg = f"hold_n ({self.hold_n}) must not be above hold_m ({self.hold_m})"
            raise ValueError(msg)
        return self

    def to_rule(self) -> Rule:
        """The rule as the core knows it: every default resolved."""
        return Rule(
            name=self.name,
            labels=frozenset(self.labels),
            threshold=self.threshold,
            release=self.threshold if self.release is None else self.release,
            hold_n=self.hold_n,
            hold_m=self.hold_m,
            cooldown_s=self.cooldown_s,
            update_interval_s=self.update_interval_s,
            polygon=self.zone.polygon if self.zone else None,
            height_min=self.height_min,
            severity=self.severity,
        )


class FallbackConfig(Section):
    """What is said of a transaction that has no score: a card without history, or no backend that answers."""

    field: str = Field(default="amount", min_length=1, max_length=64)
    """The number of the request that is compared."""
    limit: float = Field(ge=0.0, le=1e12)
    """Up to it the outcome is ``below_limit`` (let pass, flagged), else ``above_limit`` (ask somebody)."""
    severity: Severity = Severity.WARNING
    """Of those above the limit; those that may pass are flagged as ``info``."""


class TilingConfig(Section):
    """Parts of a picture that are judged beside the whole, for people who are small or far away.

    Each tile costs one inference more: frame_age_max_s must allow for all of them.
    """

    columns: int = Field(ge=1, le=SIDE_MAX)
    rows: int = Field(ge=1, le=SIDE_MAX)
    overlap: float = Field(default=0.3, ge=0.0, le=OVERLAP_MAX)
    """Share of a tile that its neighbour shows too; at least the size of the people sought."""

    @model_validator(mode="after")
    def _several(self) -> Self:
        if self.columns * self.rows == 1:
            msg = "1 column and 1 row are the whole picture, which is judged anyway; remove tiling or give more"
            raise ValueError(msg)
        return self

    def to_tiling(self) -> Tiling:
        """The tiling as the core knows it."""
        return Tiling(self.columns, self.rows, self.overlap)


class ChannelConfig(Section):
    """One sensor, one model, one policy."""

    model: Identifier
    """Key under ``models``."""
    sensor: SensorConfig
    rules: tuple[RuleConfig, ...] = Field(min_length=1, max_length=32)
    tiling: TilingConfig | None = None
    fallback: FallbackConfig | None = None
    reasons_max: int = Field(default=3, ge=0, le=REASONS_MAX)
    """Reasons a decision carries, where the model's features have names; 0 gives none."""
    capture_timeout_s: float = Field(default=2.0, ge=0.01, le=300.0)
    """Longest wait for a frame; then the channel says NO_RESULT and the sensor is reopened."""
    frame_age_max_s: float = Field(default=1.0, ge=0.001, le=300.0)
    """An older frame gets NO_RESULT, not a judgement of the past."""
    reopen_min_s: float = Field(default=0.5, ge=0.01, le=60.0)
    reopen_max_s: float = Field(default=30.0, ge=0.1, le=3600.0)
    state_interval_s: float = Field(default=10.0, ge=0.1, le=60.0)
    """How often the state topic is refreshed when nothing changed."""

    @model_validator(mode="after")
    def _distinct_rules(self) -> Self:
        names = [rule.name for rule in self.rules]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"two rules have the name {twice[0]!r}; each rule of a channel needs its own"
            raise ValueError(msg)
        return self
