"""From a configuration to a wired appliance. The only device room that names concrete edges."""

import sys
from collections.abc import Iterator
from pathlib import Path

import cv2

from appliance.adapters.backends.registry import make_backend
from appliance.compose.appliance import Appliance, Parts
from appliance.compose.folders import MODELS_FOLDER, STATE_DIRECTORY, state_dir
from appliance.compose.trials import Library
from appliance.compose.wiring import Wiring
from appliance.config import Config, ModelConfig
from appliance.core.golden import GoldenReport
from appliance.core.model import Model
from appliance.errors import BackendError, Idle, ModelError, SensorError
from appliance.fit import check_fit
from appliance.inference import prove
from appliance.ports import Backend

SWITCH_INTERVAL_S = 0.001
"""How long a thread may hold the interpreter while another waits; Python's own 5 ms is too long for an alert."""
OPENCV_THREADS = 1
"""Channels run side by side already; OpenCV's own threads would only take cores from invoke."""


def build(config: Config, *, file: Path | None = None, parts: Parts | None = None) -> Appliance:
    """Wire an appliance: models verified and proven by their golden vectors, the outbox open, no thread started.

    ``file`` names the configuration in messages. Raises ConfigError, ModelError, NoBackendError, OutboxError.
    """
    cv2.setNumThreads(OPENCV_THREADS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    parts = parts or Parts()
    updates = config.update.root_file is not None
    library = Library(config, parts.make_slots(state_dir(config) / MODELS_FOLDER) if updates else None)
    check_fit(config, library.models, str(file or "configuration"))
    return Wiring(config, library, parts).appliance()


def check(config: Config, *, file: Path) -> None:
    """Check what ``build`` would, without running a channel or writing anything.

    Raises ConfigError, ModelError; BackendError when no TFLite runtime is installed.
    """
    models = Library(config, None).models
    check_fit(config, models, str(file))
    for key, model in models.items():
        prove_folder(model, config.models[key])


def prove_folder(model: Model, config: ModelConfig) -> GoldenReport:
    """Hold a model's file against its description and its golden vectors, on this device's CPU.

    Raises ModelError: the folder is on trial here, not the hardware. Raises BackendError when there is no runtime.
    """
    backend = make_backend("cpu", config)
    try:
        backend.open(model)
        return _proven(backend, model)
    finally:
        backend.close()


def _proven(backend: Backend, model: Model) -> GoldenReport:
    """Prove a model on an open backend. Raises ModelError."""
    try:
        return prove(backend, model)
    except BackendError as error:
        raise ModelError(str(error)) from error


def try_sensors(config: Config, *, parts: Parts | None = None) -> Iterator[tuple[str, str]]:
    """Open each channel's sensor, capture once, close it; yield channel and what was seen. Raises SensorError."""
    wiring = Wiring(config, Library(config, None), parts or Parts())
    for name, channel in config.channels.items():
        sensor = wiring.sensor(name, channel)
        try:
            sensor.open()
            frame = sensor.capture(channel.capture_timeout_s)
            seen = f"{frame.kind.value} of {' x '.join(str(side) for side in frame.data.shape)}"
        except Idle:
            seen = "well, nothing to judge yet"
        except SensorError as error:
            message = f"channel {name}: {error}"
            raise SensorError(message) from error
        finally:
            sensor.close()
        yield name, seen


__all__ = ["STATE_DIRECTORY", "Appliance", "Parts", "build", "check", "prove_folder", "state_dir", "try_sensors"]
