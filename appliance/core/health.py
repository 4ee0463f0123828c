"""What the appliance says of itself: each channel's level, the node's, and why. Pure.

Three tables hold the rules, for a channel, for an Edge TPU and for the node; the first row of ``_CHANNEL_RULES`` that
applies gives a channel's level. What is *normal* in the field is not a fault: a clock that nothing has ever
synchronised is reported, and degrades nothing; an Edge TPU that opens for the first time is no fault either. One that
serves but wants a hand (it is warm, its cable is bad) degrades nothing: what to do stands in ``appliance.core.advice``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter

from appliance.core.accelerator import TpuHealth
from appliance.core.advice import CLIMBING, advice, worst
from appliance.core.recovery import State
from appliance.core.types import ClockState, OutcomeState

STATUS_LINE_CHARACTERS_MAX = 200
"""Longest status line; ``systemctl status`` shows it on one line."""
_SPOOL_FULL_FRACTION = 0.8
"""From this much of a bound the outbox is said to be filling up: while there is still time to act."""


class Level(StrEnum):
    """How well something does its work."""

    OK = "ok"
    DEGRADED = "degraded"
    """It works, but not as configured."""
    FAILED = "failed"
    """It does not do its work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelHealth:
    """What is known of one channel."""

    channel: str
    sensor_ok: bool
    backend: str
    """The one that serves the model now; empty when none does."""
    degraded: bool
    """Another backend than the first of the model's order serves."""
    model: str
    model_version: str
    model_sha256: str
    outcome_state: OutcomeState | None
    """Of the newest decision; None before the first."""
    fault: str
    """What is wrong, in the words of the error; empty when nothing is."""
    last_decision_s: float
    """Monotonic time of the newest progress; before any, of the channel's start."""
    decisions: int
    frames_per_s: float
    backend_fault: str = ""
    """Why the first backend of the order does not serve; empty while it does."""
    finished: bool = False
    """The recording was played to its end: the channel has no more work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxHealth:
    """What is known of the outbox. Counts are since the start of the process, but for ``dead_letters``."""

    rows: int
    """Messages waiting."""
    rows_max: int
    size_bytes: int
    size_bytes_max: int
    in_memory: int
    """Of the waiting messages, those that the disk would not take."""
    dropped: int
    """Messages lost because the outbox was full."""
    dead_letters: int
    """Messages the broker refused for good, kept."""
    unstored: int
    """Alerts that neither disk nor memory would take: lost."""
    volatile: bool = False
    """The disk could not be used at the start: all that waits is in memory."""


@dataclass(frozen=True, slots=True)
class Report:
    """The appliance's health at one moment."""

    level: Level
    levels: dict[str, Level]
    """Of each channel, by name."""
    faults: tuple[str, ...]
    """What is wrong, in words, channels first, then models and Edge TPUs; empty exactly when ``level`` is ok."""
    channels: tuple[ChannelHealth, ...]
    outbox: OutboxHealth
    broker_connected: bool
    clock: ClockState
    tpus: tuple[TpuHealth, ...]


@dataclass(frozen=True, slots=True)
class _Node:
    """What the node's rules look at."""

    levels: tuple[Level, ...]
    outbox: OutboxHealth
    before: OutboxHealth
    broker_connected: bool


_Why = Callable[[ChannelHealth], str]
_FAULT: _Why = attrgetter("fault")
_BACKEND_FAULT: _Why = attrgetter("backend_fault")

_CHANNEL_RULES: tuple[tuple[Callable[[ChannelHealth], bool], Level, str, _Why], ...] = (
    (lambda channel: channel.finished, Level.OK, "", _FAULT),
    (lambda channel: _begins(channel), Level.OK, "", _FAULT),  # noqa: PLW0108 - defined below the table
    (lambda channel: not channel.sensor_ok, Level.FAILED, "sensor lost", _FAULT),
    (lambda channel: not channel.backend, Level.FAILED, "no backend", _FAULT),
    (lambda channel: channel.outcome_state is OutcomeState.NO_SIGNAL, Level.DEGRADED, "no signal", _FAULT),
    (
        lambda channel: channel.outcome_state is OutcomeState.NO_RESULT,
        Level.DEGRADED,
        "frames cannot be judged",
        _FAULT,
    ),
    (lambda channel: channel.degraded, Level.DEGRADED, "not on the first backend", _BACKEND_FAULT),
    (lambda channel: True, Level.OK, "", _FAULT),  # noqa: ARG005 - the row that always applies
)
"""Applies?, the channel's level, in words, and where the reason stands."""

_TPU_RULES: tuple[tuple[Callable[[TpuHealth], bool], str], ...] = (
    (lambda tpu: tpu.state is State.REPLACE, "replace hardware{why}"),
    (lambda tpu: tpu.state is State.UNFIT, "its software does not fit, the CPU decides{why}"),
    (lambda tpu: tpu.state is State.CPU_ONLY, "not brought back, the CPU decides{why}"),
    (lambda tpu: tpu.state in CLIMBING, "being brought back ({state}){why}"),
    (lambda tpu: bool(tpu.refused), "not used for {refused}"),
)
"""Applies?, and in words. Each degrades the node, and no more: the twin answers."""

_NODE_RULES: tuple[tuple[Callable[[_Node], bool], Level, str], ...] = (
    (lambda node: all(level is Level.FAILED for level in node.levels), Level.FAILED, "no channel works"),
    (lambda node: any(level is not Level.OK for level in node.levels), Level.DEGRADED, ""),
    (lambda node: node.outbox.unstored > node.before.unstored, Level.FAILED, "alerts cannot be stored"),
    (lambda node: node.outbox.dropped > node.before.dropped, Level.DEGRADED, "outbox is full and drops messages"),
    (lambda node: node.outbox.dead_letters > node.before.dead_letters, Level.DEGRADED, "broker refuses messages"),
    (lambda node: node.outbox.in_memory > 0, Level.DEGRADED, "outbox is in memory: the disk takes nothing"),
    (lambda node: node.outbox.volatile, Level.DEGRADED, "outbox is in memory until the next start: check the disk"),
    (lambda node: _filling(node.outbox), Level.DEGRADED, "outbox is filling up"),
    (lambda node: not node.broker_connected, Level.DEGRADED, "broker not connected"),
)
"""Applies?, the node's level at least, and in words (none where a channel has said it already)."""

_ORDER = (Level.OK, Level.DEGRADED, Level.FAILED)


def assess(
    channels: Sequence[ChannelHealth],
    *,
    outbox: OutboxHealth,
    before: OutboxHealth | None,
    broker_connected: bool,
    clock: ClockState,
    tpus: Sequence[TpuHealth] = (),
    models: Sequence[str] = (),
) -> Report:
    """Put together what is known.

    Args:
        channels: all of them, at least one.
        outbox: as it is now.
        before: as it was at the report before, so that a loss is told while it goes on and not for ever; None at
            the first report.
        broker_connected: there is a session with the broker.
        clock: how far the wall clock can be believed.
        tpus: the Edge TPUs that a channel's model is to run on; one that nothing needs is left out by the caller.
        models: what is wrong with stored models and their updates, in words; each degrades the node.
    """
    assert channels, "an appliance without a channel does nothing"
    told = [_assess_channel(channel) for channel in channels]
    of_parts = (*models, *(words for tpu in tpus for words in _faults_of(tpu)))
    node = _Node(tuple(level for level, _ in told), outbox, before or outbox, broker_connected)
    applying = [
        *((Level.DEGRADED, words) for words in of_parts),
        *((level, words) for applies, level, words in _NODE_RULES if applies(node)),
    ]
    return Report(
        level=max((level for level, _ in applying), key=_ORDER.index, default=Level.OK),
        levels={channel.channel: level for channel, (level, _) in zip(channels, told, strict=True)},
        faults=tuple(words for _, words in (*told, *applying) if words),
        channels=tuple(channels),
        outbox=outbox,
        broker_connected=broker_connected,
        clock=clock,
        tpus=tuple(tpus),
    )


def stalled(channels: Sequence[ChannelHealth], now_s: float, stall_after_s: float) -> tuple[str, ...]:
    """Name the channels that made no progress for ``stall_after_s``, up to the monotonic time ``now_s``.

    Progress is a decision (NO_RESULT is one: a lost sensor does not stall) or a sensor that is well and idle. The
    watchdog is fed only while no channel is named. A channel that has finished does not stall.
    """
    return tuple(
        channel.channel
        for channel in channels
        if not channel.finished and now_s - channel.last_decision_s >= stall_after_s
    )


def status_line(report: Report) -> str:
    """Say the report in one line of at most STATUS_LINE_CHARACTERS_MAX, for systemd's ``STATUS=``.

    What to do about an Edge TPU stands before the faults: it is short, and they may be cut off.
    """
    works = sum(level is not Level.FAILED for level in report.levels.values())
    rate = sum(channel.frames_per_s for channel in report.channels)
    line = (
        f"{report.level}: {works} of {len(report.levels)} channels work, {rate:.1f} frames/s, "
        f"{report.outbox.rows} messages waiting"
    )
    todo = advice(worst(report.tpus)) if report.tpus else ""
    said = (line, *([f"Edge TPU: {todo}"] if todo else ()), *report.faults)
    line = " ".join("; ".join(said).split())
    return line if len(line) <= STATUS_LINE_CHARACTERS_MAX else line[: STATUS_LINE_CHARACTERS_MAX - 1] + "…"


def _begins(channel: ChannelHealth) -> bool:
    """Tell whether nothing is known yet: no decision, no fault. A start is not an alarm."""
    return channel.outcome_state is None and not channel.fault and bool(channel.backend) and not channel.sensor_ok


def _assess_channel(channel: ChannelHealth) -> tuple[Level, str]:
    """Return the level of one channel and what is wrong with it, in words."""
    level, words, why = next((level, words, why) for applies, level, words, why in _CHANNEL_RULES if applies(channel))
    if not words:
        return level, ""
    reason = why(channel)
    return level, f"{channel.channel}: {words}" + (f" ({reason})" if reason else "")


def _faults_of(tpu: TpuHealth) -> list[str]:
    """Say what is wrong with an Edge TPU; nothing where it does what it is there for."""
    blanks = {
        "state": tpu.state.value,
        "why": f": {tpu.reason}" if tpu.reason else "",
        "refused": "; ".join(tpu.refused),
    }
    return [f"Edge TPU {tpu.name}: {words.format_map(blanks)}" for applies, words in _TPU_RULES if applies(tpu)]


def _filling(outbox: OutboxHealth) -> bool:
    """Tell whether the outbox is near one of its bounds."""
    rows_fraction = outbox.rows / outbox.rows_max
    size_fraction = outbox.size_bytes / outbox.size_bytes_max
    return max(rows_fraction, size_fraction) >= _SPOOL_FULL_FRACTION
