"""What was measured of backends decides which are used, and nothing but a fresh measurement of this very model does."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from appliance import config as configuration
from appliance.adapters.model_folder import read_model
from appliance.adapters.route_file import RouteFile
from appliance.bench.scene import compiled_folder
from appliance.compose import Parts, build
from appliance.compose.routes import platform_of, routed, situation_of, told
from appliance.config import Config
from appliance.core.model import Model
from appliance.core.routing import Route, Timing
from tests.model_folders import TINY

NOBODY_LISTENS = 9


def config(folder: Path, *, backends: tuple[str, ...] = ("tpu", "cpu"), **model: int) -> Config:
    """One channel with the tiny model, which has a compiled file."""
    tree = {
        "node": {"id": "n1", "state_dir": str(folder / "state")},
        "mqtt": {"port": NOBODY_LISTENS, "connect_timeout_s": 0.1},
        "models": {"tiny": {"folder": str(folder / "tiny-uint8" / "1.0.0"), "backends": backends, **model}},
        "channels": {
            "gate": {
                "model": "tiny",
                "sensor": {"kind": "camera", "source": "/dev/null/none"},
                "rules": [{"name": "red", "labels": ["red"], "threshold": 0.5}],
            }
        },
    }
    return configuration.parse(tree, text="", file=folder / "appliance.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that ``config`` speaks of."""
    compiled_folder(TINY, tmp_path)
    return tmp_path


@pytest.fixture
def model(folder: Path) -> Model:
    return read_model(folder / "tiny-uint8" / "1.0.0")


def measured(folder: Path, model: Model, *, tpu_ms: float, cpu_ms: float) -> Route:
    """What a bench would have kept for ``config``."""
    timings = (Timing("tpu", tpu_ms, tpu_ms), Timing("cpu", cpu_ms, cpu_ms))
    return Route(model.name, model.version, situation_of(config(folder), "tiny", model), timings)


def kept(folder: Path, *routes: Route) -> None:
    RouteFile(folder / "state").save(routes)


def backends_of(config: Config) -> tuple[str, ...]:
    return config.models["tiny"].backends


def test_where_the_cpu_wins_the_edge_tpu_is_not_even_made(folder: Path, model: Model) -> None:
    kept(folder, measured(folder, model, tpu_ms=0.9, cpu_ms=0.2))
    made: list[str] = []

    def make(name: str, *_: object) -> NoReturn:
        made.append(name)
        raise AssertionError(name)

    appliance = build(config(folder), parts=Parts(make_tpu=make))
    try:
        (channel,) = appliance.channels
        assert (channel.health().backend, channel.health().degraded) == ("cpu", False)
        assert made == []
    finally:
        appliance.close()


def test_where_it_wins_it_stays_in_front_and_the_twin_behind_it(folder: Path, model: Model) -> None:
    kept(folder, measured(folder, model, tpu_ms=2.0, cpu_ms=9.0))
    assert backends_of(routed(config(folder), {"tiny": model}, folder / "state")) == ("tpu", "cpu")


@pytest.mark.parametrize("change", ["another file", "other backends", "other software", "other settings", "no file"])
def test_a_measurement_of_anything_else_changes_nothing(folder: Path, model: Model, change: str) -> None:
    route = measured(folder, model, tpu_ms=0.9, cpu_ms=0.2)
    settings: dict[str, int] = {}
    if change == "another file":
        model = replace(model, sha256="0" * 64)
    elif change == "other software":
        route = replace(route, situation=replace(route.situation, platform="ai-edge-litert 1.0.0 on another board"))
    elif change == "other settings":
        settings["threads"] = 2
    if change != "no file":
        kept(folder, route)
    backends = ("tpu", "onnx", "cpu") if change == "other backends" else ("tpu", "cpu")
    before = config(folder, backends=backends, **settings)
    assert backends_of(routed(before, {"tiny": model}, folder / "state")) == backends


def test_a_damaged_file_costs_a_line_in_the_log_and_no_start(
    folder: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    kept(folder, measured(folder, model, tpu_ms=0.9, cpu_ms=0.2))
    file = folder / "state" / "routes.json"
    file.write_bytes(file.read_bytes()[:-20])
    assert backends_of(routed(config(folder), {"tiny": model}, folder / "state")) == ("tpu", "cpu")
    (line,) = [record.msg for record in caplog.records if record.levelno == logging.WARNING]
    assert str(file) in str(line)


def test_the_start_says_which_route_is_taken_and_why(
    folder: Path, model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept(folder, measured(folder, model, tpu_ms=0.9, cpu_ms=0.2))
    routed(config(folder), {"tiny": model}, folder / "state")
    (line,) = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    told_there = {key: line[key] for key in ("event", "model", "backends", "measured")}
    assert told_there == {
        "event": "route",
        "model": "tiny",
        "backends": ["cpu"],
        "measured": "cpu 0.2 ms < tpu 0.9 ms",
    }


def test_what_is_told_of_a_model_goes_by_its_file_and_says_when_it_is_of_no_effect(folder: Path, model: Model) -> None:
    route = measured(folder, model, tpu_ms=0.9, cpu_ms=0.2)
    assert told(folder / "state") == {}
    kept(folder, route)
    assert told(folder / "state") == {model.sha256: "cpu 0.2 ms < tpu 0.9 ms"}
    kept(folder, replace(route, situation=replace(route.situation, platform="an older one")))
    assert told(folder / "state")[model.sha256].endswith("(not used: measured with an older one)")


def test_the_platform_names_runtimes_with_their_versions_and_the_board() -> None:
    name, _, board = platform_of(("tpu", "cpu")).partition(" on ")
    assert name.split()[0] in {"ai-edge-litert", "tflite-runtime"}
    assert name.split()[1][0].isdigit()
    assert board
    assert "onnxruntime" not in name
