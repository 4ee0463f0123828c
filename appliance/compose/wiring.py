"""The shared edges, and how channels, publisher and supervisor are made of them."""

import contextlib
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

from appliance.adapters.clock import SystemClock
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.memory import SqliteMemory
from appliance.adapters.metrics import PrometheusMeter
from appliance.adapters.mqtt import PahoLink
from appliance.adapters.systemd import make_service_manager
from appliance.board import Board
from appliance.compose.appliance import Appliance, Parts
from appliance.compose.folders import memory_folder, state_dir
from appliance.compose.publishing import identity_of, make_publisher
from appliance.compose.routes import routed
from appliance.compose.tpus import make_tpus
from appliance.compose.trials import Library, WorkerSandbox, make_trials
from appliance.config import BackendName, ChannelConfig, Config, OutboxConfig
from appliance.core import wire
from appliance.core.attribution import explainable
from appliance.core.backoff import Backoff
from appliance.core.fallback import Fallback
from appliance.core.features import make_extractor
from appliance.core.model import Model
from appliance.core.policy import Policy
from appliance.core.preprocess import Preprocessor
from appliance.core.types import FrameKind
from appliance.errors import ConfigError
from appliance.frames import Ahead, Frames, InTurn, measured
from appliance.inference import Inference, Judge
from appliance.keeper import Keeper, Remembering
from appliance.log import FaultLog, get
from appliance.loop import Channel, Edges, Limits
from appliance.outbox import Outbox, UnavailableError
from appliance.ports import Backend, Clock, Responder, Sensor, SensorContext
from appliance.reasons import Reasons
from appliance.sensing import Sensing
from appliance.supervise import Crew, Supervisor
from appliance.trial import Trials, Workshop

VOLATILE_BYTES_MAX = 16_000_000
"""What alerts may take of the memory while the disk cannot be used."""


class Wiring:
    """The shared edges, and how a channel is made of them. Opens nothing until ``appliance``."""

    def __init__(self, config: Config, library: Library, parts: Parts) -> None:
        self._config, self._library, self._parts = config, library, parts
        self._folder = state_dir(config)
        self._system_clock = SystemClock(self._folder)
        self._clock: Clock = parts.clock or self._system_clock
        self._meter = PrometheusMeter(self._clock)
        self._faults = FaultLog(get("appliance"), self._clock.monotonic_s)
        self._stop = Event()
        self._volatile_folder: Path | None = None
        self._extractors = {
            name: Remembering(make_extractor(extract))
            for name, channel in config.channels.items()
            if (extract := library.models[channel.model].extract) is not None
        }
        self._tpus: dict[str, EdgeTpu] = {}
        self._identity = identity_of(config, self._folder, self._clock)
        self._link = PahoLink(
            config.mqtt,
            client_id=f"{config.mqtt.root}-{self._identity.node}",
            will=wire.availability(self._identity, online=False),
        )
        self._board = Board(on_put=self._link.wake)

    def appliance(self) -> Appliance:
        """Prove the models, open the outbox, wire everything."""
        self._config = routed(self._config, self._library.models, self._folder)
        self._tpus = make_tpus(self._config, self._parts.make_tpu, self._clock, self._meter, self._folder)
        inferences = {key: self._serving(key) for key in self._config.models}
        outbox = self._outbox()
        keeper = self._keeper()
        edges = Edges(outbox, self._board, self._clock, self._meter, self._faults, self._identity)
        channels = tuple(
            self._channel(name, channel, inferences[channel.model], edges)
            for name, channel in self._config.channels.items()
        )
        opened = list(inferences.values())
        trials = self._trials(edges, channels, inferences, opened)
        crew = Crew(
            channels=channels,
            inferences=opened,
            tpus=tuple(self._tpus.values()),
            publisher=make_publisher(self._config, self._link, edges, self._library.models, trials),
            outbox=outbox,
            board=self._board,
            clock=self._clock,
            meter=self._meter,
            faults=self._faults,
            service=self._parts.service or make_service_manager(),
            identity=self._identity,
            keeper=keeper,
            housekeep=self._system_clock.record_floor,
            outbox_limits=self._config.outbox,
            outbox_volatile=self._volatile_folder is not None,
            stop=self._stop,
            trials=trials,
        )
        self._serve_metrics()
        supervisor = Supervisor(crew, self._config.health)
        return Appliance(channels, self._clock, self._meter, self._identity, supervisor, self._volatile_folder)

    def sensor(self, name: str, channel: ChannelConfig) -> Sensor:
        """Make a channel's sensor; it opens nothing."""
        context = SensorContext(
            channel=name,
            model=self._library.models[channel.model],
            clock=self._clock,
            meter=self._meter,
            mqtt=self._config.mqtt,
            identity=self._identity,
        )
        return self._parts.make_sensor(channel.sensor, context)

    def _channel(self, name: str, channel: ChannelConfig, inference: Inference, edges: Edges) -> Channel:
        """Wire one channel."""
        sensor = self.sensor(name, channel)
        sensing = Sensing(
            sensor,
            channel=name,
            timeout_s=channel.capture_timeout_s,
            backoff=Backoff(channel.reopen_min_s, channel.reopen_max_s),
            jitter=random.random,
            clock=self._clock,
            meter=self._meter,
            stop=self._stop,
        )
        judge = self._judge(name, inference)
        return Channel(
            name,
            frames=self._frames(name, channel, judge, sensor, sensing),
            responder=sensor if isinstance(sensor, Responder) else None,
            judge=judge,
            policy=Policy(name, tuple(rule.to_rule() for rule in channel.rules), _fallback(channel, inference.model)),
            limits=Limits(channel.frame_age_max_s, channel.state_interval_s),
            edges=edges,
            event_prefix=f"{self._clock.boot_id[:8]}-{round(self._clock.monotonic_s() * 1e3):x}",
        )

    def _trials(
        self, edges: Edges, channels: Sequence[Channel], serving: Mapping[str, Inference], opened: list[Inference]
    ) -> Trials | None:
        """Let newer models be tried with what channels are made of; what is opened meanwhile is in ``opened``."""

        def inference(key: str, model: Model) -> Inference:
            opened.append(self._candidate(key, model))
            return opened[-1]

        def let_go(key: str, inference: Inference) -> None:
            opened.remove(inference)
            inference.close()
            if "tpu" in self._config.models[key].backends:
                self._tpus[self._config.tpu_of(key)].let_go(inference.model)

        workshop = Workshop(
            read=self._library.read,
            misfit=self._library.misfit,
            sandbox=lambda key: WorkerSandbox(self._parts.trial_engine, self._config.models[key].threads),
            inference=inference,
            again=lambda name, model: self._preprocessor(name, model).again,
            judge=self._judge,
            let_go=let_go,
        )
        by_key = {key: [each for each in channels if self._config.channels[each.name].model == key] for key in serving}
        https = self._config.update.report_url is not None
        return make_trials(self._library, workshop, edges, by_key, serving, https=https)

    def _preprocessor(self, name: str, model: Model) -> Preprocessor:
        """Make what prepares a channel's frames for a model, of features that the channel extracts."""
        channel = self._config.channels[name]
        tiling = channel.tiling.to_tiling() if channel.tiling else None
        return Preprocessor(model, self._extractors.get(name), tiling)

    def _judge(self, name: str, inference: Inference) -> Judge:
        """Make a model, open on its backends, the judge of a channel."""
        model, preprocessor = inference.model, self._preprocessor(name, inference.model)
        prepare = measured(preprocessor, model=model.name, clock=self._clock, meter=self._meter)
        explain = self._reasons(name, self._config.channels[name], inference)
        return Judge(model, inference, prepare, preprocessor.again, explain)

    def _frames(self, name: str, channel: ChannelConfig, judge: Judge, sensor: Sensor, sensing: Sensing) -> Frames:
        """Pictures ahead of the loop, everything else in turn with it."""
        if judge.model.preprocess.kind is not FrameKind.IMAGE:
            return InTurn(sensing)
        return Ahead(
            sensing,
            judge.prepare,
            channel=name,
            timeout_s=channel.capture_timeout_s,
            newest_only=sensor.newest_only,
            stuck_after_s=self._config.health.stall_after_s,
            clock=self._clock,
            meter=self._meter,
        )

    def _reasons(self, name: str, channel: ChannelConfig, inference: Inference) -> Reasons | None:
        """What explains a channel's scores, where that is wanted and can be done."""
        model = inference.model
        if not channel.reasons_max or not explainable(model):
            return None
        words = self._extractors[name].words if name in self._extractors else {}
        return Reasons(model, inference, words, self._clock, self._meter, count=channel.reasons_max)

    def _keeper(self) -> Keeper | None:
        """Hand back what the extractors remembered, where there are any."""
        if not self._extractors:
            return None
        memory = self._config.memory
        store = SqliteMemory(self._folder / memory.file, size_bytes_max=memory.size_bytes_max)
        keeper = Keeper(store, self._extractors, self._clock, self._meter, self._faults, interval_s=memory.interval_s)
        keeper.open()
        return keeper

    def _serving(self, key: str) -> Inference:
        """Open and prove the model of a key. Raises ModelError, NoBackendError."""
        inference = self._library.opened(key, lambda model: self._candidate(key, model))
        inference.show(live=True)
        return inference

    def _candidate(self, key: str, model: Model) -> Inference:
        """Open and prove a model on the backends of a key; it is not shown as the one that decides."""
        settings = self._config.models[key]
        backends = [self._backend(key, name) for name in settings.backends]
        inference = Inference(
            model,
            backends,
            self._clock,
            self._meter,
            deadline_s=settings.invoke_deadline_s,
            probe_interval_s=settings.probe_interval_s,
            return_passes=settings.return_passes,
            deadline_max_s=self._config.deadline_max_s(key),
        )
        inference.show(live=False)
        inference.open()
        return inference

    def _backend(self, key: str, name: BackendName) -> Backend:
        """Make a backend of a model, or the model's share of its Edge TPU."""
        if name == "tpu":
            return self._tpus[self._config.tpu_of(key)].backend()
        return self._parts.make_backend(name, self._config.models[key])

    def _outbox(self) -> Outbox:
        """Open the outbox; adding to it wakes the publisher.

        A disk that is full, read-only or dead must not keep the device from deciding: then alerts wait in memory.
        """
        limits = self._config.outbox
        try:
            with contextlib.suppress(FileExistsError):
                self._folder.mkdir(parents=True)
            return self._opened(self._folder / limits.file, limits)
        except (UnavailableError, OSError) as error:
            get("appliance").error("outbox is in memory until the next start", reason=str(error))
        folder = self._volatile_folder = Path(tempfile.mkdtemp(prefix="appliance-", dir=memory_folder()))
        bounded = limits.model_copy(update={"size_bytes_max": min(limits.size_bytes_max, VOLATILE_BYTES_MAX)})
        # Numbers of this boot that the disk may hold are left behind by counting from the milliseconds of its uptime.
        return self._opened(folder / limits.file, bounded, first_seq=round(self._clock.monotonic_s() * 1e3))

    def _opened(self, file: Path, limits: OutboxConfig, first_seq: int = 1) -> Outbox:
        """Open an outbox. Raises OutboxError."""
        outbox = Outbox(file, limits, self._clock, self._meter, on_add=self._link.wake, first_seq=first_seq)
        outbox.open()
        return outbox

    def _serve_metrics(self) -> None:
        """Let Prometheus in, on loopback, when the configuration says so; a port that is taken ends nothing."""
        if self._config.health.metrics_port is not None:
            try:
                self._meter.serve(self._config.health.metrics_port)
            except ConfigError as error:
                get("appliance").error("metrics are not served", reason=str(error))


def _fallback(channel: ChannelConfig, model: Model) -> Fallback | None:
    """The fallback of a channel as the core knows it."""
    given = channel.fallback
    if given is None:
        return None
    return Fallback(given.field, model.fields.index(given.field), given.limit, given.severity)
