"""Where a device's updates stand, for people and for programs."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from appliance.compose.updates import Updates
from appliance.errors import MetadataError, StoreError
from appliance.trust import plan
from appliance.trust.state import ModelState
from appliance.updater.stages import CONSENT_FOLDER

ID_DIGITS = 12
"""Of a model's id, what is shown."""
LINE_END = "\r\n"
"""Many a technician's computer knows no other end of a line."""


def row(updates: Updates, name: str) -> tuple[str, ...]:
    """Return what serves, the stage, the newest version, what it waits for, and the last attempt; "" for nothing.

    Raises StoreError.
    """
    state = updates.slots.load(name)
    runs = updates.running(name)
    received = updates.slots.partial(state.candidate.bundle).size_bytes if state.candidate else 0
    percent = plan.percent(state, received)
    return (
        f"{runs.version}{'' if state.committed else ' (came with the device)'} {runs.model_id[:ID_DIGITS]}",
        state.stage.value if percent is None else f"{state.stage.value} {percent} %",
        state.latest_version,
        _waits(updates, state),
        f"{state.outcome}: {state.reason}" if state.outcome and state.candidate is None else "",
    )


def _waits(updates: Updates, state: ModelState) -> str:
    """Say what the newest version waits for."""
    said = updates.slots.file(f"{CONSENT_FOLDER}/{state.model}") if state.held == "consent" else None
    if said is not None and said.decode("ascii", errors="replace").strip() == state.latest_id:
        return "the next run: somebody has said yes"
    return plan.HELD_WORDS.get(state.held, state.held)


def sentences(updates: Updates) -> Iterator[str]:
    """Yield a line for each model, for people. Raises StoreError."""
    tried = False
    for name in updates.models:
        serves, stage, newest, waits, last = row(updates, name)
        state = updates.slots.load(name)
        tried = tried or state.stage in plan.LOOP_STAGES
        told = [f"{serves} serves"]
        if state.candidate is not None:
            told.append(f"{state.candidate.manifest.version} is at {stage}")
        elif newest:
            told.append(f"the newest is {newest}")
        told += [f"it waits: {waits}"] if waits else []
        told += [f"the last attempt {last}"] if last else []
        yield f"{name}: {'; '.join(told)}."
    if tried:
        yield "The running appliance tries it on live data now; `appliance update status` tells how it goes."


def told(updates: Updates, file: Path, reason: str, code: int, *, as_json: bool) -> str:
    """Return what became of an archive; where the store cannot be read, that."""
    node = updates.teller.node
    known: dict[str, object] = {}
    lines = [f"Edge appliance {node} was given {file.name}."]
    try:
        if as_json:
            known = facts(updates)
        else:
            lines += sentences(updates)
    except (StoreError, MetadataError) as error:
        reason = "; ".join(filter(None, (reason, str(error))))
    if as_json:
        return (
            json.dumps({"file": file.name, "node": node, "error": reason, "exit_code": code} | known, indent=2) + "\n"
        )
    lines += [f"Not taken: {reason}"] if reason else []
    return LINE_END.join([*lines, ""])


def facts(updates: Updates) -> dict[str, object]:
    """Return what is known, JSON-ready. Raises StoreError, MetadataError."""
    known = updates.known()
    age_s = known.reference_s - known.signed_at_s if known and known.signed_at_s is not None else None
    return {
        "models": {name: _model_facts(updates, updates.slots.load(name)) for name in updates.models},
        "signed": {"age_s": age_s, "versions": dict(known.versions)} if known else None,
        "stale": known.stale if known else "",
        "bytes_left_today": updates.allowance.left_bytes(),
        "failed_here": dict(updates.slots.condemned()),
    }


def below(known: Mapping[str, object]) -> Iterator[str]:
    """Yield what stands under the table, of ``facts``."""
    signed = known["signed"]
    if isinstance(signed, dict):
        versions = ", ".join(f"{role} {version}" for role, version in signed["versions"].items())
        age_s = signed["age_s"]
        old = "" if age_s is None else f", {age_s / 86_400:.1f} days old"
        yield f"signed metadata: {versions}{old}"
    if known["stale"]:
        yield f"nothing new is installed: {known['stale']}"
    yield f"bytes left today: {known['bytes_left_today']:,}"
    failed = known["failed_here"]
    assert isinstance(failed, dict), "as facts() gives it"
    for model_id, reason in failed.items():
        yield f"failed here, not tried again: {model_id[:ID_DIGITS]} {reason}"


def _model_facts(updates: Updates, state: ModelState) -> dict[str, object]:
    runs = updates.running(state.model)
    kept = ("committed", "previous", "latest_id", "latest_version", "held", "outcome", "reason", "attempt", "failures")
    shown = {key: getattr(state, key) for key in kept}
    return {"stage": state.stage.value, "running_id": runs.model_id, "running_version": runs.version} | shown
