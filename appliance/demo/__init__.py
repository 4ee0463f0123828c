"""``appliance demo``: the whole appliance on bundled footage and recordings, watched in a terminal."""

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from types import FrameType

from rich.console import Console
from rich.live import Live

from appliance import config as configuration
from appliance.adapters.broker import EmbeddedBroker
from appliance.adapters.mqtt import PahoLink
from appliance.compose import Appliance, build
from appliance.config import Config, MqttConfig
from appliance.core.types import Message
from appliance.demo.listener import Listener
from appliance.demo.view import View
from appliance.errors import BrokerError, ConfigError
from appliance.supervise import EXIT_BUG

ROOT = Path(__file__).parents[2]
EXAMPLES = tuple(
    ROOT / "examples" / name for name in ("people-walking.toml", "fraud.toml", "heartbeat.toml", "machine.toml")
)
"""Each is a configuration of its own; the demo runs all of their channels in one appliance."""
REFRESH_HZ = 5
LINE_INTERVAL_S = 5.0
METRICS_INTERVAL_S = 1.0
"""The view shows latencies as the metrics topic tells them, so the topic is livelier than on a device."""
STOP_TIMEOUT_S = 15.0
"""More than the appliance takes when two rounds of its threads hang."""
DELIVERED, NOT_DELIVERED = 0, 1
"""Exit codes: at least one alert made the round trip, or none did in the time given."""


def run(*, seconds: float | None, console: Console) -> int:
    """Run the demo for ``seconds``, or until Ctrl-C. Returns its exit code.

    Raises ConfigError, ModelError or BrokerError when it cannot start.
    """
    for missing in (file for file in EXAMPLES if not file.exists()):
        message = f"{missing}: not there; the demo needs a clone of the repository (its models and its recordings)"
        raise ConfigError(message)
    with _broker(console) as (port, protocol), tempfile.TemporaryDirectory(prefix="appliance-demo-") as state:
        config = _config(port, protocol, Path(state))
        appliance = build(config)
        listener = Listener(config.mqtt, appliance.identity.base, appliance.clock)
        listener.start()
        view = View(appliance.channels, listener, _subscribe_line(port, config.mqtt.root), console)
        for channel in appliance.channels:
            channel.watch = view.watch
        try:
            code = _watch(appliance, view, seconds=seconds, console=console)
        finally:
            listener.stop()
        delivered = _conclude(appliance, listener, console)
        return code or (NOT_DELIVERED if seconds is not None and not delivered else DELIVERED)


@contextlib.contextmanager
def _broker(console: Console) -> Iterator[tuple[int, str]]:
    """Give port and protocol of the broker on this machine, or of an embedded one."""
    default = MqttConfig(protocol="3.1.1", connect_timeout_s=1.0)
    link = PahoLink(default, client_id="", will=Message("appliance-demo/will", None))
    try:
        link.connect([])
    except BrokerError:
        console.print("no broker answers on 127.0.0.1:1883: starting an embedded one ...")
        with EmbeddedBroker() as broker:
            yield broker.port, "3.1.1"
    else:
        link.close()
        console.print("using the broker on 127.0.0.1:1883")
        yield default.port, default.protocol


def _config(port: int, protocol: str, state_dir: Path) -> Config:
    """The examples' channels in one configuration, on this broker and with a state folder of its own."""
    examples = [configuration.load(file) for file in EXAMPLES]
    loaded = examples[0]
    models = {key: model for example in examples for key, model in example.models.items()}
    channels = {name: channel for example in examples for name, channel in example.channels.items()}
    assert len(channels) == sum(len(example.channels) for example in examples), "two examples share a channel's name"
    mqtt = loaded.mqtt.model_copy(update={"port": port, "protocol": protocol})
    node = loaded.node.model_copy(update={"state_dir": state_dir})
    health = loaded.health.model_copy(update={"metrics_interval_s": METRICS_INTERVAL_S})
    log = loaded.log.model_copy(update={"level": "warning"})
    update = {"mqtt": mqtt, "node": node, "health": health, "log": log, "models": models, "channels": channels}
    return loaded.model_copy(update=update)


def _subscribe_line(port: int, root: str) -> str:
    """The command that shows the alerts, with a client this machine has."""
    if shutil.which("mosquitto_sub"):
        return f"mosquitto_sub -h 127.0.0.1 -p {port} -t '{root}/#' -v"
    return f".venv/bin/amqtt_sub --url mqtt://127.0.0.1:{port} -t '{root}/#'"


def _watch(appliance: Appliance, view: View, *, seconds: float | None, console: Console) -> int:
    """Run the appliance in the background and draw it until time, Ctrl-C, or its own end; return its exit code."""
    stop, ended = Event(), Event()
    codes: list[int] = []

    def work() -> None:
        try:
            codes.append(appliance.run(stop))
        finally:
            ended.set()

    # Waited for by an event: a Thread.join that Ctrl-C interrupts takes the thread for ended (CPython 3.11's
    # Thread._wait_for_tstate_lock), and the process would end under the running appliance.
    Thread(target=work, name="appliance", daemon=True).start()
    deadline_s = None if seconds is None else appliance.clock.monotonic_s() + seconds
    try:
        with contextlib.suppress(KeyboardInterrupt), _interrupted_once():
            if console.is_terminal:
                with Live(get_renderable=view.render, console=console, refresh_per_second=REFRESH_HZ, screen=False):
                    _until(deadline_s, appliance, ended)
            else:
                while not _until(deadline_s, appliance, ended, at_most_s=LINE_INTERVAL_S):
                    console.print(view.line(), soft_wrap=True)
    finally:
        stop.set()
        ended.wait(STOP_TIMEOUT_S)
    return codes[0] if codes else EXIT_BUG


@contextlib.contextmanager
def _interrupted_once() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt here, once. From then on, and after this, it changes nothing: it is ending.

    It stays so until the process has ended: there is nothing after the demo that it should interrupt.
    """
    ours = current_thread() is main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:  # and nobody has it ignored, as in the background of a shell
        signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _interrupted(number: int, _frame: FrameType | None) -> None:
    """Ctrl-C was pressed for the first time."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _until(deadline_s: float | None, appliance: Appliance, ended: Event, *, at_most_s: float | None = None) -> bool:
    """Wait for the deadline or the appliance's own end; say whether it came (not merely ``at_most_s``)."""
    while not ended.is_set():
        now_s = appliance.clock.monotonic_s()
        left_s = float("inf") if deadline_s is None else deadline_s - now_s
        if left_s <= 0:
            return True
        slice_s = min(left_s, at_most_s or 1.0)
        ended.wait(slice_s)
        if at_most_s is not None and not ended.is_set() and left_s > at_most_s:
            return False
    return True


def _conclude(appliance: Appliance, listener: Listener, console: Console) -> bool:
    """Say what happened; return whether an alert made the round trip."""
    published = sum(channel.progress.alerts for channel in appliance.channels)
    decisions = sum(channel.progress.decisions for channel in appliance.channels)
    for channel in appliance.channels:
        told = f"{channel.progress.decisions} decisions, {channel.progress.alerts} alerts published"
        console.print(f"  {channel.name}: {told}, {listener.by_channel[channel.name]} received", soft_wrap=True)
    console.print(
        f"{decisions} decisions, {published} alerts published, {listener.count} received back over the broker",
        soft_wrap=True,
    )
    if not listener.count:
        console.print("no alert made the round trip", style="bold red")
    return listener.count > 0
