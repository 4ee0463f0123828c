"""What a signed repository says of an update: a manifest, made of the custom fields of TUF targets.

The targets of one version of a model are its description, ``<model>/<version>/model.toml``, whose SHA-256 is the *model
id* (the description lists the digest of every other file, so the id names the whole folder) and whose custom fields are
the terms of the update; and its bundles, ``<model>/<version>/<base id>`` and ``<model>/<version>/whole``.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from appliance.errors import MetadataError

FORMAT = 1
"""Version of the custom fields: a device passes over what has another."""
WHOLE = "whole"
"""Last part of the path of a bundle that needs no base."""
DESCRIPTION = "model.toml"
BUNDLE_BYTES_MAX = 128 * 1024 * 1024
"""As much as a model folder may have."""
MEMORY_BYTES_MAX = 512 * 1024 * 1024
TRIES_MAX = 10
DECISIONS_MAX = 1_000_000
SUMMARY_CHARACTERS_MAX = 200
SHADOW_FRAMES_MAX = 1000
DURATION_S_MAX = 7 * 86_400.0

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
Version = Annotated[str, StringConstraints(pattern=r"^[0-9][0-9A-Za-z.+-]{0,31}$")]


class _Signed(BaseModel):
    """Signed fields: unknown ones are passed over, so that a newer publisher can serve an older device."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


_Kind = TypeVar("_Kind", bound=_Signed)


class Terms(_Signed):
    """How a candidate is tried on a device, and what it must show."""

    tries: int = Field(default=5, ge=1, le=TRIES_MAX)
    """Starts of the self-test and of the trial, together; counted down on disk before each."""
    shadow_frames: int = Field(default=20, ge=0, le=SHADOW_FRAMES_MAX)
    """Live frames that the running model and the candidate both judge before it may decide anything."""
    agreement_min: float = Field(default=0.8, ge=0.0, le=1.0)
    """Share of them on which both must agree."""
    decisions_min: int = Field(default=50, ge=1, le=DECISIONS_MAX)
    """Results that the candidate must give in the trial."""
    duration_s: float = Field(default=300.0, ge=0.0, le=DURATION_S_MAX)
    """Shortest trial, in seconds of the process."""
    faults_share_max: float = Field(default=0.1, ge=0.0, le=1.0)
    """Share of its frames that it may leave without an answer."""
    latency_ms_max: float | None = Field(default=None, gt=0.0)
    """Median of an invoke in the self-test."""
    memory_bytes_max: int | None = Field(default=None, ge=1)
    """What loading it and invoking it once may add to a process."""


class Custom(_Signed):
    """Custom fields of a description's target: what is true of the update, whichever bundle brings it."""

    format: Literal[1]
    kind: Literal["model"]
    model: Name
    version: Version
    sequence: int = Field(ge=1, le=2**53)
    """Rises with each version that is published of a model; a device never goes to a lower one, but see below."""
    size_bytes: int = Field(ge=1, le=BUNDLE_BYTES_MAX)
    """Of the folder's files, together."""
    rollout_percent: int = Field(ge=0, le=100)
    """Share of devices that may take it; 0 stops it."""
    whole_allowed: bool = True
    """Whether a device without a fitting base, or whose delta failed, may fetch the whole."""
    consent: bool = False
    """Whether somebody has to say yes on the device."""
    allow_downgrade_from: tuple[Sha256, ...] = Field(default=(), max_length=16)
    """Ids of models with a higher sequence from which a device may go back to this one."""
    retry: bool = False
    """Whether a device on which it failed may try it again."""
    summary: str = Field(default="", max_length=SUMMARY_CHARACTERS_MAX)
    terms: Terms = Terms()


class BundleCustom(_Signed):
    """Custom fields of a bundle's target."""

    format: Literal[1]
    kind: Literal["bundle"]
    model_id: Sha256
    base_id: Sha256 | Literal[""]
    """Id of the model that it is a delta against; empty for the whole."""
    memory_bytes: int = Field(ge=1, le=MEMORY_BYTES_MAX)
    """Address space that applying may take beyond the interpreter's own."""


class Bundle(_Signed):
    """A file that brings an update, as signed."""

    path: str
    size_bytes: int = Field(ge=1, le=BUNDLE_BYTES_MAX)
    sha256: Sha256
    base_id: Sha256 | Literal[""]
    memory_bytes: int = Field(ge=1, le=MEMORY_BYTES_MAX)


class Manifest(_Signed):
    """An update and its signed description."""

    model_id: Sha256
    custom: Custom
    bundles: tuple[Bundle, ...] = Field(max_length=64)

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.custom.model

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.custom.version

    @property
    def sequence(self) -> int:
        """Place in the order of the model's versions."""
        return self.custom.sequence

    def bundle_for(self, base_id: str) -> Bundle | None:
        """Return the bundle against the model ``base_id``, or the whole for an empty one; None where there is none."""
        return next((bundle for bundle in self.bundles if bundle.base_id == base_id), None)


@dataclass(frozen=True, slots=True)
class Target:
    """A target of the repository, as its targets role has it."""

    path: str
    size_bytes: int
    sha256: str
    custom: Mapping[str, object]


def chosen(node: str, model_id: str, percent: int) -> bool:
    """Whether a device takes part in a rollout: the same answer on each device each time, from signed numbers only.

    Args:
        node: the device's stable id.
        model_id: of the update, so that not the same devices are first every time.
        percent: 0 to 100.
    """
    draw = int.from_bytes(hashlib.sha256(f"{node}\0{model_id}".encode()).digest()[:4], "big")
    return draw % 100 < percent


def manifests(targets: Iterable[Target]) -> dict[str, tuple[Manifest, ...]]:
    """Read every update of a repository, by model, the highest sequence first.

    What has another format or kind than this device knows is passed over.

    Raises:
        MetadataError: a target is signed but cannot be: the publisher's mistake; the message names its path.
    """
    known = [target for target in targets if target.custom.get("format") == FORMAT]
    bundles: dict[str, list[Bundle]] = {}
    for target in known:
        if target.custom.get("kind") == "bundle":
            model_id, bundle = _bundle(target)
            bundles.setdefault(model_id, []).append(bundle)
    found: dict[str, list[Manifest]] = {}
    for target in known:
        if target.custom.get("kind") == "model":
            made = _manifest(target, tuple(bundles.get(target.sha256, ())))
            if target.path != f"{made.model}/{made.version}/{DESCRIPTION}":
                msg = f"{target.path}: its custom fields are of {made.model} {made.version}"
                raise MetadataError(msg)
            found.setdefault(made.model, []).append(made)
    return {model: tuple(sorted(made, key=lambda each: -each.sequence)) for model, made in found.items()}


def _manifest(target: Target, bundles: tuple[Bundle, ...]) -> Manifest:
    """Return the update that a description's target is of. Raises MetadataError."""
    custom = _read(Custom, target)
    try:
        return Manifest(model_id=target.sha256, custom=custom, bundles=bundles)
    except ValidationError as error:
        raise _wrong(target, error) from error


def _bundle(target: Target) -> tuple[str, Bundle]:
    """Return the id of the model that a bundle brings, and the bundle. Raises MetadataError."""
    custom = _read(BundleCustom, target)
    try:
        return custom.model_id, Bundle(
            path=target.path,
            size_bytes=target.size_bytes,
            sha256=target.sha256,
            base_id=custom.base_id,
            memory_bytes=custom.memory_bytes,
        )
    except ValidationError as error:
        raise _wrong(target, error) from error


def _read(kind: type[_Kind], target: Target) -> _Kind:
    """Read a target's custom fields. Raises MetadataError."""
    try:
        return kind.model_validate(target.custom, strict=False)
    except ValidationError as error:
        raise _wrong(target, error) from error


def _wrong(target: Target, error: ValidationError) -> MetadataError:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return MetadataError(f"{target.path}: custom field {place}: {first['msg']}")
