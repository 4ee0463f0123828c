"""What ``ports.Repository`` promises, kept by a web server, by the hub's own, by an archive and by the simulation."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from appliance.errors import BudgetError, BundleError, MetadataError, RefusedError, RepositoryError, StoreError
from appliance.sim.slots import VolatileSlots
from appliance.trust.manifest import Bundle
from tests.contract.repository_benches import BENCHES, Bench, bundle_of, files_of

CONTENT = bytes(range(256)) * 1000  # 256 kB: more than one piece, and no whole number of them
BUNDLE = bundle_of(CONTENT)


@pytest.fixture(params=BENCHES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as stack:
        yield BENCHES[request.param](tmp_path / "repository", stack)


@pytest.fixture
def slots(tmp_path: Path) -> VolatileSlots:
    (tmp_path / "repository").mkdir()
    return VolatileSlots(tmp_path / "slots")


class Ledger:
    """Counts what is received, and may have enough."""

    def __init__(self, allowed_bytes: int | None = None) -> None:
        self.pieces: list[int] = []
        self._allowed_bytes = allowed_bytes

    def __call__(self, size_bytes: int) -> None:
        if self._allowed_bytes is not None and sum(self.pieces) + size_bytes > self._allowed_bytes:
            raise BudgetError("enough for today")
        self.pieces.append(size_bytes)


def test_metadata_is_what_is_there_and_none_where_nothing_is(bench: Bench, slots: VolatileSlots) -> None:
    repository = bench.open({"metadata/timestamp.json": b"stamp", "metadata/2.root.json": b""})
    assert repository.metadata("timestamp.json", 5) == b"stamp"
    assert repository.metadata("2.root.json", 5) == b""
    assert repository.metadata("3.root.json", 5) is None


def test_what_comes_of_metadata_is_counted(bench: Bench, slots: VolatileSlots) -> None:
    repository, ledger = bench.open({"metadata/timestamp.json": b"x" * 150_000}), Ledger()
    assert repository.metadata("2.root.json", 5, ledger) is None
    assert not ledger.pieces
    repository.metadata("timestamp.json", 150_000, ledger)
    assert sum(ledger.pieces) == 150_000


def test_metadata_beyond_its_bound_is_refused(bench: Bench, slots: VolatileSlots) -> None:
    repository = bench.open({"metadata/timestamp.json": b"x" * 200_000})
    with pytest.raises(MetadataError, match="larger than 199999 bytes"):
        repository.metadata("timestamp.json", 199_999)
    assert repository.metadata("timestamp.json", 200_000) == b"x" * 200_000


def test_a_repository_that_is_lost_says_so(bench: Bench, slots: VolatileSlots) -> None:
    repository = bench.open({"metadata/timestamp.json": b"stamp", **files_of(BUNDLE, CONTENT)})
    bench.lose()
    with pytest.raises(RepositoryError):
        repository.metadata("timestamp.json", 100)
    with pytest.raises(RepositoryError):
        repository.fetch(BUNDLE, slots.partial(BUNDLE), Ledger())


def test_a_bundle_comes_whole_and_each_piece_is_counted_before_it_is_kept(bench: Bench, slots: VolatileSlots) -> None:
    into, ledger = slots.partial(BUNDLE), Ledger()
    bench.open(files_of(BUNDLE, CONTENT)).fetch(BUNDLE, into, ledger)
    assert into.file.read_bytes() == CONTENT
    assert sum(ledger.pieces) == len(CONTENT)
    assert max(ledger.pieces) <= 64 * 1024


@pytest.mark.parametrize("there", [1, 65_536, len(CONTENT) - 1])
def test_what_is_there_is_not_fetched_again(bench: Bench, slots: VolatileSlots, there: int) -> None:
    into, ledger = slots.partial(BUNDLE), Ledger()
    into.begin("")
    into.append(CONTENT[:there])
    bench.open(files_of(BUNDLE, CONTENT)).fetch(BUNDLE, into, ledger)
    assert into.file.read_bytes() == CONTENT
    assert sum(ledger.pieces) == len(CONTENT) - there


def test_a_download_goes_on_after_its_tag_was_noted(bench: Bench, slots: VolatileSlots) -> None:
    repository, into, ledger = bench.open(files_of(BUNDLE, CONTENT)), slots.partial(BUNDLE), Ledger(100_000)
    with pytest.raises(BudgetError):
        repository.fetch(BUNDLE, into, ledger)
    kept = sum(ledger.pieces)
    assert 0 < into.size_bytes == kept <= 100_000
    rest = Ledger()
    repository.fetch(BUNDLE, into, rest)
    assert into.file.read_bytes() == CONTENT
    assert sum(rest.pieces) == len(CONTENT) - kept


def test_nothing_is_fetched_of_what_is_all_there(bench: Bench, slots: VolatileSlots) -> None:
    into, ledger = slots.partial(BUNDLE), Ledger(0)
    into.begin("")
    into.append(CONTENT)
    bench.open(files_of(BUNDLE, CONTENT)).fetch(BUNDLE, into, ledger)
    assert ledger.pieces == []


def test_what_is_longer_than_the_bundle_is_begun_anew(bench: Bench, slots: VolatileSlots) -> None:
    into = slots.partial(BUNDLE)
    into.begin("")
    into.append(CONTENT + b"more")
    bench.open(files_of(BUNDLE, CONTENT)).fetch(BUNDLE, into, Ledger())
    assert into.file.read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b""], ids=["shorter", "longer", "empty"])
def test_a_file_that_has_not_the_signed_size_is_not_taken(bench: Bench, slots: VolatileSlots, content: bytes) -> None:
    into = slots.partial(BUNDLE)
    with pytest.raises((BundleError, RepositoryError), match="256000"):
        bench.open(files_of(BUNDLE, content)).fetch(BUNDLE, into, Ledger())
    assert into.size_bytes <= BUNDLE.size_bytes


def test_a_bundle_that_is_not_there_is_a_final_no(bench: Bench, slots: VolatileSlots) -> None:
    with pytest.raises(RefusedError):
        bench.open({}).fetch(BUNDLE, slots.partial(BUNDLE), Ledger())


def test_a_path_that_could_lead_anywhere_is_a_final_no(bench: Bench, slots: VolatileSlots) -> None:
    repository = bench.open({})
    for path in ("../../etc/passwd", "/etc/passwd", "a//b", "a/../b", "", "a b", "a?b", "a%2fb", "a\nb"):
        bundle = Bundle(path=path, size_bytes=1, sha256="0" * 64, base_id="", memory_bytes=1)
        with pytest.raises(RefusedError, match="no path"):
            repository.fetch(bundle, slots.partial(bundle), Ledger())


def test_a_store_that_is_full_ends_it_and_keeps_what_it_took(bench: Bench, slots: VolatileSlots) -> None:
    into = slots.partial(BUNDLE)
    repository = bench.open(files_of(BUNDLE, CONTENT))
    slots.script.writes_left = 3
    with pytest.raises(StoreError):
        repository.fetch(BUNDLE, into, Ledger())
    slots.script.writes_left = None
    assert 0 < into.size_bytes < len(CONTENT)
    repository.fetch(BUNDLE, into, Ledger())
    assert into.file.read_bytes() == CONTENT
