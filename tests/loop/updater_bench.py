"""An updater on a store, a repository and a clock that do as they are told; what is signed is said by the test."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event

from appliance.adapters.applying import hash_folder
from appliance.config import UpdateConfig
from appliance.errors import BundleError, MetadataError, RefusedError, RepositoryError, StoreError
from appliance.ports import SlotStore
from appliance.sim.clock import ManualClock
from appliance.sim.repository import ScriptedRepository
from appliance.sim.slots import VolatileSlots
from appliance.trust import plan
from appliance.trust.manifest import Bundle, Custom, Manifest
from appliance.trust.metadata import file_of, reference_s
from appliance.trust.plan import Event as Happened
from appliance.trust.state import ModelState, Stage
from appliance.updater.allowance import Allowance
from appliance.updater.edges import Edges, Factory
from appliance.updater.finish import MQTT_REPORTS, Running, Teller, finish
from appliance.updater.refresh import Refreshed
from appliance.updater.signed import Signed
from appliance.updater.updater import Result, Updater
from tests.slots import MODEL, Sample, sample

NODE = "b1"
DELTA_BYTES, WHOLE_BYTES = 200_000, 400_000
SIGNED_S, EXPIRES_S = 1_790_000_000, 1_800_000_000
"""When the metadata was signed, and until when it may begin something new (POSIX seconds)."""
V1, V2, V3 = sample("1.0.0"), sample("2.0.0"), sample("3.0.0")
Trouble = MetadataError | RefusedError | RepositoryError | StoreError


class Offer:
    """An update that its publisher signs, and the bundles that bring it."""

    def __init__(
        self, made: Sample, sequence: int, *, base: Sample | None = V1, whole: bool = True, **terms: object
    ) -> None:
        self.made, self.contents = made, dict[str, bytes]()
        bundles = [self._bundle(base, DELTA_BYTES)] if base else []
        bundles += [self._bundle(None, WHOLE_BYTES)] if whole else []
        fields = {"format": 1, "kind": "model", "model": MODEL, "version": made.version, "sequence": sequence}
        fields |= {"size_bytes": sum(map(len, made.files.values())), "rollout_percent": 100} | terms
        self.manifest = Manifest(model_id=made.model_id, custom=Custom.model_validate(fields), bundles=tuple(bundles))

    def signed_anew(self, **terms: object) -> "Offer":
        """The same update under other terms."""
        again = object.__new__(Offer)
        again.made, again.contents = self.made, self.contents
        custom = Custom.model_validate(self.manifest.custom.model_dump() | terms)
        again.manifest = self.manifest.model_copy(update={"custom": custom})
        return again

    def _bundle(self, base: Sample | None, size_bytes: int) -> Bundle:
        name = base.model_id if base else "whole"
        content = hashlib.sha256(f"{self.made.version} {name}".encode()).digest() * (size_bytes // 32)
        bundle = Bundle(
            path=f"{MODEL}/{self.made.version}/{name}",
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            base_id=base.model_id if base else "",
            memory_bytes=1 << 20,
        )
        self.contents[file_of(bundle.path, bundle.sha256)] = content
        return bundle


class UpdaterBench:
    """A device with v1 from the factory. ``run`` is one run of its updater, from what its store holds."""

    def __init__(self, folder: Path, *offers: Offer, slots: SlotStore | None = None, **config: object) -> None:
        self.factory = folder / "factory" / MODEL / V1.version
        if not self.factory.exists():
            self.factory.mkdir(parents=True)
            V1.make(self.factory)
        self.volatile = VolatileSlots(folder)
        self.slots: SlotStore = slots or self.volatile
        self.clock = ManualClock(auto_advance=True)
        self.repository = ScriptedRepository({})
        self.config = UpdateConfig.model_validate({"run_s_max": 1000.0} | config)
        self.stop = Event()
        self.trouble: Trouble | None = None
        """What asking for metadata meets."""
        self.stale = ""
        self.misfit: Exception | None = None
        self.apply_trouble: Callable[[Bundle], None] = lambda _: None
        self.applied: list[str] = []
        """Base ids of the bundles that were applied; empty for the whole."""
        self.watched: list[tuple[str, int | None]] = []
        self.counts = True
        """Whether the day's bytes count."""
        self.posted: list[object] = []
        self.post_trouble: RepositoryError | RefusedError | None = None
        self.offers: tuple[Offer, ...] = ()
        self.publish(*offers)

    def publish(self, *offers: Offer) -> None:
        """Sign these updates and no others."""
        self.offers = offers
        self.repository.files = {place: content for offer in offers for place, content in offer.contents.items()}

    @property
    def script(self):  # type: ignore[no-untyped-def]  # noqa: ANN201 - the repository's
        return self.repository.script

    @property
    def state(self) -> ModelState:
        return self.slots.load(MODEL)

    @property
    def teller(self) -> Teller:
        return Teller(self.slots, NODE, "1.2.3", self.running, https=self.config.report_url is not None)

    def running(self, _model: str) -> Running:
        return Running(self.serving().model_id, self.serving().version)

    def serving(self) -> Sample:
        """The model that serves, read back and whole."""
        committed = self.state.committed
        folder = self.slots.folder(committed) if committed else self.factory
        assert folder is not None, "what is committed is there"
        made = next(made for made in (V1, V2, V3) if made.version == folder.name)
        assert committed in {None, made.model_id}
        assert {path: (folder / path).read_bytes() for path in made.files} == made.files
        return made

    def run(self) -> Result:
        """One run, in a process of its own as far as what it remembers goes."""
        edges = Edges(
            slots=self.slots,
            clock=self.clock,
            repository=self.repository,
            signed=Signed(self._refresh, self._known),
            allowance=Allowance(self.slots, self.clock, self.config.daily_bytes) if self.counts else None,
            factories={MODEL: Factory(V1.model_id, self.factory)},
            hash_folder=hash_folder,
            apply=self._apply,
            suits=self._suits,
            jitter=lambda: 0.5,
            stop=self.stop,
        )
        post = self._post if self.config.report_url else None
        updater = Updater(edges, self.config, self.teller, models=(MODEL,), watch=self._watch, post=post)
        return updater.run()

    def runs(self, count: int) -> None:
        for _ in range(count):
            self.run()

    def stands(self) -> Stage:
        """Where the update stands after a run."""
        self.run()
        return self.state.stage

    def tell(self, event: Happened, reason: str = "") -> ModelState:
        """What the loop makes of a candidate, with the end that either process makes of it."""
        with self.slots.locked(MODEL):
            self.slots.save(plan.advance(self.state, event, reason))
        return finish(self.teller, MODEL)

    def commit(self) -> None:
        """Let the loop find a candidate good."""
        self.tell(Happened.DONE)
        self.tell(Happened.DONE)

    def reports(self) -> list[dict[str, object]]:
        """Every report that waits, the oldest first."""
        files = [self.slots.file(name) for name in self.slots.files(MQTT_REPORTS)]
        return [json.loads(content) for content in files if content]

    def _refresh(self) -> Refreshed:
        if self.trouble is not None:
            raise self.trouble
        utc = self.clock.now_utc()
        now_s = reference_s(int(utc.timestamp()) if utc else None, SIGNED_S)
        stale = self.stale or ("expired" if now_s > EXPIRES_S else "")
        return Refreshed({MODEL: tuple(offer.manifest for offer in self.offers)}, stale, SIGNED_S, now_s, {})

    def _known(self) -> Refreshed | None:
        return None

    def _apply(self, bundle: Bundle, file: Path, base: Path | None, into: Path) -> None:
        """What stands for the decoder: it knows what each bundle makes, of what base."""
        self.applied.append(bundle.base_id)
        self.apply_trouble(bundle)
        assert (base is None) == (not bundle.base_id)
        if base and hash_folder(base) != bundle.base_id:
            raise BundleError("another base")
        content = file.read_bytes()
        made = next(offer.made for offer in self.offers if content in offer.contents.values())
        made.make(into)

    def _suits(self, _model: str, _folder: Path) -> None:
        if self.misfit is not None:
            raise self.misfit

    def _watch(self, state: ModelState, received_bytes: int) -> None:
        self.watched.append((state.stage.value, plan.percent(state, received_bytes)))

    def _post(self, content: bytes) -> None:
        if self.post_trouble is not None:
            raise self.post_trouble
        self.posted.append(json.loads(content))
