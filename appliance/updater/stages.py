"""The updater's stages, each a method that begins from what is on disk, may be repeated, and comes to one event.

What becomes of the event stands in ``trust/plan.py``; whoever calls writes it down (``updater.py``).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from appliance.config import UpdateConfig
from appliance.core.backoff import Backoff
from appliance.errors import (
    BudgetError,
    BundleError,
    ConfigError,
    MetadataError,
    ModelError,
    OlderError,
    RefusedError,
    RepositoryError,
    StoreError,
)
from appliance.ports.updates import Partial
from appliance.trust import plan
from appliance.trust.manifest import Bundle, Manifest
from appliance.trust.plan import Event
from appliance.trust.state import Candidate, ModelState, Stage
from appliance.updater.allowance import Count
from appliance.updater.choice import Choice, Situation, bundle_for, choose, stopped
from appliance.updater.edges import Edges, Watch

RETRY = Backoff(2.0, 120.0)
"""Seconds between two tries of one fetch."""
TRIES_MAX = 8
"""Tries of one fetch in a row that bring nothing, before it is left to the next run."""
STALE_FILE = "stale"
CONSENT_FOLDER = "consent"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a stage came to."""

    state: ModelState
    """The record that it began from, with what it found out."""
    event: Event
    reason: str = ""
    counts: bool = True
    """Whether going on as before is written down and counted."""


class Stages:
    """The stages of one run."""

    def __init__(self, edges: Edges, config: UpdateConfig, node: str, until_s: float, watch: Watch) -> None:
        """Nothing waits or fetches beyond ``until_s`` of the monotonic clock."""
        self._edges, self._slots = edges, edges.slots
        self._config, self._node = config, node
        self._until_s, self._watch = until_s, watch
        self.table: Mapping[Stage, Callable[[ModelState], Outcome]] = {
            Stage.METADATA: self._metadata,
            Stage.PLAN: self._plan,
            Stage.FETCH: self._fetch,
            Stage.VERIFY: self._verify,
            Stage.APPLY: self._apply,
            **dict.fromkeys(plan.LOOP_STAGES, lambda state: Outcome(state, Event.STOPPED)),
        }

    def newer_than_failed(self, state: ModelState) -> bool:
        """Whether there is an update to take that is not one of those that have just failed. Raises StoreError."""
        offers = self._edges.signed.offers(state.model)
        manifest = self._choice(state, offers).manifest
        return manifest is not None and all(each.model_id != manifest.model_id for each in state.failed)

    def drops(self, state: ModelState) -> bool:
        """Whether what the appliance tries is to be dropped: stopped, or overtaken by what can be fetched now.

        A smaller share does not take it back. Raises StoreError.
        """
        if self._is_stopped(state) or not self._edges.signed.fresh:
            return self._edges.signed.fresh
        manifest, choice = _candidate(state).manifest, self._choice(state, self._edges.signed.offers(state.model))
        newer = choice.manifest if not choice.held else None
        if newer is None or newer.sequence <= manifest.sequence:
            return False
        bundle, held = self._bundle(state, newer)
        return bundle is not None and not held

    def _metadata(self, state: ModelState) -> Outcome:
        """Ask what is signed. What has expired is still learned; it only begins nothing new."""
        try:
            stale = self._edges.signed.ask().stale
        except RepositoryError as error:
            return Outcome(state, Event.UNREACHABLE, str(error))
        except OlderError as error:
            return Outcome(state, Event.NOTHING, str(error)) if self._by_hand else self._untrusted(state, error)
        except (MetadataError, RefusedError) as error:
            return self._untrusted(state, error)
        except StoreError as error:
            return Outcome(state, Event.FAILED, str(error))
        self._flag(stale)
        return Outcome(state, Event.DONE)

    def _untrusted(self, state: ModelState, error: MetadataError | RefusedError) -> Outcome:
        self._flag(str(error))
        return Outcome(state, Event.REFUSED, str(error))

    def _plan(self, state: ModelState) -> Outcome:
        """Choose an update and its bundle, and see that there is room for it."""
        try:
            choice = self._choice(state, self._edges.signed.offers(state.model))
            if choice.manifest is None or choice.held:
                event = Event.HELD if choice.held else Event.NOTHING
                return Outcome(plan.seen(state, choice.manifest, choice.held), event)
            bundle, held = self._bundle(state, choice.manifest)
            if bundle is None or held:
                return Outcome(plan.seen(state, choice.manifest, held), Event.HELD)
            if choice.retries:
                state = plan.forgiven(state, choice.manifest.model_id)
        except StoreError as error:
            return Outcome(state, Event.FAILED, str(error))
        return Outcome(plan.choose(state, choice.manifest, bundle), Event.DONE)

    def _choice(self, state: ModelState, offers: tuple[Manifest, ...]) -> Choice:
        consented = self._slots.file(f"{CONSENT_FOLDER}/{state.model}") or b""
        situation = Situation(
            node=self._node,
            running_id=self._running_id(state),
            condemned=self._slots.condemned(),
            consented=consented.decode("ascii", errors="replace").strip(),
            consent_always=self._config.consent == "always",
            stale=self._edges.signed.stale,
            by_hand=self._by_hand,
        )
        return choose(offers, state, situation)

    def _bundle(self, state: ModelState, manifest: Manifest) -> tuple[Bundle | None, str]:
        """Return the bundle to fetch, and what it waits for, a word of ``HELD_WORDS``. Raises StoreError."""
        bundle = bundle_for(manifest, state, self._base_id(state), whole_allowed=self._config.whole == "signed")
        if bundle is None:
            return None, "base"
        missing_bytes = max(0, bundle.size_bytes - self._slots.partial(bundle).size_bytes)
        if 2 * manifest.custom.size_bytes + missing_bytes > self._slots.free_bytes():
            return bundle, "space"
        allowance = self._edges.allowance
        affordable = allowance is None or bundle.base_id or allowance.enough_for(missing_bytes)
        return bundle, "" if affordable else "budget"

    def _fetch(self, state: ModelState) -> Outcome:
        """Receive what is missing of the bundle, unless its publisher has stopped it or has something newer."""
        candidate = _candidate(state)
        offers, fresh = self._edges.signed.offers(state.model), self._edges.signed.fresh
        received = Count(self._edges.allowance, self._edges.clock, self._until_s)
        try:
            self._pardon(state, candidate.manifest.model_id)
            if fresh and self._overtaken(state, candidate, offers):
                return Outcome(state, Event.STOPPED)
            partial = self._slots.partial(candidate.bundle)
            event, reason = self._received(partial, state, received)
            if event is Event.DAMAGED:
                partial.remove()
        except StoreError as error:
            event, reason = Event.FAILED, str(error)
        held = "budget" if event is Event.HELD else ""
        update = {"fetched_bytes": state.fetched_bytes + received.total_bytes, "held": held}
        waits = event in {Event.UNREACHABLE, Event.HELD}
        counts = not waits or (event is Event.UNREACHABLE and fresh and not received.total_bytes)
        return Outcome(state.model_copy(update=update), event, reason, counts=counts)

    def _pardon(self, state: ModelState, model_id: str) -> None:
        """Let what failed here be tried once more; the record says so already, so that no cut makes it twice."""
        if model_id in state.retried and model_id in self._slots.condemned():
            self._slots.pardon(model_id)

    def _overtaken(self, state: ModelState, candidate: Candidate, offers: tuple[Manifest, ...]) -> bool:
        """Whether the candidate is not what would be chosen now; what has expired meanwhile goes on."""
        if stopped(offers, candidate.manifest):
            return True
        choice = self._choice(state, offers)
        taken = choice.manifest if not choice.held or choice.held == "stale" else None
        return taken is None or taken.model_id != candidate.manifest.model_id

    def _received(self, partial: Partial, state: ModelState, received: "Count") -> tuple[Event, str]:
        """Fetch, again and again where it breaks off, with growing waits. Raises StoreError."""
        edges, bundle, failures = self._edges, _candidate(state).bundle, 0
        while True:
            before_bytes = received.total_bytes
            try:
                received.begin(bundle.size_bytes - partial.size_bytes)
                edges.repository.fetch(bundle, partial, lambda count: self._piece(state, partial, received, count))
            except RepositoryError as error:
                failures = 0 if received.total_bytes > before_bytes else failures + 1
                wait_s = RETRY.delay_s(failures, edges.jitter())
                over = failures >= TRIES_MAX or edges.clock.monotonic_s() + wait_s >= self._until_s
                if over or edges.clock.wait(edges.stop, wait_s):
                    return Event.UNREACHABLE, str(error)
            except BudgetError as error:
                return Event.HELD, str(error)
            except RefusedError as error:
                return (Event.UNREACHABLE if self._by_hand else Event.REFUSED), str(error)
            except BundleError as error:
                return Event.DAMAGED, str(error)
            else:
                return Event.DONE, ""
            finally:
                received.end()

    def _piece(self, state: ModelState, partial: Partial, received: "Count", count_bytes: int) -> None:
        received.add(count_bytes)
        if self._edges.stop.is_set():
            raise RepositoryError("told to stop")
        self._watch(state, partial.size_bytes)

    def _verify(self, state: ModelState) -> Outcome:
        """Hold what the medium gives back against what is signed, before anything looks inside."""
        if self._is_stopped(state):
            return Outcome(state, Event.STOPPED)
        bundle = _candidate(state).bundle
        try:
            partial = self._slots.partial(bundle)
            if partial.size_bytes == bundle.size_bytes and partial.digest() == bundle.sha256:
                return Outcome(state, Event.DONE)
            partial.remove()
        except StoreError as error:
            return Outcome(state, Event.FAILED, str(error))
        return Outcome(state, Event.DAMAGED)

    def _apply(self, state: ModelState) -> Outcome:
        """Make the model's folder, store it, and see whether it can take the running one's place."""
        if self._is_stopped(state):
            return Outcome(state, Event.STOPPED)
        if state.beginnings >= plan.BEGINNINGS_MAX:
            return Outcome(state, Event.EXHAUSTED)
        with self._slots.locked(state.model):
            state = self._slots.save(plan.begun(state))
        bundle = _candidate(state).bundle
        try:
            partial = self._slots.partial(bundle)
            try:
                base = self._base_folder(state) if bundle.base_id else None
                self._slots.add(
                    _candidate(state).manifest.model_id,
                    lambda folder: self._edges.apply(bundle, partial.file, base, folder),
                )
            except BundleError as error:
                partial.remove()
                return Outcome(state, Event.DAMAGED, str(error))
            return self._suits(state)
        except StoreError as error:
            return Outcome(state, Event.FAILED, str(error))

    def _suits(self, state: ModelState) -> Outcome:
        """See whether what is stored can serve here; what cannot be read back is damage, not a misfit."""
        folder = self._slots.folder(_candidate(state).manifest.model_id)
        assert folder is not None, "what was stored is there"
        try:
            self._edges.suits(state.model, folder)
        except (ModelError, ConfigError) as error:
            return Outcome(state, Event.REFUSED, str(error))
        return Outcome(state, Event.DONE)

    def _is_stopped(self, state: ModelState) -> bool:
        """Whether its publisher has stopped an update that is here already, and this is known for certain."""
        signed = self._edges.signed
        return signed.fresh and stopped(signed.offers(state.model), _candidate(state).manifest)

    @property
    def _by_hand(self) -> bool:
        """Whether it comes from a stick."""
        return self._edges.allowance is None

    def _running_id(self, state: ModelState) -> str:
        return state.committed or self._edges.factories[state.model].model_id

    def _base_folder(self, state: ModelState) -> Path:
        """Return the folder of the model that serves."""
        stored = self._slots.folder(state.committed) if state.committed else None
        return stored or self._edges.factories[state.model].folder

    def _base_id(self, state: ModelState) -> str | None:
        """Return the id of the model that is here, every file of it hashed; None where it is damaged."""
        try:
            return self._edges.hash_folder(self._base_folder(state))
        except ModelError:
            return None

    def _flag(self, reason: str) -> None:
        """Leave word for the appliance of what is wrong with what is signed; nothing, when all is well."""
        there = self._slots.file(STALE_FILE)
        if reason and there != reason.encode():
            self._slots.write_file(STALE_FILE, reason.encode())
        if not reason and there is not None:
            self._slots.remove_file(STALE_FILE)


def _candidate(state: ModelState) -> Candidate:
    assert state.candidate is not None, f"{state.stage} without a candidate"
    return state.candidate
