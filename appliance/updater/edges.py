"""What the updater works with: the ports, and what is given to it as a function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from appliance.ports.services import Clock
from appliance.ports.updates import Repository, SlotStore
from appliance.trust.manifest import Bundle
from appliance.trust.state import ModelState
from appliance.updater.allowance import Allowance
from appliance.updater.signed import Signed

Apply = Callable[[Bundle, Path, Path | None, Path], None]
"""Make a model's files: the bundle as signed, its file, the base's folder or None, the empty folder to fill.

Raises BundleError: not what was signed, or not within its memory or time; StoreError: the files cannot be kept.
"""
Watch = Callable[[ModelState, int], None]
"""Told of each step: where an update stands, and the bytes of its bundle that are here."""

Post = Callable[[bytes], None]
"""Hand a report over. Raises RepositoryError: try again later; RefusedError: never."""


@dataclass(frozen=True, slots=True)
class Factory:
    """The model that came with the device."""

    model_id: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Edges:
    """What the stages work with."""

    slots: SlotStore
    clock: Clock
    repository: Repository
    signed: Signed
    allowance: Allowance | None
    """The day's bytes; None where they do not count: from a stick."""
    factories: Mapping[str, Factory]
    """By the model's name."""
    hash_folder: Callable[[Path], str]
    """Reads every file of a model folder; returns its id. Raises ModelError."""
    apply: Apply
    suits: Callable[[str, Path], None]
    """Say whether a stored folder can take a model's place here. Raises ModelError, ConfigError."""
    jitter: Callable[[], float]
    stop: Event
    """Set: end soon, and leave the rest to the next run."""
