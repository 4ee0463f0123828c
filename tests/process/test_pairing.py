"""A runtime and a library that were not built for each other: found out in processes that are thrown away."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from appliance.adapters.backends.worker import Worker
from appliance.adapters.edgetpu.pairing import PROVEN_PAIR, Pairing
from appliance.errors import BackendError
from tests.process.delegate.library import (
    COMPILED,
    COMPILED_BYTES,
    ENGINE,
    LABEL,
    DelegateLibrary,
    another_runtime,
)
from tests.workers import LONG_S, has_ended, open_files, own_files

pytestmark = pytest.mark.slow

OWN, OTHER = "ai-edge-litert", "tflite-runtime"
HANG_S = 0.3
"""For the library to open its device, where it never will."""
TRIED_S_MAX = 15.0
"""For one try that ends in a hang: more than its deadline, by far less than a start may take."""
INSTALL = f"they are not of one build; install a pair that is, as {PROVEN_PAIR}"
CRASHING_IMPORT = "import ctypes\nctypes.string_at(0)\n"
MISSING_IMPORT = "raise ImportError('libstdc++.so.7: cannot open shared object file')\n"


@dataclass
class Bench:
    """A device whose worker has just crashed, and whoever is tried on it."""

    delegate: DelegateLibrary
    wanted: str = "auto"
    fault: str = ""
    """What happens to the library beside ``OWN``."""
    tried: list[str] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    left: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pairing = Pairing(self.wanted, self.hire, self.left.append)

    def hire(self, runtime: str) -> Worker:
        """Start a worker, as ``EdgeTpu`` does."""
        self.tried.append(runtime)
        worker = Worker(ENGINE, self.delegate.options(self.fault, runtime=runtime), name="tpu")
        self.pids.append(worker.pid)
        return worker

    def examine(self, deadline_s: float = LONG_S) -> str:
        """Examine; nothing is left of it, whatever comes out."""
        before = own_files()
        told = self.pairing.examine(COMPILED, COMPILED_BYTES, deadline_s)
        assert all(has_ended(pid) for pid in self.pids)
        assert open_files() == before
        assert self.left == []
        return told


MakeOther = Callable[..., None]


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeOther:
    """Installs a second runtime beside our own, in this process and in those that are tried."""

    def install(**how: str) -> None:
        packages = another_runtime(tmp_path, **how)
        monkeypatch.setenv("PYTHONPATH", str(packages))
        monkeypatch.syspath_prepend(packages)

    return install


class TestAPairThatCrashes:
    def test_is_named_with_both_versions_and_what_to_install(self, delegate: DelegateLibrary) -> None:
        bench = Bench(delegate, OWN, "prepare-crash")
        told = bench.examine()
        pair, _, advice = told.partition(": ")
        assert pair.startswith(f"{OWN} ")
        assert pair.endswith(f" and {delegate.file} {LABEL} crash (SIGSEGV)")
        assert advice == INSTALL
        assert (bench.tried, bench.pairing.runtime) == ([OWN], OWN)

    def test_makes_room_for_a_runtime_that_fits(
        self, delegate: DelegateLibrary, other: MakeOther, caplog: pytest.LogCaptureFixture
    ) -> None:
        other()
        bench = Bench(delegate, fault="prepare-crash")
        with caplog.at_level(logging.WARNING):
            assert bench.examine() == ""
        assert (bench.tried, bench.pairing.runtime) == ([OWN, OTHER], OTHER)
        [warning] = [record.getMessage() for record in caplog.records]
        assert "another runtime from now on" in warning
        assert OTHER in warning
        assert f"{LABEL} crash (SIGSEGV)" in warning
        assert delegate.journal("destroy") == ["device=:0"], "the one that works lets the device go"

    def test_is_tried_last_once_another_is_in_use(self, delegate: DelegateLibrary, other: MakeOther) -> None:
        other()
        bench = Bench(delegate, fault="prepare-crash")
        bench.pairing.runtime = OTHER
        assert bench.examine() == ""
        assert (bench.tried, bench.pairing.runtime) == ([OTHER], OTHER)

    def test_is_not_the_only_one_where_every_runtime_crashes(self, delegate: DelegateLibrary, other: MakeOther) -> None:
        """The second dies before it has said anything: its version is not known, its name is."""
        other(interpreter=CRASHING_IMPORT)
        bench = Bench(delegate, fault="prepare-crash")
        told = bench.examine()
        assert told.endswith(f" crash (SIGSEGV); {OTHER} crashes (SIGSEGV): {INSTALL}")
        assert (bench.tried, bench.pairing.runtime) == ([OWN, OTHER], "auto")

    def test_is_not_replaced_by_a_runtime_that_does_not_load(self, delegate: DelegateLibrary, other: MakeOther) -> None:
        other(interpreter=MISSING_IMPORT)
        bench = Bench(delegate, fault="prepare-crash")
        told = bench.examine()
        assert told.endswith(f"crash (SIGSEGV): {INSTALL}")
        assert OTHER not in told
        assert (bench.tried, bench.pairing.runtime) == ([OWN, OTHER], "auto")

    def test_is_replaced_by_one_whose_device_does_not_open(self, delegate: DelegateLibrary, other: MakeOther) -> None:
        """The device may be sick of the crash; the ladder heals it, but with a runtime that crashes never."""
        other(fault="create-abort")
        bench = Bench(delegate, fault="prepare-crash")
        assert bench.examine() == ""
        assert bench.pairing.runtime == OTHER


class TestWhatIsNoMismatch:
    def test_a_crash_that_does_not_come_again(self, delegate: DelegateLibrary) -> None:
        bench = Bench(delegate)
        assert bench.examine() == ""
        assert (bench.tried, bench.pairing.runtime) == ([OWN], "auto")

    @pytest.mark.parametrize("fault", ["create-refuse", "prepare-abort", "create-hang"])
    def test_an_end_that_is_the_librarys_own(self, delegate: DelegateLibrary, fault: str) -> None:
        bench = Bench(delegate, OWN, fault)
        begun_s = time.monotonic()
        assert bench.examine(HANG_S if fault.endswith("hang") else LONG_S) == ""
        assert time.monotonic() - begun_s < TRIED_S_MAX
        assert (bench.tried, bench.pairing.runtime) == ([OWN], OWN)

    def test_a_runtime_that_is_not_installed(self, delegate: DelegateLibrary, other: MakeOther) -> None:
        other(interpreter=MISSING_IMPORT)
        bench = Bench(delegate, OTHER)
        assert bench.examine() == ""
        assert (bench.tried, bench.pairing.runtime) == ([OTHER], OTHER)

    def test_a_process_that_cannot_be_started(self, delegate: DelegateLibrary) -> None:
        def full(runtime: str) -> Worker:
            msg = f"tpu: cannot be started with {runtime}: no room"
            raise BackendError(msg)

        pairing = Pairing("auto", full, Bench(delegate).left.append)
        assert pairing.examine(COMPILED, COMPILED_BYTES, LONG_S) == ""
        assert pairing.runtime == "auto"
