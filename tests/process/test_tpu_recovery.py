"""The recovery service as systemd runs it: a process for each connection, which believes nothing that it is told."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appliance.adapters.tpu_bus import LinuxTpuBus, recovery_service
from appliance.adapters.tpu_bus.kernel import Kernel
from appliance.adapters.tpu_bus.programs import Ended
from appliance.adapters.tpu_bus.recovery_client import ask
from appliance.adapters.tpu_bus.recovery_request import REQUEST_BYTES_MAX, SEEN, Answer, Request
from appliance.adapters.tpu_bus.recovery_service import serve
from appliance.adapters.tpu_bus.sysfs import USB_PATH
from appliance.errors import BackendError, RungError
from appliance.sim import tpu_tree
from tests.contract.tpu_boards import DISK, Machine, Uhubctl

pytestmark = pytest.mark.slow

PLACE = tpu_tree.PLACE
ROOT = Path(__file__).parents[2]
CONFIG = """
[tpus.tpu]
[tpus.bold]
power_cycle = "always"
[tpus.shy]
power_cycle = "never"
[models.m]
folder = "m"
[channels.c]
model = "m"
sensor = {kind = "camera", source = "/dev/video0"}
[[channels.c.rules]]
name = "person"
labels = ["person"]
threshold = 0.5
"""
SERVE = "import sys; from appliance.tpu_cli import app; app(sys.argv[1:], prog_name='appliance tpu')"


class Systemd:
    """What appliance-tpu-recovery.socket is: listens, and serves each connection; by the real process where asked."""

    def __init__(self, folder: Path, root: Path, uhubctl: Path, *, process: bool) -> None:
        self.path = folder / "s"
        self.ended: list[subprocess.CompletedProcess[bytes]] = []
        self._root, self._uhubctl, self._process = root, str(uhubctl), process
        self._config = folder / "appliance.toml"
        self._config.write_text(CONFIG)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._listener.settimeout(0.02)
        self._stop = Event()
        self._thread = Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(60.0)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                channel, _ = self._listener.accept()
            except TimeoutError:
                continue
            with channel:
                channel.setblocking(True)
                self._serve(channel)

    def _serve(self, channel: socket.socket) -> None:
        if not self._process:
            serve(channel.fileno(), channel.fileno(), self._config, root=self._root, uhubctl=self._uhubctl)
            return
        command = [sys.executable, "-c", SERVE, "recover", "--config", str(self._config), "--root", str(self._root)]
        command += ["--uhubctl", self._uhubctl]
        ended = subprocess.run(
            command,
            stdin=channel.fileno(),
            stdout=channel.fileno(),
            stderr=subprocess.PIPE,
            check=False,
            timeout=60,
            cwd=ROOT,
        )
        self.ended.append(ended)


class Bench:
    """A machine, its recovery service, and the appliance's bus, which may not do anything by itself."""

    def __init__(self, folder: Path, *, process: bool = False) -> None:
        self.root = folder / "root"
        self.machine = Machine(self.root, "pc")
        self.uhubctl = Uhubctl(folder / "bin")
        self.systemd = Systemd(folder, self.root, self.uhubctl.path, process=process)
        self.driver = self.root / "sys/bus/usb/drivers/usb"
        self.driver.mkdir(parents=True)
        (self.driver / "unbind").touch()
        (self.driver / "bind").touch()

    def bus(self, name: str = "tpu") -> LinuxTpuBus:
        return LinuxTpuBus(
            name=name,
            power_cycle="always",
            root=self.root,
            service=self.systemd.path,
            kernel=Kernel(lambda *_: [Ended(0, "unbind 13 bind 13")]),
            run=lambda *_: [Ended(1, "There were permission problems while accessing USB.")],
            uhubctl=str(self.uhubctl.path),
        )

    def say(self, raw: bytes) -> Answer:
        """Send anything at all."""
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(30.0)
            channel.connect(str(self.systemd.path))
            channel.sendall(raw)
            channel.shutdown(socket.SHUT_WR)
            return Answer.model_validate_json(channel.makefile("rb").read())

    def touched(self) -> bool:
        """Whether anything was done."""
        return bool(self.uhubctl.asked or (self.driver / "unbind").read_text() or (self.driver / "bind").read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.systemd.close()


def test_the_service_does_for_the_appliance_what_only_root_may(bench: Bench) -> None:
    bench.machine.tpu(PLACE)
    bus = bench.bus()
    bus.rebind(bus.devices()[0])
    assert (bench.driver / "unbind").read_text() == (bench.driver / "bind").read_text() == PLACE
    bus.power_cycle(PLACE)
    assert bench.uhubctl.asked == ["-N -l 2 -p 1 -a cycle -d 3"]


def test_the_command_that_systemd_starts_serves_one_request_and_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, process=True)
    bench.machine.tpu(PLACE)
    bench.bus().power_cycle(PLACE)
    bench.systemd.close()
    (ended,) = bench.systemd.ended
    assert ended.returncode == 0
    assert bench.uhubctl.asked == ["-N -l 2 -p 1 -a cycle -d 3"]
    assert b"power_cycle" in ended.stderr, "the journal says what was asked"


def test_what_failed_there_has_failed_here_and_what_cannot_be_done_cannot_be_done(bench: Bench) -> None:
    bench.machine.tpu(PLACE)
    (bench.driver / "bind").unlink()
    with pytest.raises(BackendError, match="left without its driver"):
        bench.bus().rebind(bench.bus().devices()[0])
    bench.uhubctl.path.unlink()
    with pytest.raises(RungError, match="cannot be started"):
        bench.bus().power_cycle(PLACE)


def test_what_may_lose_its_power_stands_in_roots_configuration_and_not_in_the_request(bench: Bench) -> None:
    bench.machine.peers("2-1", "1-7")
    bench.machine.plug("1-7", "HD Webcam")
    bench.machine.tpu(PLACE)
    with pytest.raises(RungError, match=r"HD Webcam .* tpus\.tpu\.power_cycle"):
        bench.bus().power_cycle(PLACE)
    with pytest.raises(RungError, match=r'tpus\.shy\.power_cycle is "never"'):
        bench.bus("shy").power_cycle(PLACE)
    with pytest.raises(RungError, match=r"tpus\.other is not in the configuration"):
        bench.bus("other").power_cycle(PLACE)
    assert not bench.touched()
    bench.bus("bold").power_cycle(PLACE)
    assert bench.touched()


def test_a_port_that_no_edge_tpu_was_ever_in_is_not_switched(bench: Bench) -> None:
    with pytest.raises(RungError, match="none was since the system started"):
        bench.bus().power_cycle("1-3")
    assert not bench.touched()
    (bench.root / SEEN / "1-3").mkdir(parents=True)
    bench.bus().power_cycle("1-3")
    assert bench.uhubctl.asked == ["-N -l 1 -p 3 -a cycle -d 3"]
    bench.machine.plug("1-3", "Disk", DISK)
    with pytest.raises(RungError, match="something else is plugged in there now: Disk"):
        bench.bus().power_cycle("1-3")


def test_another_device_is_not_taken_from_its_driver(bench: Bench) -> None:
    bench.machine.plug("1-3", "Disk", DISK)
    answer = bench.say(Request(action="rebind", path="1-3", tpu="tpu").model_dump_json().encode())
    assert (answer.outcome, answer.message) == ("cannot", "no Edge TPU is plugged in at 1-3")
    assert not bench.touched()


GOOD = {"action": "rebind", "path": PLACE, "tpu": "tpu"}
HOSTILE = [
    GOOD | {"path": "../../../../sys/class/net"},
    GOOD | {"path": "2-1/../1-3"},
    GOOD | {"path": "2-1\n1-3"},
    GOOD | {"path": "2-1 "},
    GOOD | {"path": "usb2"},
    GOOD | {"path": "apex_0/../x"},
    GOOD | {"path": ["2-1"]},
    GOOD | {"action": "reset"},
    GOOD | {"action": "unbind"},
    GOOD | {"tpu": "../x"},
    GOOD | {"config": "/tmp/mine.toml"},  # noqa: S108 - a request that wants what it must not have
    GOOD | {"power_cycle": "always"},
    {"path": PLACE, "tpu": "tpu"},
    [GOOD],
    "rebind",
    None,
]


@given(path=st.one_of(st.text(max_size=12), st.from_regex(r"[0-9]+[-._/]?[0-9.\n]*", fullmatch=True)))
def test_no_place_is_taken_that_is_not_a_port_or_a_card(path: str) -> None:
    try:
        Request.model_validate(GOOD | {"path": path})
    except ValidationError:
        assert not USB_PATH.fullmatch(path) or not path.isascii()
    else:
        assert USB_PATH.fullmatch(path) or path.removeprefix("apex_").isdecimal()
        assert path.isascii()


def test_a_hostile_request_is_refused_and_nothing_is_done(bench: Bench) -> None:
    bench.machine.tpu(PLACE)
    raws = [json.dumps(hostile).encode() for hostile in HOSTILE]
    for raw in [*raws, b"", b"\0" * 40, b"{" * 500, b"x" * (REQUEST_BYTES_MAX + 1), b"x" * 1_000_000]:
        try:
            answer = bench.say(raw)
        except (BrokenPipeError, ConnectionResetError):
            continue  # it was not read to its end
        assert answer.outcome == "cannot"
        assert "request" in answer.message
    assert not bench.touched()
    assert bench.say(json.dumps(GOOD).encode()).outcome == "done", "and the next is served"


def test_a_request_that_does_not_end_is_not_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recovery_service, "READ_S", 0.1)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"{")
        answer = serve(theirs.fileno(), theirs.fileno(), tmp_path / "appliance.toml")
        assert answer == Answer.model_validate_json(ours.recv(4096))
    assert "in time" in answer.message


def test_a_configuration_that_is_wrong_is_told(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(json.dumps(GOOD).encode())
        ours.shutdown(socket.SHUT_WR)
        answer = serve(theirs.fileno(), theirs.fileno(), tmp_path / "none.toml")
        ours.close()
        serve(theirs.fileno(), theirs.fileno(), tmp_path / "none.toml")  # who asked has gone
    assert (answer.outcome, "none.toml" in answer.message) == ("cannot", True)


REQUEST = Request(action="rebind", path=PLACE, tpu="tpu")


def test_without_the_service_the_refusal_names_what_to_install(bench: Bench, tmp_path: Path) -> None:
    for service in (tmp_path / "nowhere", tmp_path / "dead"):
        if service.name == "dead":
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(service))
        with pytest.raises(RungError, match=r"may not be written.*appliance-tpu-recovery\.socket"):
            ask(service, REQUEST, refusal="/sys/x may not be written")


@pytest.mark.parametrize("says", [b"", b"nonsense", b'{"outcome": "done", "more": 1}', b"x" * 100_000])
def test_an_answer_that_is_none_is_a_failure(tmp_path: Path, says: bytes) -> None:
    with _answering(tmp_path, says), pytest.raises(BackendError, match="recovery service"):
        ask(tmp_path / "s", REQUEST, refusal="no", timeout_s=10.0)


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_agreed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(BackendError, match="timed out"):
            ask(tmp_path / "s", REQUEST, refusal="no", timeout_s=0.2)


class _answering:  # noqa: N801 - reads as a word in its place
    """Somebody who listens at ``s``, and says something once."""

    def __init__(self, folder: Path, says: bytes) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / "s"))
        self._listener.listen()
        self._listener.settimeout(10.0)
        self._thread = Thread(target=self._answer, args=[says], daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(10.0)
        self._listener.close()

    def _answer(self, says: bytes) -> None:
        channel, _ = self._listener.accept()
        with channel:
            channel.recv(4096)
            try:
                channel.sendall(says)
            except BrokenPipeError:
                return
