"""libedgetpu as the worker loads it: the real ``load_delegate``, a library of ours, and what it can do to a process."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest

from appliance.adapters.backends.cpu import CpuBackend
from appliance.adapters.backends.edgetpu_engine import DEFAULT_LIBRARY, numbered
from appliance.adapters.backends.worker import Worker
from appliance.adapters.model_folder import read_model
from appliance.core.model import Model
from appliance.errors import BackendError, ModelError
from tests.model_folders import PERSON, TINY
from tests.process.delegate.library import (
    COMPILED,
    COMPILED_BYTES,
    ENGINE,
    LABEL,
    DelegateLibrary,
    another_runtime,
    frame,
    write,
)
from tests.workers import LONG_S, START_S, end, has_ended, hired, open_files, own_files, same, signature_of

pytestmark = pytest.mark.slow

DEADLINE_S = 0.3
"""For the library to open its device, or to answer, where it never will."""
ABORTED = r"died \(SIGABRT\): F driver/usb/usb_driver\.cc:857\] transfer on tag 1 failed"


def load(worker: Worker) -> int:
    """Load the compiled model."""
    return worker.load(COMPILED, COMPILED_BYTES, LONG_S)


def answers(worker: Worker, number: int) -> bool:
    """Whether the compiled model gives what the library makes of it."""
    return all(
        np.array_equal(worker.invoke(number, frame(each), LONG_S)["y"], ~frame(each)) for each in (1, 2, 100, -128)
    )


def on_cpu(model: Model) -> list[dict[str, np.ndarray]]:
    """What the twin gives for the golden inputs."""
    twin = CpuBackend()
    twin.open(model)
    return [dict(twin.invoke(tensor, LONG_S)) for tensor in model.golden.inputs]


class TestModels:
    def test_each_has_a_delegate_of_its_own_and_all_answer_side_by_side(self, delegate: DelegateLibrary) -> None:
        models = [read_model(TINY), read_model(PERSON)]
        wanted = [on_cpu(model) for model in models]
        with hired(ENGINE, **delegate.options()) as worker:
            compiled = load(worker)
            numbers = [worker.load(signature_of(model), model.tflite, START_S) for model in models]
            for model, number, outputs in zip(models, numbers, wanted, strict=True):
                for tensor, output in zip(model.golden.inputs, outputs, strict=True):
                    assert same(worker.invoke(number, tensor, LONG_S), output)
                    assert answers(worker, compiled)
            assert delegate.journal("prepare") == ["taken=1", "taken=0", "taken=0"], (
                "it leaves to the CPU what is not its"
            )
            assert delegate.journal("destroy") == []
            worker.quit(LONG_S)
            assert delegate.journal("destroy") == ["device=:0"] * 3, "the device is let go before the process ends"
            assert worker.died_of == 0

    def test_what_it_is_made_of_is_told_before_anything_is_opened_and_then_its_options_arrive(
        self, delegate: DelegateLibrary
    ) -> None:
        """Without a number the library would not look at ``Performance``, and cooling would change nothing."""
        options = delegate.options(device="usb", Performance="Low", **{"Usb.AlwaysDfu": "True", "runtime": "auto"})
        with hired(ENGINE, **options) as worker:
            assert worker.facts.keys() == {"runtime", "library", "library_version", "network"}
            assert re.fullmatch(r"(ai-edge-litert|tflite-runtime) \d+\.\S+", worker.facts["runtime"])
            assert (worker.facts["library"], worker.facts["library_version"]) == (str(delegate.file), LABEL)
            assert delegate.journal("open") == []
            load(worker)
        arrived = dict(line.split("=", 1) for line in delegate.journal("option"))
        assert (arrived["device"], arrived["Performance"], arrived["Usb.AlwaysDfu"]) == ("usb:0", "Low", "True")
        assert not {"library", "runtime", "Test.Fault"} & arrived.keys(), "ours, or empty"
        assert delegate.journal("open") == ["performance=Low"]

    @pytest.mark.parametrize(
        ("device", "named"),
        [("", ":0"), ("usb", "usb:0"), ("pci", "pci:0"), (":1", ":1"), ("usb:1", "usb:1"), ("pci:0", "pci:0")],
    )
    def test_a_device_is_named_by_its_number(self, device: str, named: str) -> None:
        assert numbered(device) == named

    def test_what_fails_in_order_costs_one_model_or_one_frame_and_no_worker(self, delegate: DelegateLibrary) -> None:
        refusals = {
            "create-refuse": (BackendError, "does not open the device: .* the test wants it so$"),
            "create-silent": (BackendError, "gives no reason: no Edge TPU is there, it is taken, or its device file"),
            "prepare-idle": (ModelError, r"edge 1\.0\.0: model_edgetpu\.tflite .* its library takes over none of it"),
            "prepare-fail": (ModelError, "its library takes over none of it: compile it for the version"),
            "register-fail": (ModelError, "Failed to prepare for TPU. Package requires a newer runtime version"),
            "invoke-fail": (BackendError, "failed to invoke"),
        }
        with hired(ENGINE, **delegate.options()) as worker:
            for fault, (kind, words) in refusals.items():
                delegate.once(fault)
                with pytest.raises(kind, match=words):
                    worker.invoke(load(worker), frame(1), LONG_S)
                assert worker.alive
                assert not worker.owes
            assert answers(worker, load(worker))
        assert len(delegate.journal("open")) == len(refusals) - 2 + 1
        assert len(delegate.journal("destroy")) == 3, "of a model that is refused nothing stays on the device"


class TestEnds:
    @pytest.mark.parametrize(
        ("fault", "load_s", "words", "died_of"),
        [
            ("create-abort", LONG_S, ABORTED, signal.SIGABRT),
            ("create-hang", DEADLINE_S, r"no answer to load edge within 0\.3 s", signal.SIGKILL),
            ("prepare-abort", LONG_S, ABORTED, signal.SIGABRT),
            ("prepare-crash", LONG_S, r"died \(SIGSEGV\)", signal.SIGSEGV),
            ("invoke-hang", LONG_S, r"no answer within 0\.3 s", signal.SIGKILL),
        ],
    )
    def test_whenever_and_however_it_fails_the_loop_hears_why_in_time_and_nothing_is_left(
        self, delegate: DelegateLibrary, fault: str, load_s: float, words: str, died_of: int
    ) -> None:
        before = own_files()
        with hired(ENGINE, **delegate.options(fault)) as worker:
            with pytest.raises(BackendError, match=words):
                worker.invoke(worker.load(COMPILED, COMPILED_BYTES, load_s), frame(1), DEADLINE_S)
            assert worker.owes == fault.endswith("hang")
            end(worker)
            assert worker.died_of == died_of
            assert has_ended(worker.pid)
        del worker  # and with it the memory that its tensors were in
        assert open_files() == before

    def test_one_that_does_not_let_the_device_go_is_killed(self, delegate: DelegateLibrary) -> None:
        with hired(ENGINE, **delegate.options("destroy-hang")) as worker:
            load(worker)
            worker.quit(0.2)
            assert worker.reap(START_S)
            assert worker.died_of == signal.SIGKILL


class TestWhatIsMissing:
    def test_a_library_that_is_not_installed_is_named_with_its_package(self, tmp_path: Path) -> None:
        worker = Worker(ENGINE, {"library": str(tmp_path / "libedgetpu.so.1")})
        with pytest.raises(BackendError, match=r"cannot be loaded \(.*No such file.*\); install libedgetpu1-std"):
            worker.start(START_S)
        assert worker.alive, "nothing has crashed"
        end(worker)

    def test_a_library_that_is_another_is_told_from_it(self) -> None:
        worker = Worker(ENGINE, {"library": "libc.so.6"})
        with pytest.raises(BackendError, match=r"^worker: libc\.so\.6 is another library .*; install libedgetpu1-std$"):
            worker.start(START_S)
        end(worker)

    def test_a_runtime_without_a_version_is_still_a_runtime(
        self, delegate: DelegateLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A nightly build is installed under another name than the one that it is imported by."""
        packages = another_runtime(tmp_path)
        (packages / "tflite_runtime-2.14.0.dist-info" / "METADATA").unlink()
        (packages / "tflite_runtime-2.14.0.dist-info").rmdir()
        monkeypatch.setenv("PYTHONPATH", str(packages))
        with hired(ENGINE, **delegate.options(runtime="tflite-runtime")) as worker:
            assert worker.facts["runtime"] == "tflite-runtime"
            assert answers(worker, load(worker))


PYCORAL = """
import tflite_runtime.interpreter

def load_edgetpu_delegate(options=None):
    return tflite_runtime.interpreter.load_delegate("libedgetpu.so.1", {**options, "Test.Pycoral": "yes"})
"""
NAMESAKE = "def reef():\n    return 'another project'\n"
BROKEN = "raise SystemError('built for another NumPy')\n"


class TestPycoral:
    """Google's package loads the delegate where it is installed; nothing needs it."""

    @pytest.fixture
    def packages(self, delegate: DelegateLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A folder of packages with tflite-runtime, beside the library where it is found by its name."""
        packages = another_runtime(tmp_path)
        write(packages / "pycoral" / "__init__.py", "")
        monkeypatch.setenv("PYTHONPATH", str(packages))
        monkeypatch.setenv("LD_LIBRARY_PATH", str(delegate.file.parent))
        return packages

    def loaders(self, delegate: DelegateLibrary, **options: str) -> set[str]:
        """Load and run the compiled model; returns who has loaded the library."""
        with hired(ENGINE, **delegate.options(library=DEFAULT_LIBRARY, **options)) as worker:
            assert answers(worker, load(worker))
            assert ("pycoral" in worker.facts) == ("Test.Pycoral=yes" in delegate.journal("option"))
        return {line for line in delegate.journal("option") if line.startswith(("Test.Pycoral", "Test.Loader"))}

    def test_where_it_matches_it_is_used(self, delegate: DelegateLibrary, packages: Path) -> None:
        write(packages / "pycoral" / "utils" / "edgetpu.py", PYCORAL)
        used = self.loaders(delegate, runtime="tflite-runtime")
        assert used == {"Test.Pycoral=yes", "Test.Loader=tflite_runtime.interpreter"}

    def test_beside_another_runtime_than_its_own_it_is_left_alone(
        self, delegate: DelegateLibrary, packages: Path
    ) -> None:
        write(packages / "pycoral" / "utils" / "edgetpu.py", PYCORAL)
        assert self.loaders(delegate, runtime="ai-edge-litert") == set()

    @pytest.mark.parametrize(
        ("module", "text"), [("reef.py", NAMESAKE), ("utils/edgetpu.py", NAMESAKE), ("utils/edgetpu.py", BROKEN)]
    )
    def test_another_package_of_its_name_or_one_that_does_not_load_is_not_missed(
        self, delegate: DelegateLibrary, packages: Path, module: str, text: str
    ) -> None:
        write(packages / "pycoral" / module, text)
        assert self.loaders(delegate, runtime="tflite-runtime") == {"Test.Loader=tflite_runtime.interpreter"}
