"""Which model serves at the start, and what a trial of another needs: concrete edges for both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from appliance.adapters.backends.exchange import Signature
from appliance.adapters.backends.worker import Worker
from appliance.adapters.model_folder import read_model
from appliance.compose.folders import model_id_of
from appliance.config import Config
from appliance.core.model import Model
from appliance.core.trial import suits
from appliance.core.types import Array, Outputs
from appliance.errors import BackendError, ConfigError, ModelError, NoBackendError, StoreError
from appliance.fit import check_fit
from appliance.inference import Inference
from appliance.log import get
from appliance.loop import Channel, Edges
from appliance.ports import SlotStore
from appliance.trial import Attempts, Post, Reports, Site, Trials, Workshop
from appliance.updater.finish import Running, Teller

CPU_ENGINE = "appliance.adapters.backends.engines:CpuEngine"
"""What a candidate is tried with in its own process."""
START_DEADLINE_S = 30.0
"""For a process to load its libraries."""
LOAD_DEADLINE_S = 60.0
"""For a candidate to be loaded; one that hangs is ended then."""

_log = get(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """A model that may serve under a key of ``models``."""

    model: Model
    model_id: str
    fault: str = ""
    """Why a better one does not; empty where there is none."""


class Library:
    """The models of a configuration: the factory's, and where there are updates those that took their place."""

    def __init__(self, config: Config, slots: SlotStore | None) -> None:
        """Read the model that is to serve under each key; ``slots`` is None where there are no updates.

        Raises ModelError where there is none.
        """
        self.slots = slots
        self._config = config
        self._choices = {key: self._choice(key) for key in config.models}
        self.served = {key: next(choices) for key, choices in self._choices.items()}
        """What serves, by key."""

    @property
    def models(self) -> dict[str, Model]:
        """What serves, by key."""
        return {key: served.model for key, served in self.served.items()}

    def opened(self, key: str, opened: Callable[[Model], Inference]) -> Inference:
        """Open what is to serve under ``key``, or the next that opens. Raises what the last raises."""
        while True:
            try:
                return opened(self.served[key].model)
            except (ModelError, NoBackendError) as error:
                following = next(self._choices[key], None)
                if following is None:
                    raise
                _log.error("a stored model does not open", model=key, reason=str(error))
                self.served[key] = following

    def _choice(self, key: str) -> Iterator[Served]:
        """Yield what may serve under ``key``, the best first: committed, the one before, the factory's.

        A stored one that is damaged, or does not fit here, is passed over: it must not keep a device from starting.
        Raises ModelError where the factory's is reached, and damaged.
        """
        folder = self._config.models[key].folder
        faults: list[str] = []
        for model_id in self._stored(folder.resolve().parent.name, faults):
            try:
                model = self.read(model_id)
                fault = self._unsuited(key, model)
            except (ModelError, StoreError) as error:
                fault = str(error)
            if fault:
                _log.error("a stored model cannot serve", model=key, id=model_id, reason=fault)
                faults.append(fault)
            else:
                yield Served(model, model_id, "; ".join(faults))
                faults.append(f"{model.name} {model.version} does not open")
        yield Served(read_model(folder), model_id_of(folder), "; ".join(faults))

    def read(self, model_id: str) -> Model:
        """Read and verify a stored model. Raises ModelError, StoreError."""
        assert self.slots is not None, "there are no updates"
        folder = self.slots.folder(model_id)
        if folder is None or model_id_of(folder) != model_id:
            msg = f"{model_id}: not in the store, or damaged there"
            raise ModelError(msg)
        return read_model(folder)

    def misfit(self, key: str, model: Model) -> str:
        """Say why a model cannot serve under ``key``, with its rules and backends; empty where it can."""
        channels = {name: channel for name, channel in self._config.channels.items() if channel.model == key}
        config = self._config.model_copy(update={"models": {key: self._config.models[key]}, "channels": channels})
        try:
            check_fit(config, {key: model}, "update")
        except ConfigError as error:
            return str(error)
        return ""

    def _unsuited(self, key: str, model: Model) -> str:
        """Say why a stored model cannot take the factory's place; a damaged factory's model forbids none."""
        try:
            factory = read_model(self._config.models[key].folder)
        except ModelError:
            factory = model
        return suits(factory, model) or self.misfit(key, model)

    def _stored(self, name: str, faults: list[str]) -> list[str]:
        """Return the ids of stored models to try; a store that cannot be read is a fault, and no more."""
        if self.slots is None:
            return []
        try:
            state = self.slots.load(name)
        except StoreError as error:
            _log.error("the store of models cannot be read", model=name, reason=str(error))
            faults.append(str(error))
            return []
        return [model_id for model_id in (state.committed, state.previous if state.committed else None) if model_id]


class WorkerSandbox:
    """Implements ``trial.Sandbox``: a worker's process, on the CPU, with no network."""

    name = "candidate"

    def __init__(self, engine: str, threads: int) -> None:
        """Start it. Raises BackendError."""
        self._worker = Worker(engine, {"threads": str(threads)}, name=self.name)
        self._number = 0
        try:
            self._worker.start(START_DEADLINE_S)
        except BackendError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._worker.pid

    @property
    def resident_bytes(self) -> int:
        """Memory that its process has resident."""
        return self._worker.resident_bytes

    def open(self, model: Model) -> None:
        """Load a model. Raises ModelError, BackendError within ``LOAD_DEADLINE_S``."""
        signature = Signature(model.name, model.version, "model.tflite", model.input, model.outputs)
        self._number = self._worker.load(signature, model.tflite, LOAD_DEADLINE_S)

    def invoke(self, tensor: Array, deadline_s: float) -> Outputs:
        """Run the model. Raises BackendError within ``deadline_s``."""
        self._worker.listen()
        return self._worker.invoke(self._number, tensor, deadline_s)

    def close(self) -> None:
        """End the process. Idempotent; for any thread."""
        self._worker.kill("ended")
        self._worker.reap()


def make_trials(
    library: Library,
    workshop: Workshop,
    edges: Edges,
    channels: Mapping[str, Sequence[Channel]],
    serving: Mapping[str, Inference],
    *,
    https: bool,
) -> Trials | None:
    """Make what tries newer models; None where there are no updates.

    Args:
        library: what serves, and the store.
        workshop: makes what a trial needs.
        edges: what channels share.
        channels: those of each key of ``models``.
        serving: the open model of each key.
        https: whether reports are posted, too.
    """
    slots = library.slots
    if slots is None:
        return None
    posts: dict[str, list[Post]] = {}
    for key, inference in serving.items():
        posts.setdefault(inference.model.name, []).append(Post(key, tuple(channels[key]), inference))
    sites = {}
    for name, its in posts.items():
        served = library.served[its[0].key]
        site = Site(name, tuple(its), served.model_id, workshop, edges.clock, edges.meter, fault=served.fault)
        if site.channels:  # nobody could try a model that judges nothing
            sites[name] = site
    teller = Teller(
        slots=slots,
        node=edges.identity.node,
        software=edges.identity.software_version,
        running=lambda name: Running(sites[name].model_id, sites[name].running.version),
        https=https,
    )
    reports = Reports(edges.identity, slots, edges.outbox, edges.clock)
    return Trials([Attempts(site, teller) for site in sites.values()], reports, slots, edges)
