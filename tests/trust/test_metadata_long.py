"""Sixty thousand spoilt metadata files in little memory, and a cut at each write of each step: harmless, all."""

import copy
import json
import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.formats import encode_canonical

from appliance.errors import MetadataError
from appliance.hub.signing import Role
from appliance.trust.metadata import Trusted
from tests.repositories import Files, Publisher, Signer, body_of, published
from tests.trust.test_metadata_kept import assert_a_cut_is_harmless

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPOILT_BYTES = 50_000
SPOILT_TREES = 10_000
MEMORY_BYTES = 192 * 1024 * 1024
"""Address space beyond what this process has."""


@pytest.fixture(scope="module")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return published(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def moments(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    publisher = Publisher(tmp_path_factory.mktemp("hub"))
    found = []
    for sequence, role in enumerate([Role.TIMESTAMP, Role.RELEASES, Role.ROOT], start=1):
        publisher.publish(sequence)
        found.append(publisher.files())
        publisher.rotate(role)
        found.append(publisher.files())
    return found


@pytest.fixture
def _little_memory() -> Iterator[None]:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def metadata(publisher: Publisher) -> Files:
    names = {"timestamp.json": "timestamp", "2.snapshot.json": "snapshot", "2.targets.json": "targets"}
    files = {role: publisher.files()[f"metadata/{name}"] for name, role in names.items()}
    return {"root": publisher.root, **files}


def take(publisher: Publisher, role: str, raw: bytes) -> bool:
    """Whether it was taken; anything but MetadataError is a bug."""
    try:
        trusted = Trusted(raw if role == "root" else publisher.root)
        if role != "root":
            trusted.recall(role, raw)
            trusted.versions()
            trusted.stale(0)
    except MetadataError:
        return False
    return True


@pytest.mark.usefixtures("_little_memory")
def test_bytes_that_were_changed_are_refused_or_mean_the_same(publisher: Publisher) -> None:
    rng = random.Random(5)  # noqa: S311 - filling, no secret
    sound = metadata(publisher)
    meant = {role: body_of(raw).to_dict() for role, raw in sound.items()}
    taken = 0
    for _ in range(SPOILT_BYTES):
        role = rng.choice(list(sound))
        raw = bytearray(sound[role])
        for _ in range(rng.randint(1, 4)):
            place, length = rng.randrange(len(raw)), rng.randint(1, 12)
            match rng.randrange(4):
                case 0:
                    raw[place] ^= 1 << rng.randrange(8)
                case 1:
                    del raw[place : place + length]
                case 2:
                    raw[place:place] = raw[rng.randrange(len(raw)) :][:length]
                case _:
                    raw[place : place + 1] = rng.choice(
                        [b"[" * 400, b"{", b"9" * 5000, b"-", b"1e9", b"null", b"\\u0000"]
                    )
            raw = raw or bytearray(b"x")
        if take(publisher, role, bytes(raw)):
            taken += 1
            assert body_of(bytes(raw)).to_dict() == meant[role]
    assert taken < SPOILT_BYTES / 10


_ODD: list[Any] = [None, True, False, 0, -1, 2**60, "", "x", "\x00", [], {}, [[]], {"a": {}}, ["x"] * 50, "1", "é"]


def _spoil(rng: random.Random, tree: Any) -> None:  # noqa: ANN401 - JSON of any shape
    """Put something odd somewhere into a tree, or take something out."""
    while True:
        keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(tree[key], dict | list) and rng.random() < 0.8:
            tree = tree[key]
            continue
        if rng.random() < 0.25:
            del tree[key]
        else:
            tree[key] = copy.deepcopy(rng.choice(_ODD))
        return


@pytest.mark.usefixtures("_little_memory")
def test_what_a_publisher_signs_by_mistake_is_taken_or_refused_and_no_bug(publisher: Publisher) -> None:
    """Signed by the right keys, so that nothing stops it before it is looked at."""
    rng = random.Random(6)  # noqa: S311 - filling, no secret
    sound = metadata(publisher)
    keys: dict[str, list[Signer]] = {
        "root": publisher.root_keys,
        "timestamp": [publisher.timestamp],
        "snapshot": [publisher.timestamp],
        "targets": [publisher.releases],
    }
    taken = 0
    for _ in range(SPOILT_TREES):
        role = rng.choice(list(sound))
        signed = json.loads(sound[role])["signed"]
        for _ in range(rng.randint(1, 2)):
            _spoil(rng, signed)
        canonical = encode_canonical(signed)
        assert canonical is not None
        signatures = [each.sign(canonical.encode("utf-8", "surrogatepass")).to_dict() for each in keys[role]]
        taken += take(publisher, role, json.dumps({"signatures": signatures, "signed": signed}).encode())
    assert SPOILT_TREES / 100 < taken < SPOILT_TREES, "both happen, or this tries nothing"


@pytest.mark.parametrize("writes", range(12))
@pytest.mark.parametrize("step", [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5), (1, 4)], ids=str)
def test_a_cut_at_any_write_of_any_step_loses_nothing(
    tmp_path: Path, moments: list[Files], step: tuple[int, int], writes: int
) -> None:
    assert_a_cut_is_harmless(tmp_path, moments, *step, writes)
