"""The appliance as benches run it: real model, real footage, frames from memory, state in a temporary folder."""

import contextlib
import hashlib
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import cv2

from appliance.adapters.clock import SystemClock
from appliance.compose import Appliance, Parts, build
from appliance.config import Config
from appliance.core.types import Array, Frame, FrameKind
from appliance.errors import ConfigError, Idle
from appliance.ports import Backend, Sensor
from appliance.trust.consistency import EDGETPU_FILE
from appliance.trust.model import DESCRIPTION_FILE
from appliance.trust.networks import EDGE_TPU_OP

ROOT = Path(__file__).parents[2]
PERSON = ROOT / "models" / "person" / "1.1.0"
FRAUD = ROOT / "models" / "fraud" / "1.0.0"
HEARTBEAT = ROOT / "models" / "heartbeat" / "1.0.0"
FOOTAGE = ROOT / "examples" / "footage" / "people-walking.avi"
CHANNEL = "bench"
STOP_TIMEOUT_S = 10.0


class Memory:
    """A sensor whose frames lie in memory; implements ``ports.Sensor``."""

    newest_only = False

    def __init__(self, pictures: Sequence[Array], *, period_s: float = 0.0) -> None:
        """Give ``pictures`` (uint8 BGR) for ever, one each ``period_s`` (0: whenever asked)."""
        self._pictures = itertools.cycle(pictures)
        self._period_s = period_s
        self._clock = SystemClock()
        self._due_s = 0.0
        self._seq = 0

    def open(self) -> None:
        """Start now."""
        self._due_s = self._clock.monotonic_s()

    def capture(self, timeout_s: float) -> Frame:
        """Return the next picture, captured now. Raises Idle when it is not due within ``timeout_s``."""
        wait_s = self._due_s - self._clock.monotonic_s()
        if wait_s > 0:
            self._clock.wait(Event(), min(wait_s, timeout_s))
        if wait_s > timeout_s:
            raise Idle("the next picture is not due")
        self._due_s += self._period_s
        self._seq += 1
        return Frame(FrameKind.IMAGE, next(self._pictures), self._clock.monotonic_s(), self._seq)

    def close(self) -> None:
        """Nothing to let go."""


def pictures(count: int) -> list[Array]:
    """The first ``count`` pictures of the bundled footage."""
    capture = cv2.VideoCapture(str(FOOTAGE))
    read = [picture for picture in (capture.read()[1] for _ in range(count)) if picture is not None]
    capture.release()
    if len(read) < count:
        message = f"{FOOTAGE}: not there or shorter than {count} pictures; benches need a clone of the repository"
        raise ConfigError(message)
    return list(read)


def compiled_folder(source: Path, root: Path) -> Path:
    """Copy a model's folder below ``root``, with a compiled file beside the twin's; returns where.

    The compiled file is the twin's with the name of the compiler's op after its end: the stand-in runs it, and so
    would nothing else that is called an Edge TPU.
    """
    folder = root / source.parent.name / source.name
    shutil.copytree(source, folder)
    content = (source / "model.tflite").read_bytes() + EDGE_TPU_OP
    (folder / EDGETPU_FILE).write_bytes(content)
    description = (source / DESCRIPTION_FILE).read_text()
    digest = hashlib.sha256(content).hexdigest()
    listed = description.replace("[files]\n", f'[files]\n"{EDGETPU_FILE}" = "{digest}"\n', 1)
    (folder / DESCRIPTION_FILE).write_text(listed)
    return folder


def camera_config(state_dir: Path, *, port: int, protocol: str = "5", threshold: float = 0.6) -> Config:
    """One camera channel with the person model, every picture judged by itself."""
    return _config(
        state_dir,
        port=port,
        protocol=protocol,
        model=PERSON,
        sensor={"kind": "camera", "source": str(FOOTAGE)},
        rule={"name": "person", "labels": ["person"], "threshold": threshold, "update_interval_s": 60.0},
    )


def transactions_config(state_dir: Path, *, port: int) -> Config:
    """One transactions channel with the fraud model, reasons included."""
    return _config(
        state_dir,
        port=port,
        protocol="5",
        model=FRAUD,
        sensor={"kind": "transactions"},
        rule={"name": "fraud", "labels": ["fraud"], "threshold": 0.9},
    )


def _config(
    state_dir: Path, *, port: int, protocol: str, model: Path, sensor: dict[str, object], rule: dict[str, object]
) -> Config:
    """A configuration with one channel."""
    return Config.model_validate(
        {
            "node": {"id": "bench", "state_dir": state_dir},
            "mqtt": {"port": port, "protocol": protocol},
            "models": {"model": {"folder": model}},
            "channels": {CHANNEL: {"model": "model", "sensor": sensor, "rules": [rule]}},
        }
    )


@contextlib.contextmanager
def built(
    config_for: Callable[[Path], Config], sensor: Sensor | None = None, backend: Backend | None = None
) -> Iterator[Appliance]:
    """Build an appliance in a temporary state folder, with ``sensor`` and ``backend`` in their places."""
    with tempfile.TemporaryDirectory(prefix="appliance-bench-") as folder:
        parts = Parts()
        if sensor is not None:
            parts = replace(parts, make_sensor=lambda _config, _context: sensor)
        if backend is not None:
            parts = replace(parts, make_backend=lambda _name, _config: backend)
        yield build(config_for(Path(folder)), parts=parts)


@contextlib.contextmanager
def running(appliance: Appliance) -> Iterator[Thread]:
    """Run an appliance in the background while the context is; its thread lives as long as nothing crashes."""
    stop = Event()
    thread = Thread(target=appliance.run, args=(stop,), name="appliance", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(STOP_TIMEOUT_S)
