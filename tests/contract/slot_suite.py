"""What every store of models promises (``ports.SlotStore``), as one suite: simulated, and on a real disk."""

import contextlib
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.adapters.model_folder import read_model
from appliance.errors import BundleError, StoreError
from appliance.ports import SlotStore
from appliance.ports.updates import CONDEMNED_MAX
from appliance.trust.manifest import DESCRIPTION
from appliance.trust.state import ModelState, Stage
from tests.slots import MODEL, Sample, bundle_of, candidate_of, sample

ONE, TWO, THREE = (sample(f"{number}.0.0") for number in (1, 2, 3))
OTHER = sample("1.0.0", name="other")
PATIENCE_S = 20.0


def save(slots: SlotStore, **changes: object) -> ModelState:
    """Change the record of MODEL, as both processes do."""
    with slots.locked(MODEL):
        return slots.save(slots.load(MODEL).model_copy(update=changes))


def committed(slots: SlotStore, made: Sample, sequence: int) -> ModelState:
    """Let a model serve."""
    slots.add(made.model_id, made.make)
    slots.commit(made.model_id, sequence)
    return save(slots, committed=made.model_id, previous=slots.load(MODEL).committed, sequence=sequence)


class SlotContract:
    """Subclass it and give it ``slots``; ``again`` is the store as another process sees it."""

    @pytest.fixture
    def slots(self) -> SlotStore:
        raise AssertionError("each subclass has its own")

    @pytest.fixture
    def again(self, slots: SlotStore) -> Callable[[], SlotStore]:
        return lambda: slots

    def test_of_a_model_without_updates_the_factory_serves(self, slots: SlotStore) -> None:
        assert slots.load(MODEL) == ModelState(model=MODEL)
        assert slots.condemned() == {}
        assert slots.folder(ONE.model_id) is None
        assert slots.file("trust/timestamp.json") is None
        assert slots.files("reports/mqtt") == ()

    def test_what_was_saved_is_loaded_and_its_generation_rises(
        self, slots: SlotStore, again: Callable[[], SlotStore]
    ) -> None:
        first = save(slots, stage=Stage.TRIAL, tries_left=3)
        second = save(again(), tries_left=2)
        assert [first.generation, second.generation] == [1, 2]
        assert again().load(MODEL) == slots.load(MODEL) == second
        assert slots.load("other") == ModelState(model="other")

    def test_a_record_that_is_not_the_newest_any_more_is_a_bug_that_is_shown(self, slots: SlotStore) -> None:
        stale = slots.load(MODEL)
        save(slots, stage=Stage.METADATA)
        with slots.locked(MODEL), pytest.raises(AssertionError, match="stale"):
            slots.save(stale)

    def test_a_record_is_not_saved_without_its_lock(self, slots: SlotStore) -> None:
        state = slots.load(MODEL)
        with slots.locked("other"), pytest.raises(AssertionError, match="lock"):
            slots.save(state)
        with slots.locked(MODEL), ThreadPoolExecutor(1) as another, pytest.raises(AssertionError, match="lock"):
            another.submit(slots.save, state).result(PATIENCE_S)

    def test_changes_from_several_sides_all_count(self, slots: SlotStore, again: Callable[[], SlotStore]) -> None:
        def count_up(store: SlotStore) -> None:
            for _ in range(5):
                with store.locked(MODEL):
                    state = store.load(MODEL)
                    store.save(state.model_copy(update={"attempt": state.attempt + 1}))

        with ThreadPoolExecutor(4) as sides:
            for each in [sides.submit(count_up, store) for store in (slots, again(), again(), slots)]:
                each.result(PATIENCE_S)
        assert (slots.load(MODEL).attempt, slots.load(MODEL).generation) == (20, 20)

    def test_an_error_under_the_lock_lets_go_of_it(self, slots: SlotStore) -> None:
        with contextlib.suppress(ZeroDivisionError), slots.locked(MODEL):
            raise ZeroDivisionError
        assert save(slots).generation == 1

    def test_a_stored_model_can_be_read_where_it_is(self, slots: SlotStore, again: Callable[[], SlotStore]) -> None:
        folder = slots.add(ONE.model_id, ONE.make)
        assert folder == again().folder(ONE.model_id)
        assert (folder.parent.name, folder.name) == (MODEL, "1.0.0")
        assert {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()} == ONE.files.keys()
        assert hashlib.sha256((folder / DESCRIPTION).read_bytes()).hexdigest() == ONE.model_id
        assert read_model(folder).version == "1.0.0"

    def test_a_model_that_is_there_is_not_made_again(self, slots: SlotStore) -> None:
        folder = slots.add(ONE.model_id, ONE.make)

        def fail(_folder: Path) -> None:
            raise AssertionError("made again")

        assert slots.add(ONE.model_id, fail) == folder

    @pytest.mark.parametrize(
        "make",
        [
            TWO.make,
            ONE.spoilt("model.tflite", b"\x1c\0\0\0TFL3 damaged"),
            ONE.spoilt("labels.txt", b""),
            ONE.spoilt("more", b"nobody listed this"),
            ONE.spoilt(DESCRIPTION, b"schema = 1\n"),
            Sample(MODEL, "", "", {DESCRIPTION: ONE.files[DESCRIPTION]}).make,
            Sample(MODEL, "", "", {}).make,
        ],
        ids=["another", "network", "labels", "more", "description", "files missing", "empty"],
    )
    def test_what_is_not_as_its_id_says_is_not_stored(self, slots: SlotStore, make: Callable[[Path], None]) -> None:
        with pytest.raises(BundleError):
            slots.add(ONE.model_id, make)
        assert slots.folder(ONE.model_id) is None
        slots.add(ONE.model_id, ONE.make)

    def test_what_goes_wrong_in_the_making_is_raised_and_leaves_nothing(self, slots: SlotStore) -> None:
        def fail(folder: Path) -> None:
            ONE.make(folder)
            raise BundleError("of mine")

        with pytest.raises(BundleError, match="of mine"):
            slots.add(ONE.model_id, fail)
        assert slots.folder(ONE.model_id) is None

    def test_a_lost_record_is_rebuilt_from_what_served(self, slots: SlotStore, again: Callable[[], SlotStore]) -> None:
        for number, made in enumerate((ONE, TWO, THREE), start=1):
            slots.add(made.model_id, made.make)
            if made is not THREE:
                slots.commit(made.model_id, number)
        expected = ModelState(model=MODEL, committed=TWO.model_id, sequence=2, previous=ONE.model_id)
        assert again().load(MODEL) == expected
        assert again().load("other") == ModelState(model="other")
        slots.condemn(TWO.model_id, "it failed later")
        assert again().load(MODEL).committed == ONE.model_id

    def test_a_lost_record_is_rebuilt_from_what_served_last_though_its_version_is_lower(
        self, slots: SlotStore, again: Callable[[], SlotStore]
    ) -> None:
        """A publisher may send a device back."""
        for made, sequence in ((ONE, 1), (TWO, 2), (ONE, 1), (ONE, 1)):
            slots.add(made.model_id, made.make)
            slots.commit(made.model_id, sequence)
        expected = ModelState(model=MODEL, committed=ONE.model_id, sequence=1, previous=TWO.model_id)
        assert again().load(MODEL) == expected

    def test_only_a_stored_model_can_have_served(self, slots: SlotStore) -> None:
        with pytest.raises(StoreError, match="is not"):
            slots.commit(ONE.model_id, 1)

    def test_a_commit_may_be_repeated_and_be_moved_on(self, slots: SlotStore) -> None:
        slots.add(ONE.model_id, ONE.make)
        for sequence in (1, 1, 7):
            slots.commit(ONE.model_id, sequence)
        assert slots.load(MODEL).sequence == 7

    def test_what_failed_here_is_remembered_until_it_is_pardoned(
        self, slots: SlotStore, again: Callable[[], SlotStore]
    ) -> None:
        slots.condemn(ONE.model_id, "degenerate: 100 % »nothing«")
        slots.condemn(TWO.model_id, "x")
        slots.condemn(TWO.model_id, "y" * 500)
        assert again().condemned() == {ONE.model_id: "degenerate: 100 % »nothing«", TWO.model_id: "y" * 500}
        slots.pardon(ONE.model_id)
        slots.pardon(ONE.model_id)
        assert again().condemned().keys() == {TWO.model_id}

    def test_of_what_failed_here_the_last_are_remembered(
        self, slots: SlotStore, again: Callable[[], SlotStore]
    ) -> None:
        ids = [f"{number:064x}" for number in range(CONDEMNED_MAX + 3)]
        for model_id in [*ids[:CONDEMNED_MAX], ids[0], *ids[CONDEMNED_MAX:]]:
            slots.condemn(model_id, "degenerate")
        assert again().condemned().keys() == {ids[0], *ids[4:]}

    def test_a_bundle_is_received_in_pieces_and_by_several_starts(
        self, slots: SlotStore, again: Callable[[], SlotStore]
    ) -> None:
        content = bytes(range(256)) * 4000
        bundle = bundle_of(content)
        partial = slots.partial(bundle)
        assert (partial.size_bytes, partial.tag) == (0, "")
        partial.begin('"v1"')
        partial.append(content[:100_000])
        partial.append(content[100_000:700_000])
        partial.sync()
        later = again().partial(bundle)
        assert (later.size_bytes, later.tag) == (700_000, '"v1"')
        later.append(content[700_000:])
        later.sync()
        assert later.digest() == bundle.sha256
        assert again().partial(bundle).file.read_bytes() == content

    def test_a_bundle_begun_again_starts_from_nothing(self, slots: SlotStore) -> None:
        bundle = bundle_of(b"new")
        for tag, content in (("a", b"old and longer"), ("", b"new")):
            partial = slots.partial(bundle)
            partial.begin(tag)
            assert partial.size_bytes == 0
            partial.append(content)
            partial.sync()
        assert (slots.partial(bundle).size_bytes, slots.partial(bundle).tag) == (3, "")
        assert slots.partial(bundle).digest() == bundle.sha256

    def test_a_bundle_that_was_let_go_is_gone(self, slots: SlotStore, again: Callable[[], SlotStore]) -> None:
        partial = slots.partial(bundle_of(b"content"))
        partial.remove()
        partial.begin("tag")
        partial.append(b"cont")
        partial.sync()
        partial.remove()
        partial.remove()
        assert (again().partial(bundle_of(b"content")).size_bytes, partial.file.exists()) == (0, False)
        assert partial.digest() == hashlib.sha256(b"").hexdigest()

    def test_what_nobody_needs_is_removed(self, slots: SlotStore) -> None:
        for made in (ONE, TWO, OTHER):
            slots.add(made.model_id, made.make)
        kept, dropped = bundle_of(b"kept"), bundle_of(b"dropped")
        for bundle in (kept, dropped):
            slots.partial(bundle).begin("t")
            (partial := slots.partial(bundle)).append(b"kep")
            partial.sync()
        slots.collect([ONE.model_id], [kept.sha256])
        assert [slots.folder(made.model_id) is not None for made in (ONE, TWO, OTHER)] == [True, False, False]
        assert [slots.partial(bundle).size_bytes for bundle in (kept, dropped)] == [3, 0]

    def test_what_a_record_names_is_never_removed(self, slots: SlotStore) -> None:
        committed(slots, ONE, 1)
        committed(slots, TWO, 2)
        slots.add(THREE.model_id, THREE.make)
        bundle = bundle_of(b"three")
        slots.partial(bundle).begin("t")
        save(slots, stage=Stage.APPLY, candidate=candidate_of(THREE, bundle, 3))
        slots.collect([], [])
        assert all(slots.folder(made.model_id) for made in (ONE, TWO, THREE))
        assert slots.partial(bundle).tag == "t"
        save(slots, stage=Stage.TRIAL)
        slots.condemn(THREE.model_id, "bad")
        slots.collect([], [])
        assert slots.folder(THREE.model_id) is None, "what is condemned is needed no more"
        assert slots.partial(bundle).tag == "", "it is stored"
        assert slots.load(MODEL).committed == TWO.model_id

    def test_what_a_lost_record_would_be_rebuilt_from_is_never_removed(self, slots: SlotStore) -> None:
        slots.add(ONE.model_id, ONE.make)
        slots.commit(ONE.model_id, 1)
        slots.collect([], [])
        assert slots.load(MODEL).committed == ONE.model_id

    def test_small_files_are_kept_by_name(self, slots: SlotStore, again: Callable[[], SlotStore]) -> None:
        slots.write_file("reports/mqtt/000002.json", b"two")
        slots.write_file("reports/mqtt/000001.json", b"one")
        slots.write_file("reports/mqtt/000001.json", b"one again")
        slots.write_file("reports/https/000001.json", b"")
        slots.write_file("budget.json", b"{}")
        assert again().files("reports/mqtt") == ("reports/mqtt/000001.json", "reports/mqtt/000002.json")
        assert again().file("reports/mqtt/000001.json") == b"one again"
        assert again().file("reports/https/000001.json") == b""
        slots.remove_file("reports/mqtt/000001.json")
        slots.remove_file("reports/mqtt/000001.json")
        slots.remove_file("never/there.json")
        assert again().files("reports/mqtt") == ("reports/mqtt/000002.json",)

    def test_there_is_space(self, slots: SlotStore) -> None:
        assert slots.free_bytes() > 0
