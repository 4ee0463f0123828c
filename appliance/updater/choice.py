"""Which update a device takes, and as which bundle: decided from what is signed and what is here. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from appliance.trust import plan
from appliance.trust.manifest import Bundle, Manifest, chosen
from appliance.trust.state import ModelState


@dataclass(frozen=True, slots=True)
class Situation:
    """What is true of the device."""

    node: str
    running_id: str
    """Id of the model that serves, the factory's too."""
    condemned: Collection[str] = ()
    """Ids of models that failed here."""
    consented: str = ""
    """Id of the update to which somebody has said yes."""
    consent_always: bool = False
    """Whether each update needs that."""
    stale: str = ""
    """Why nothing new may be begun; empty where it may."""
    by_hand: bool = False
    """Whether somebody has brought a stick: how often it failed is not held against it then."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The update to take; or, held, the newest one, which has to wait; or none."""

    manifest: Manifest | None = None
    held: str = ""
    """A word of ``plan.HELD_WORDS``; empty where it is taken, or where there is none."""
    retries: bool = False
    """Whether it failed here before, and its publisher asks for another try."""


def choose(offers: Sequence[Manifest], state: ModelState, situation: Situation) -> Choice:
    """Return the highest of the updates that this device may take now.

    One is an update where its sequence is higher than the running model's, or where it names the running model as one
    to go back from; what is named so by any other is withdrawn and never taken.
    """
    held, withdrawn = Choice(), _withdrawn(offers)
    sequence = max([state.sequence, *(each.sequence for each in offers if each.model_id == situation.running_id)])
    for manifest in sorted(offers, key=lambda each: -each.sequence):
        newer = manifest.sequence > sequence or situation.running_id in manifest.custom.allow_downgrade_from
        if not newer or manifest.model_id in withdrawn | {situation.running_id}:
            continue
        word = _held(manifest, state, situation)
        if not word:
            return Choice(manifest, retries=_failed(manifest.model_id, state, situation))
        held = held if held.manifest else Choice(manifest, word)
    return held


def stopped(offers: Sequence[Manifest], manifest: Manifest) -> bool:
    """Whether the publisher has stopped an update: at 0 percent, withdrawn, or no more signed."""
    now = next((offer for offer in offers if offer.model_id == manifest.model_id), None)
    return now is None or now.custom.rollout_percent == 0 or now.model_id in _withdrawn(offers)


def bundle_for(manifest: Manifest, state: ModelState, base_id: str | None, *, whole_allowed: bool) -> Bundle | None:
    """Return the bundle to fetch: the delta against the model that is here, else the whole where that is allowed.

    Args:
        manifest: the update.
        state: says whether a delta to it did not apply here.
        base_id: id of the model that is here, as hashed; None where it is damaged.
        whole_allowed: by the device's configuration; the publisher has to allow it, too.
    """
    delta = manifest.bundle_for(base_id) if base_id else None
    whole = manifest.bundle_for("") if whole_allowed and manifest.custom.whole_allowed else None
    first_whole = plan.failure_of(state, manifest.model_id).prefer_whole
    return (whole or delta) if first_whole else (delta or whole)


def _withdrawn(offers: Sequence[Manifest]) -> set[str]:
    return {model_id for offer in offers for model_id in offer.custom.allow_downgrade_from}


def _failed(model_id: str, state: ModelState, situation: Situation) -> bool:
    """Whether an update has failed here, or its attempts so often, that it takes its publisher to try it again."""
    often = plan.failure_of(state, model_id).times >= plan.FAILURES_MAX
    return model_id in situation.condemned or (often and not situation.by_hand)


def _held(manifest: Manifest, state: ModelState, situation: Situation) -> str:
    """Return what an update waits for; the reasons that only its publisher can end come first."""
    custom, model_id = manifest.custom, manifest.model_id
    again = custom.retry and model_id not in state.retried
    reasons = {
        "failed": _failed(model_id, state, situation) and not again,
        "stopped": custom.rollout_percent == 0,
        "rollout": not chosen(situation.node, model_id, custom.rollout_percent),
        "consent": (custom.consent or situation.consent_always) and situation.consented != model_id,
        "stale": bool(situation.stale),
    }
    return next((word for word, holds in reasons.items() if holds), "")
