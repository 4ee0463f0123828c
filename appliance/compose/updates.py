"""From a configuration to an updater, and to what is told of it."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from appliance import __version__
from appliance.adapters.applying import Applier, hash_folder
from appliance.adapters.clock import RELEASED_UTC, SystemClock
from appliance.adapters.identity import node_id
from appliance.adapters.model_folder import read_model
from appliance.adapters.report_post import ReportPost
from appliance.adapters.repository.http import HttpRepository
from appliance.adapters.slots import Slots
from appliance.adapters.slots.lock import claimed
from appliance.compose.folders import MODELS_FOLDER, model_id_of, state_dir
from appliance.config import Config, UpdateConfig
from appliance.core.model import Model
from appliance.core.trial import suits
from appliance.core.types import ClockState
from appliance.errors import ConfigError, MetadataError, ModelError, RepositoryError, StoreError
from appliance.fit import check_fit
from appliance.ports import Clock, Partial, Repository, SlotStore
from appliance.ports.updates import uncounted
from appliance.trust.manifest import Bundle
from appliance.trust.metadata import Trusted
from appliance.trust.signed import BYTES_MAX
from appliance.updater.allowance import Allowance, Charged
from appliance.updater.edges import Edges, Factory, Watch
from appliance.updater.finish import Running, Teller
from appliance.updater.refresh import Refreshed, known, refresh
from appliance.updater.signed import Signed
from appliance.updater.updater import Updater


class NoServer:
    """The repository of a device whose updates come by stick or file: there is nobody to ask."""

    def metadata(
        self,
        name: str,  # noqa: ARG002 - the port's signature
        size_bytes_max: int,  # noqa: ARG002 - as above
        received: Callable[[int], None] = uncounted,  # noqa: ARG002 - as above
    ) -> bytes | None:
        """Say so."""
        raise RepositoryError(_NO_URL)

    def fetch(self, bundle: Bundle, into: Partial, received: Callable[[int], None]) -> None:  # noqa: ARG002 - as above
        """Say so."""
        raise RepositoryError(_NO_URL)


_NO_URL = "update.url is not given: updates come by `appliance update import FILE` or by stick"


@dataclass(frozen=True, slots=True)
class Updates:
    """All that has to do with a device's updates; nothing is asked or written yet."""

    config: Config
    file: Path
    """Of the configuration, for messages."""
    slots: SlotStore
    clock: SystemClock
    folder: Path
    factories: Mapping[str, Factory]
    root: bytes

    @property
    def models(self) -> tuple[str, ...]:
        """Names, in the order of the configuration."""
        return tuple(self.factories)

    def updater(self, watch: Watch, stop: Event, archive: Repository | None = None) -> Updater:
        """Make the updater of one run: from ``archive``, else from the configuration's server."""
        update = self.config.update
        repository = archive or Charged(_server(update, self.clock), self.allowance)
        edges = Edges(
            slots=self.slots,
            clock=self.clock,
            repository=repository,
            signed=Signed(lambda: self._refresh(repository), self.known),
            allowance=None if archive else self.allowance,
            factories=self.factories,
            hash_folder=hash_folder,
            apply=Applier(),
            suits=self.suits,
            jitter=random.random,
            stop=stop,
        )
        post = None if archive or update.report_url is None else ReportPost(update.report_url, update.timeout_s)
        return Updater(edges, update, self.teller, models=self.models, watch=watch, post=post)

    @property
    def allowance(self) -> Allowance:
        """The day's bytes."""
        return Allowance(self.slots, self.clock, self.config.update.daily_bytes)

    @property
    def teller(self) -> Teller:
        """Who tells how attempts ended; a device whose appliance runs tells of what that serves."""
        return Teller(
            slots=self.slots,
            node=self.config.node.id or node_id(state_dir(self.config)),
            software=__version__,
            running=self.running,
            https=self.config.update.report_url is not None,
        )

    def running(self, model: str) -> Running:
        """Return what serves under a model's name, as its record has it. Raises StoreError."""
        committed = self.slots.load(model).committed
        stored = self.slots.folder(committed) if committed else None
        if committed is None or stored is None:
            factory = self.factories[model]
            return Running(factory.model_id, factory.folder.resolve().name)
        return Running(committed, stored.name)

    def known(self) -> Refreshed | None:
        """Return what was signed when it was last asked. Raises StoreError, MetadataError."""
        return known(self.slots, self.root, clock_s=self._clock_s(), released_s=_RELEASED_S)

    def suits(self, model: str, folder: Path) -> None:
        """See whether a stored model can take its name's place here. Raises ModelError, ConfigError.

        Nothing but the candidate, and what it does not fit, counts: no other model's damage, nor the factory's.
        """
        candidate = read_model(folder)
        sections = {key: each for key, each in self.config.models.items() if _name_of(each.folder) == model}
        for section in sections.values():
            why = suits(_there(section.folder) or candidate, candidate)
            if why:
                raise ModelError(why)
        channels = {name: each for name, each in self.config.channels.items() if each.model in sections}
        config = self.config.model_copy(update={"models": sections, "channels": channels})
        check_fit(config, dict.fromkeys(sections, candidate), str(self.file))

    @contextmanager
    def alone(self, wait_s: float = 0.0) -> Iterator[bool]:
        """Hold the right to be the one updater of this device; say whether it was had within ``wait_s``.

        Raises StoreError.
        """
        until_s = self.clock.monotonic_s() + wait_s
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                while not (free := stack.enter_context(claimed(self.folder))) and self.clock.monotonic_s() < until_s:
                    stack.close()
                    self.clock.wait(Event(), ALONE_LOOK_S)
            except OSError as error:
                msg = f"{self.folder}: {error.strerror}"
                raise StoreError(msg) from error
            yield free

    def _refresh(self, repository: Repository) -> Refreshed:
        return refresh(repository, self.slots, self.root, clock_s=self._clock_s(), released_s=_RELEASED_S)

    def _clock_s(self) -> int | None:
        """POSIX seconds of a clock that is known to be right; else None."""
        now = self.clock.now_utc()
        return int(now.timestamp()) if now and self.clock.state() is ClockState.SYNCED else None


ALONE_LOOK_S = 1.0
"""How often it is seen whether another run has ended."""
_RELEASED_S = int(RELEASED_UTC.timestamp())


def open_updates(config: Config, file: Path) -> Updates:
    """Return what has to do with a device's updates. Raises ConfigError, ModelError."""
    folder = state_dir(config) / MODELS_FOLDER
    return Updates(
        config=config,
        file=file,
        slots=Slots(folder),
        clock=SystemClock(state_dir(config)),
        folder=folder,
        factories=factories(config),
        root=_root(config, file),
    )


def factories(config: Config) -> dict[str, Factory]:
    """Return the models that came with the device, by name; of one name, the first. Raises ModelError."""
    found: dict[str, Factory] = {}
    for section in config.models.values():
        name = _name_of(section.folder)
        found.setdefault(name, Factory(model_id_of(section.folder), section.folder))
    return found


def _name_of(folder: Path) -> str:
    return folder.resolve().parent.name


def _there(folder: Path) -> Model | None:
    """Read a factory's model; None where it is damaged."""
    try:
        return read_model(folder)
    except ModelError:
        return None


def _root(config: Config, file: Path) -> bytes:
    """Read the publisher's root, which came with the device. Raises ConfigError."""
    root_file = config.update.root_file
    if root_file is None:
        msg = f"{file}: update.root_file: not given, so nobody's updates are trusted; give the publisher's root.json"
        raise ConfigError(msg)
    try:
        with root_file.open("rb") as stream:
            raw = stream.read(BYTES_MAX["root"] + 1)
        Trusted(raw)
    except OSError as error:
        msg = f"{file}: update.root_file: {root_file} cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    except MetadataError as error:
        msg = f"{file}: update.root_file: {root_file} is no publisher's root: {error}"
        raise ConfigError(msg) from error
    return raw


def _server(update: UpdateConfig, clock: Clock) -> Repository:
    if update.url is None:
        return NoServer()
    return HttpRepository(
        update.url,
        timeout_s=update.timeout_s,
        rate_bytes_per_s_min=update.rate_bytes_per_s_min,
        run_s_max=update.run_s_max,
        clock=clock,
    )
