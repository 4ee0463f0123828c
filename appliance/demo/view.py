"""What a person sees of the running appliance, in a terminal."""

from collections.abc import Sequence
from threading import Lock

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from appliance.core.policy import outcome
from appliance.core.types import Array, Decision, Frame, FrameKind, OutcomeState
from appliance.demo.listener import Heard, Listener
from appliance.demo.picture import draw
from appliance.loop import Channel

PICTURE_COLUMNS_MAX = 72
PICTURE_COLUMNS_MIN = 24
"""A smaller picture shows nothing and is left out."""
ROWS_BESIDE = 26
"""What the rest of the view takes of the terminal's height."""
SEVERITY_STYLES = {"info": "cyan", "warning": "yellow", "critical": "bold red"}


class View:
    """Draws channels, the newest picture, and the alerts that came back over the broker.

    The picture stays in this process: it is drawn, never sent.
    """

    def __init__(self, channels: Sequence[Channel], listener: Listener, subscribe_line: str, console: Console) -> None:
        """``subscribe_line`` is the command that shows the alerts in another terminal; ``console`` knows its size."""
        self._channels = channels
        self._listener = listener
        self._subscribe_line = subscribe_line
        self._console = console
        self._lock = Lock()
        self._seen: tuple[Array, Decision] | None = None

    def watch(self, frame: Frame | None, decision: Decision) -> None:
        """Keep the newest picture and its decision (called on the loop's thread)."""
        if frame is not None and frame.kind is FrameKind.IMAGE:
            with self._lock:
                self._seen = (frame.data, decision)

    def render(self) -> RenderableType:
        """The whole view, as of now."""
        return Group(self._picture(), self._table(), self._alerts(), Text.from_markup(self._footer()))

    def line(self) -> str:
        """The same in few words, for pipes and logs: a line a channel, and one for all of them."""
        p50, p99 = self._latencies()
        lines = [
            f"{row['channel']}: {row['outcome']} score {row['score']} on {row['backend']}, {row['frames/s']} frames/s, "
            f"{row['published']} alerts published, {row['received']} received"
            for row in self._rows()
        ]
        total = f"capture to publish p50 {_number(p50)} p99 {_number(p99)} ms, {self._listener.count} alerts received"
        return "\n".join([*lines, total])

    def _rows(self) -> list[dict[str, str]]:
        """One row a channel: the columns of the table."""
        return [_row(channel, self._listener.by_channel[channel.name]) for channel in self._channels]

    def _latencies(self) -> tuple[float | None, float | None]:
        """From capture to publish, over all channels: p50 and p99 in ms, once they are known."""
        p50, p99 = (self._listener.metrics.get(f"capture_to_publish_{name}_ms") for name in ("p50", "p99"))
        return p50, p99

    def _picture(self) -> RenderableType:
        """The newest frame with its boxes."""
        with self._lock:
            seen = self._seen
        if seen is None:
            return Text("waiting for the first picture")
        picture, decision = seen
        columns = self._picture_columns(picture)
        if columns < PICTURE_COLUMNS_MIN:
            return Text("(a taller terminal shows the picture, too)", style="dim")
        active = [prediction for prediction in decision.predictions if prediction.score >= decision.threshold]
        drawn = draw(picture, active, columns=columns)
        return Panel(drawn, title=f"{decision.channel}: what the model sees (stays here)", width=columns + 4)

    def _picture_columns(self, picture: Array) -> int:
        """How wide the picture may be for the whole view to fit; a character is two pixels high."""
        height, width = picture.shape[:2]
        fitting = (self._console.height - ROWS_BESIDE) * 2 * width // height
        return int(min(PICTURE_COLUMNS_MAX, self._console.width - 4, fitting))

    def _table(self) -> RenderableType:
        """The channels."""
        p50, p99 = self._latencies()
        title = f"channels (capture to publish: p50 {_number(p50)} ms, p99 {_number(p99)} ms)"
        table = Table(title=title, title_justify="left", expand=False)
        rows = self._rows()
        for column in rows[0] if rows else ():
            table.add_column(column, no_wrap=True)
        for row in rows:
            table.add_row(*row.values())
        return table

    def _alerts(self) -> RenderableType:
        """What came back over the broker."""
        table = Table(title=f"{self._listener.count} alerts received over MQTT", title_justify="left", show_header=True)
        for column in ("topic", "event", "rule", "score", "seq", "capture to here", "why"):
            table.add_column(column, no_wrap=True)
        for channel in self._channels:
            for heard in list(self._listener.heard.get(channel.name, ())):
                table.add_row(*_alert_row(heard), style=SEVERITY_STYLES.get(str(heard.event.get("severity")), ""))
        return table

    def _footer(self) -> str:
        """How to see the alerts without us."""
        return f"subscribe in another terminal:  [bold]{self._subscribe_line}[/bold]     Ctrl-C ends"


def _row(channel: Channel, received: int) -> dict[str, str]:
    """The table's row for one channel."""
    decision = channel.progress.last_decision
    top = decision.top if decision else None
    return {
        "channel": channel.name,
        "outcome": outcome(decision) if decision else "starting",
        "score": f"{top.score:.2f}" if top else "-",
        "backend": (decision.provenance.backend or "none") if decision else "-",
        "frames/s": f"{channel.progress.frames_per_s:.1f}",
        "published": str(channel.progress.alerts),
        "received": str(received),
        "because": _because(decision),
    }


def _because(decision: Decision | None) -> str:
    """What there is to say beside the score: why there is none, or what moved it most."""
    if decision is None:
        return ""
    if decision.outcome_state is OutcomeState.RESULT:
        return next((f"{reason.feature} {reason.effect:+.2f}" for reason in decision.reasons), "")
    return decision.reason


def _alert_row(heard: Heard) -> tuple[str, ...]:
    """The table's row for one alert."""
    event = heard.event
    score = f"{event['score']:.2f}"
    return (
        "/".join(heard.topic.split("/")[-2:]),
        str(event["event_type"]),
        str(event["kind"]),
        score,
        str(event["seq"]),
        f"{heard.trip_ms:.1f} ms",
        str(event.get("reason_1_words", event.get("reason_1", ""))),
    )


def _number(value: float | None) -> str:
    """A latency, or that there is none yet."""
    return "-" if value is None else f"{value:.1f}"
