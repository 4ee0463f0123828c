"""Publishes a version: deltas from what devices have, each carried out and proved here before anything is signed.

The order on the disk makes a cut harmless at any moment: the folder waits in ``fielded/``, bundles are written under
their digests, then comes what is signed, ``timestamp.json`` last. Before that, devices see what they saw.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from appliance.errors import HubError
from appliance.hub import bundle
from appliance.hub.bundle import Built
from appliance.hub.desk import Desk, all_published
from appliance.hub.folder import ModelFolder
from appliance.hub.lighter import Gate, lighten
from appliance.hub.progress import Progress
from appliance.trust.manifest import BUNDLE_BYTES_MAX, DESCRIPTION, WHOLE, BundleCustom, Custom, Terms

DELTA_SHARE_MAX = 0.8
"""Of the whole's size: a larger delta is not worth its risks (tufup's rule); those devices take the whole."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What is to be published, and how devices may take it."""

    folder: ModelFolder
    bases: int
    """How many of the newest fielded versions get a delta."""
    whole: bool
    rollout_percent: int
    consent: bool
    summary: str
    terms: Terms
    gate: Gate | None
    """None leaves the folder as its author made it."""


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """A bundle that was made, signed or not."""

    base: ModelFolder | None
    """None for the whole."""
    built: Built
    signed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """What came of an order."""

    folder: ModelFolder
    sequence: int
    made: Sequence[Made]
    pinning: str
    """What was done to its scales, in a sentence; empty where nothing was asked for."""


def publish(desk: Desk, order: Order, progress: Progress) -> Published:
    """Publish a version.

    Raises:
        HubError: the version or the same folder is published already, or devices have another folder of that version;
            nothing could be made that a device may take; or a bundle does not give what it should.
    """
    folder, pinning = order.folder, ""
    sequence, known = _next(desk, folder), _known(desk, folder)
    bases = _bases(desk, order)
    if order.gate is not None and known:
        pinning = f"scales not pinned: devices have {folder.version} as it is"
    elif order.gate is not None and bases:
        folder, pinning = lighten(folder, bases[-1], order.gate)
    made = _make(folder, bases, order, progress)
    desk.fielded.stage(folder)
    _add(desk, folder, made, _custom(order, folder, sequence))
    desk.sign()
    desk.settle()
    return Published(folder, sequence, made, pinning)


def _next(desk: Desk, folder: ModelFolder) -> int:
    """Return the sequence that a folder gets. Raises HubError when it may not be published."""
    earlier = all_published(desk.repository).get(folder.name, ())
    taken = next((each for each in earlier if each.version == folder.version), None)
    if taken is not None:
        same = "the same folder" if taken.model_id == folder.model_id else "another folder, or the same unpinned"
        msg = f"{folder.name} {folder.version} is published already ({same}); give the next one a higher version"
        raise HubError(msg)
    return max((each.sequence for each in earlier), default=0) + 1


def _known(desk: Desk, folder: ModelFolder) -> bool:
    """Say whether devices have this very folder from elsewhere. Raises HubError when theirs is another one."""
    known = desk.fielded.read(folder.name, folder.version)
    if known is not None and known.model_id != folder.model_id:
        msg = f"devices have another {folder.name} {folder.version} ({known.model_id[:12]}); give this a higher version"
        raise HubError(msg)
    return known is not None


def _bases(desk: Desk, order: Order) -> list[ModelFolder]:
    """Read the folders that deltas are made from, the newest last. Raises HubError."""
    wanted = [each for each in desk.fielded.versions(order.folder.name) if each.name != order.folder.version]
    return [ModelFolder.read(each) for each in wanted[-order.bases :]] if order.bases else []


def _make(folder: ModelFolder, bases: Sequence[ModelFolder], order: Order, progress: Progress) -> list[Made]:
    """Make and prove every bundle; the whole first, for deltas are held against it. Raises HubError."""
    made: list[Made] = []
    for base in [None, *reversed(bases)]:
        told = partial(_told, progress, f"{folder.version} {f'from {base.version}' if base else WHOLE}")
        built = bundle.build(base.files if base else None, folder.files, progress=told)
        if base is None:
            signed = order.whole and len(built.content) <= BUNDLE_BYTES_MAX
        else:
            signed = len(built.content) < DELTA_SHARE_MAX * len(made[0].built.content)
        made.append(Made(base, built, signed))
    if not any(each.signed for each in made):
        msg = f"{folder.name} {folder.version}: no delta is worth it and the whole is left out: no device could take it"
        raise HubError(msg)
    return made


def _told(progress: Progress, which: str, what: str, done: int, total: int) -> None:
    progress(f"{which}: {what}", done, total)


def _custom(order: Order, folder: ModelFolder, sequence: int) -> Custom:
    return Custom(
        format=1,
        kind="model",
        model=folder.name,
        version=folder.version,
        sequence=sequence,
        size_bytes=folder.size_bytes,
        rollout_percent=order.rollout_percent,
        whole_allowed=order.whole,
        consent=order.consent,
        summary=order.summary,
        terms=order.terms,
    )


def _add(desk: Desk, folder: ModelFolder, made: Sequence[Made], custom: Custom) -> None:
    """Put the targets of a version in place, unsigned. Raises HubError."""
    place = f"{folder.name}/{folder.version}"
    for each in made:
        if each.signed:
            base_id = each.base.model_id if each.base else ""
            custom_of_bundle = BundleCustom(
                format=1,
                kind="bundle",
                model_id=folder.model_id,
                base_id=base_id,
                memory_bytes=each.built.memory_bytes,
            )
            path, fields = f"{place}/{base_id or WHOLE}", custom_of_bundle.model_dump(mode="json")
            desk.repository.add_target(path, each.built.content, fields)
    desk.repository.add_target(
        f"{place}/{DESCRIPTION}", folder.files[DESCRIPTION], custom.model_dump(mode="json", exclude_none=True)
    )
