"""Each model is timed on each backend of this device; what is kept is used, and told by `model list`."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
from rich.console import Console

from appliance.adapters.backends import worker
from appliance.adapters.edgetpu import EdgeTpu
from appliance.adapters.model_folder import read_model
from appliance.adapters.route_file import RouteFile
from appliance.bench import route
from appliance.bench.edge import ENGINE
from appliance.bench.scene import compiled_folder
from appliance.compose import Parts
from appliance.config import TpuConfig
from appliance.core.routing import Route
from appliance.errors import BackendError, ConfigError
from appliance.ports import Clock, Meter
from appliance.sim.tpu_bus import SimulatedTpuBus
from appliance.sim.tpu_script import Act, Script
from tests.command import Command
from tests.model_folders import TINY
from tests.workers import LONG_S

OK, WRONG = 0, 78
ROUNDS = 3


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the end of a process as long as it takes on a busy machine: its signal is in the message then."""
    monkeypatch.setattr(worker, "LAST_WORDS_S", LONG_S)


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "300")
    return Command(capfd, monkeypatch)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with one model, compiled, on the Edge TPU and the CPU."""
    folder = compiled_folder(TINY, tmp_path / "models")
    rule = {"name": "red", "labels": ["red"], "threshold": 0.5}
    sensor = {"kind": "camera", "source": "/dev/null/none"}
    tree = {
        "node": {"state_dir": str(tmp_path / "state")},
        "models": {"tiny": {"folder": str(folder), "backends": ["tpu", "cpu"]}},
        "channels": {"gate": {"model": "tiny", "sensor": sensor, "rules": [rule]}},
    }
    written = tmp_path / "appliance.toml"
    written.write_text(tomli_w.dumps(tree))
    return written


def plugged(folder: Path, *acts: Act) -> Parts:
    """A device with a simulated Edge TPU that does these things first."""
    bus = SimulatedTpuBus(folder)
    bus.plug()
    for act in acts:
        Script(folder).then(act)

    def make(name: str, config: TpuConfig, clock: Clock, meter: Meter, _state: Path) -> EdgeTpu:
        options = config.model_copy(update={"options": {"folder": str(folder)}})
        return EdgeTpu(name, options, bus=bus, clock=clock, meter=meter, engine=ENGINE)

    return Parts(make_tpu=make)


def kept(file: Path) -> Route:
    """The one measurement in the state folder."""
    (measured,) = RouteFile(file.parent / "state").load()
    return measured


def told(file: Path, parts: Parts) -> str:
    """Measure, and return what a person sees."""
    seen = io.StringIO()
    assert route.run(file, console=Console(file=seen, width=200), parts=parts, rounds=ROUNDS) == OK
    return seen.getvalue()


@pytest.fixture
def bus(tmp_path: Path) -> Path:
    folder = tmp_path / "bus"
    folder.mkdir()
    return folder


def test_a_model_is_timed_on_both_and_the_faster_is_kept(file: Path, bus: Path) -> None:
    seen = told(file, plugged(bus))
    measured = kept(file)
    assert [each.backend for each in measured.timings] == ["tpu", "cpu"]
    assert all(0.0 < each.p50_ms <= each.p99_ms for each in measured.timings)
    assert measured.order == ("cpu",), "a network of a microsecond does not pay its way to another process"
    assert measured.situation.sha256 == read_model(TINY).sha256
    assert re.search(r"cpu .*█ +asked first", seen)
    assert re.search(r"tpu .*█{24} not used", seen)


def test_without_an_edge_tpu_it_is_told_left_out_and_keeps_its_place(appliance: Command, file: Path) -> None:
    measured = appliance("bench", "--route", "--config", file)
    assert measured.code == OK
    assert "not measured: tpu: no Edge TPU is seen on USB or PCIe " in measured.out
    assert [each.backend for each in kept(file).timings] == ["cpu"]
    assert kept(file).order == ("tpu", "cpu")
    assert str(file.parent / "state" / "routes.json") in measured.out


@pytest.mark.parametrize(
    ("acts", "why"),
    [
        ((Act.LIE,), "not the twin's outputs of tiny-uint8"),
        ((Act.OPEN_FAIL,), "the device does not open"),
        ((Act.OPEN_ABORT,), "died (SIGABRT)"),
    ],
    ids=["lies", "does not open", "aborts"],
)
def test_an_edge_tpu_that_may_not_serve_is_not_timed(file: Path, bus: Path, acts: tuple[Act, ...], why: str) -> None:
    assert why in told(file, plugged(bus, *acts))
    assert [each.backend for each in kept(file).timings] == ["cpu"]


def test_one_that_fails_in_the_middle_is_left_out(file: Path, bus: Path) -> None:
    parts = plugged(bus)
    Script(bus).then(Act.FAIL, after=len(read_model(TINY).golden.inputs) + 5)
    assert "reports an error" in told(file, parts)
    assert [each.backend for each in kept(file).timings] == ["cpu"]


def test_measuring_again_takes_the_place_of_what_was_kept_and_of_nothing_else(
    appliance: Command, file: Path, bus: Path
) -> None:
    assert appliance("bench", "--route", "--config", file).code == OK
    told(file, plugged(bus))
    assert len(kept(file).timings) == 2
    text = file.read_text().replace('backends = [\n    "tpu",\n    "cpu",\n]', 'backends = ["cpu"]')
    file.write_text(text)
    assert appliance("bench", "--route", "--config", file).code == OK
    both = RouteFile(file.parent / "state").load()
    assert [each.situation.backends for each in both] == [("cpu",), ("tpu", "cpu")]


def test_model_list_tells_the_route_of_the_state_folder_it_is_given(
    appliance: Command, file: Path, bus: Path, tmp_path: Path
) -> None:
    told(file, plugged(bus))
    models = ("model", "list", "--models", tmp_path / "models")
    assert re.search(r"cpu \S+ ms < tpu \S+ ms", appliance(*models, "--state", tmp_path / "state").out)
    assert "ms" not in appliance(*models, "--state", tmp_path / "other").out.partition("sound")[2]


def test_a_state_folder_that_cannot_be_written_is_78_and_says_so(appliance: Command, file: Path) -> None:
    (file.parent / "state").write_text("a file in its place")
    ended = appliance("bench", "--route", "--config", file)
    assert ended.code == WRONG
    assert "routes.json: cannot be written" in ended.message()


def test_a_configuration_that_is_wrong_is_78_before_anything_is_measured(appliance: Command, tmp_path: Path) -> None:
    ended = appliance("bench", "--route", "--config", tmp_path / "none.toml")
    assert (ended.code, ended.out) == (WRONG, "")


@pytest.mark.parametrize("broken", [BackendError, ConfigError])
def test_a_twin_that_cannot_run_ends_it_and_keeps_nothing(file: Path, broken: Callable[[str], Exception]) -> None:
    def make_backend(*_: object) -> None:
        raise broken("no runtime")

    parts = Parts(make_backend=make_backend)  # type: ignore[arg-type]  # makes none
    with pytest.raises((BackendError, ConfigError), match="no runtime"):
        route.run(file, console=Console(quiet=True), parts=parts, rounds=ROUNDS)
    assert RouteFile(file.parent / "state").load() == ()
