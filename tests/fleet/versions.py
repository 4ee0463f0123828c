"""The story's models, and names of devices that draw their lots as the story wants it."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from appliance.hub.folder import ModelFolder
from appliance.trust.manifest import chosen
from tests.hub.hubs import tuned
from tests.model_folders import TINY
from tests.system.crashing import BAD_VERSION
from tests.updates import newer

NAME = TINY.parent.name
FACTORY, BETTER, BAD, MENDED = "1.0.0", "1.1.0", BAD_VERSION, "2.0.1"
SHARE_PERCENT = 30
FACTORY_BYTES, FIELD_BYTES = 120_000, 300_000
"""Measurements, which no packing makes smaller. What BETTER adds makes its delta long enough to be cut in the middle,
and is less than 80 % of the whole, so that the delta is published."""


@dataclass(frozen=True, slots=True)
class Version:
    """A model folder, and its id."""

    folder: Path
    model_id: str


def make(root: Path) -> dict[str, Version]:
    """Make every version, each fine-tuned from the one before it; the bad one's golden vectors are its own answers.

    What is bad about it is not in its files: ``tests.system.crashing`` ends the process that lets it decide.
    """
    random, models = np.random.default_rng(5), root / "models"
    factory = newer(TINY, models, FACTORY, files={"measured/factory.bin": random.bytes(FACTORY_BYTES)})
    longer = newer(factory, root / "longer", BETTER, files={"measured/field.bin": random.bytes(FIELD_BYTES)})
    better = tuned(longer, models, BETTER, noise=0.3, seed=1)
    others = [tuned(better, models, version, noise=0.3, seed=seed) for seed, version in ((2, BAD), (3, MENDED))]
    return {folder.name: Version(folder, ModelFolder.read(folder).model_id) for folder in (factory, better, *others)}


@dataclass(frozen=True, slots=True)
class Names:
    """Of the three devices; lots are drawn from a device's name and the model's id."""

    first: str
    """Among the first that get BETTER."""
    second: str
    """Among the first that get BAD."""
    last: str
    """Never among the first; has no network when MENDED is published."""


def drawn(versions: dict[str, Version]) -> Names:
    """Find three names of which exactly one is in the first share of BETTER, and another one in that of BAD."""
    found: dict[tuple[bool, ...], str] = {}
    for number in count(1):
        name = f"door-{number}"
        lots = tuple(chosen(name, versions[each].model_id, SHARE_PERCENT) for each in (BETTER, BAD))
        found.setdefault(lots, name)
        if found.keys() >= {(True, False), (False, True), (False, False)}:
            break
    return Names(found[True, False], found[False, True], found[False, False])
