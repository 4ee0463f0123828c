"""What is told of updates over MQTT: the entity of each model, and the reports that the store holds."""

import json

from appliance.core.identity import Identity
from appliance.core.types import Message, Priority
from appliance.core.wire import SCHEMA
from appliance.outbox import Outbox
from appliance.ports import Clock
from appliance.ports.updates import SlotStore
from appliance.trial.attempts import Attempts
from appliance.trust import plan
from appliance.trust.state import ModelState, Stage
from appliance.updater.finish import MQTT_REPORTS

SUMMARY_CHARACTERS_MAX = 255
"""What Home Assistant shows of a release's summary."""
KEPT_S = 10.0
"""How long a report stays in the store after it was put into the outbox: long enough for that to be synced."""
STALE_FILE = "stale"
"""Why nothing new is installed: what is signed has expired, or is not trusted. Not there while all is well."""


def standing(attempts: Attempts, identity: Identity, slots: SlotStore) -> Message:
    """Show where a model's updates stand: the state of Home Assistant's ``update``, and more. Raises StoreError."""
    state, site = attempts.state or slots.load(attempts.site.name), attempts.site
    bad = slots.condemned()
    percent = plan.percent(state, _received(slots, state))
    stale = slots.file(STALE_FILE)
    deciding = next(iter(site.channels.values())).judge.model
    payload: dict[str, object] = {
        "installed_version": site.running.version,
        "latest_version": _latest(state, site.running.version, set(bad)),
        "title": f"{site.name} model",
        "release_summary": _summary(state),
        "in_progress": percent is not None,
        "update_percentage": percent,
        "schema": SCHEMA,
        "stage": state.stage.value,
        "progress": attempts.progress,
        "outcome": state.outcome,
        "reason": state.reason,
        "held": state.held,
        "held_words": plan.HELD_WORDS.get(state.held, state.held),
        "model_id": site.model_id,
        "deciding_version": deciding.version,
        "bad": len(bad),
        "stale": stale is not None,
        "stale_reason": (stale or b"").decode("utf-8", errors="replace"),
    }
    return Message(identity.model_topic(site.name, "state"), payload, retain=True)


def _received(slots: SlotStore, state: ModelState) -> int:
    """Return how much of the bundle has come. Raises StoreError."""
    if state.stage is not Stage.FETCH or state.candidate is None:
        return 0
    return slots.partial(state.candidate.bundle).size_bytes


def _latest(state: ModelState, installed: str, bad: set[str]) -> str:
    """Return the newest version that may be installed: one that has failed here is no offer."""
    return installed if not state.latest_version or state.latest_id in bad else state.latest_version


def _summary(state: ModelState) -> str:
    """Say what an update brings, and how much is fetched for it."""
    if state.candidate is None:
        return ""
    bundle = state.candidate.bundle
    kind = "delta" if bundle.base_id else "whole"
    told = f"{state.candidate.manifest.custom.summary} ({kind}, {bundle.size_bytes / 1000:,.0f} kB)".strip()
    return told[:SUMMARY_CHARACTERS_MAX]


class Reports:
    """Brings reports from the store to the outbox, each at least once."""

    def __init__(self, identity: Identity, slots: SlotStore, outbox: Outbox, clock: Clock) -> None:
        """Nothing is read yet."""
        self._identity, self._slots, self._outbox, self._clock = identity, slots, outbox, clock
        self._added_s: dict[str, float] = {}
        """When each report that is still in the store was put into the outbox by this process."""

    def send(self) -> None:
        """Put new reports into the outbox; remove those that were put there long enough ago.

        Raises StoreError, OutboxError: nothing is lost, it goes on at the next call.
        """
        now_s = self._clock.monotonic_s()
        for name in self._slots.files(MQTT_REPORTS):
            if name not in self._added_s:
                self._add(name)
                self._added_s[name] = now_s
            elif now_s - self._added_s[name] >= KEPT_S:
                self._slots.remove_file(name)
                del self._added_s[name]

    def _add(self, name: str) -> None:
        """Put one into the outbox; what cannot be read is left out. Raises StoreError, OutboxError."""
        try:
            report = json.loads(self._slots.file(name) or b"null")
        except ValueError:
            report = None
        if isinstance(report, dict):
            topic = self._identity.model_topic(str(report.get("model", "")), "report")
            self._outbox.add([Message(topic, {"schema": SCHEMA, **report})], Priority.TELEMETRY)
