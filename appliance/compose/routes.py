"""How what was measured of a model's backends decides which of them are used on this device."""

import hashlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from appliance.adapters.backends.tflite import RUNTIMES
from appliance.adapters.identity import hardware
from appliance.adapters.route_file import RouteFile
from appliance.config import Config
from appliance.core.model import Model
from appliance.core.routing import Route, Situation, find
from appliance.log import get

DIGEST_CHARACTERS = 12
"""Enough to tell two builds of one model apart."""
_ONNX = ("onnxruntime",)

_log = get("appliance")


def situation_of(config: Config, key: str, model: Model) -> Situation:
    """Say what a measurement of a model, a key of ``models``, has to have been taken for to be used now."""
    settings = config.models[key]
    told = [f"threads {settings.threads}", *([] if settings.xnnpack else ["no XNNPACK"])]
    if "tpu" in settings.backends:
        tpu = config.tpus[config.tpu_of(key)]
        told.append(f"tpu {tpu.device or 'any'} at {tpu.performance}")
    told += [f"{name} {digest}" for name, digest in _digests(model, settings.backends)]
    return Situation(model.sha256, settings.backends, platform_of(settings.backends), ", ".join(told))


def _digests(model: Model, backends: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Name the files beside the twin's that these backends open: one compiled anew is another network to time."""
    contents = {"tpu": model.tflite_edgetpu, "onnx": model.onnx}
    for name in backends:
        content = contents.get(name)
        if content is not None:
            yield f"{name} file", hashlib.sha256(content).hexdigest()[:DIGEST_CHARACTERS]


def platform_of(backends: tuple[str, ...]) -> str:
    """Name the runtimes that these backends use, with their versions, and the board; loads no runtime."""
    packages = [*_installed(tuple(RUNTIMES))[:1], *(_installed(_ONNX) if "onnx" in backends else [])]
    return f"{', '.join(packages) or 'no runtime'} on {hardware()}"


def routed(config: Config, models: Mapping[str, Model], folder: Path) -> Config:
    """Return the configuration with each model's backends in the order that was measured to be right.

    A model that was not measured, or under other circumstances, keeps its order. An Edge TPU that no model wins on is
    not used any more, and so not opened.

    Args:
        config: as it was read.
        models: by the same keys.
        folder: the state folder.
    """
    routes = RouteFile(folder).load()
    changed = dict(config.models)
    for key, model in models.items():
        route = find(routes, situation_of(config, key, model))
        if route is not None:
            _log.info("route", model=key, backends=list(route.order), measured=str(route))
            changed[key] = config.models[key].model_copy(update={"backends": route.order})
    return config.model_copy(update={"models": changed})


def told(folder: Path) -> dict[str, str]:
    """Tell, by the digest of a model's file, what was measured of it; empty where nothing is kept in ``folder``."""
    found: dict[str, list[str]] = {}
    for route in RouteFile(folder).load():
        found.setdefault(route.situation.sha256, []).append(_told(route))
    return {sha256: "; ".join(texts) for sha256, texts in found.items()}


def _told(route: Route) -> str:
    """A measurement in words; one that was taken with other software or on another board is of no effect."""
    used = route.situation.platform == platform_of(route.situation.backends)
    return str(route) if used else f"{route} (not used: measured with {route.situation.platform})"


def _installed(packages: tuple[str, ...]) -> list[str]:
    """Name those of ``packages`` that are installed, with their versions."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return found
