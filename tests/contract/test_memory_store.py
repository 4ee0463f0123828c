"""One suite for what channels remember: on disk, and in the simulation's memory."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.adapters.memory import DAMAGED_SUFFIX, SqliteMemory
from appliance.errors import MemoryStoreError
from appliance.ports import MemoryStore
from appliance.sim.memory import VolatileMemory

SIZE_BYTES_MAX = 1_000_000


def on_disk(folder: Path) -> SqliteMemory:
    return SqliteMemory(folder / "memory.db", size_bytes_max=SIZE_BYTES_MAX)


@pytest.fixture(params=[on_disk, lambda _folder: VolatileMemory()], ids=["sqlite", "volatile"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStore]:
    make: Callable[[Path], MemoryStore] = request.param
    made = make(tmp_path)
    yield made
    made.close()


def test_a_new_store_remembers_nothing(store: MemoryStore) -> None:
    assert store.load("till") == {}


def test_what_was_saved_is_loaded_by_its_owner_only(store: MemoryStore) -> None:
    store.save("till", {"c1": b"one", "c2": b"\x00two"})
    store.save("gate", {"c1": b"other"})
    assert store.load("till") == {"c1": b"one", "c2": b"\x00two"}
    assert store.load("gate") == {"c1": b"other"}


def test_a_later_value_takes_the_place_of_an_earlier_and_an_empty_one_removes_it(store: MemoryStore) -> None:
    store.save("till", {"c1": b"one", "c2": b"two"})
    store.save("till", {"c1": b"ONE", "c2": b"", "never": b""})
    assert store.load("till") == {"c1": b"ONE"}


def test_closing_twice_is_no_fault(store: MemoryStore) -> None:
    store.close()
    store.close()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.dictionaries(st.text("xyz", max_size=2), st.binary(max_size=4))),
        max_size=6,
    )
)
def test_any_history_of_saves_reads_back_as_a_dictionary_would(
    rounds: list[tuple[str, dict[str, bytes]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("memory")
    expected: dict[str, dict[str, bytes]] = {"a": {}, "b": {}}
    for owner, entries in rounds:
        store = on_disk(folder)  # each save by a process of its own, as it were
        store.save(owner, entries)
        store.close()
        kept = expected[owner] | entries
        expected[owner] = {key: value for key, value in kept.items() if value}
    store = on_disk(folder)
    assert {owner: store.load(owner) for owner in expected} == expected
    store.close()


def test_what_was_saved_is_there_after_the_process_was_killed(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from appliance.adapters.memory import SqliteMemory
SqliteMemory(Path({str(tmp_path / "memory.db")!r}), size_bytes_max={SIZE_BYTES_MAX}).save("till", {{"c1": b"one"}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -9
    store = on_disk(tmp_path)
    assert store.load("till") == {"c1": b"one"}
    store.close()


@pytest.mark.parametrize("damage", [b"not a database at all, by any means", b""], ids=["words", "empty"])
def test_a_file_that_is_no_database_costs_the_memory_and_nothing_else(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "memory.db").write_bytes(damage)
    store = on_disk(tmp_path)
    if damage:
        with pytest.raises(MemoryStoreError, match="set aside"):
            store.load("till")
        assert (tmp_path / f"memory.db{DAMAGED_SUFFIX}").read_bytes() == damage
    store.save("till", {"c1": b"one"})
    assert store.load("till") == {"c1": b"one"}
    store.close()


def test_a_page_that_went_bad_is_noticed_and_the_file_set_aside(tmp_path: Path) -> None:
    store = on_disk(tmp_path)
    store.save("till", {f"c{number}": b"x" * 200 for number in range(200)})
    store.close()
    file = tmp_path / "memory.db"
    raw = bytearray(file.read_bytes())
    raw[2048:] = b"\xff" * (len(raw) - 2048)
    file.write_bytes(raw)
    with pytest.raises(MemoryStoreError, match="damaged"):
        store.load("till")
    store.save("till", {"c1": b"one"})
    assert store.load("till") == {"c1": b"one"}
    store.close()


def test_a_file_that_somebody_holds_is_a_fault_of_now_and_is_not_set_aside(tmp_path: Path) -> None:
    store = on_disk(tmp_path)
    store.save("till", {"c1": b"one"})
    foreign = sqlite3.connect(tmp_path / "memory.db", isolation_level=None)
    foreign.execute("BEGIN EXCLUSIVE")
    with pytest.raises(MemoryStoreError, match="locked"):
        store.save("till", {"c1": b"two"})
    foreign.execute("ROLLBACK")
    foreign.close()
    assert store.load("till") == {"c1": b"one"}
    assert not (tmp_path / f"memory.db{DAMAGED_SUFFIX}").exists()
    store.close()


def test_the_file_is_bounded(tmp_path: Path) -> None:
    store = SqliteMemory(tmp_path / "memory.db", size_bytes_max=100_000)
    store.save("till", {"first": b"1"})
    with pytest.raises(MemoryStoreError, match="full"):
        store.save("till", {f"c{number}": b"x" * 1000 for number in range(500)})
    assert store.load("till") == {"first": b"1"}
    store.close()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    store = on_disk(tmp_path / "gone")
    with pytest.raises(MemoryStoreError, match=r"memory\.db: cannot be used"):
        store.load("till")
