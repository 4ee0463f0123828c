"""Sensor, model and rules that contradict one another are refused before anything runs, each by its key."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from appliance import config as configuration
from appliance.adapters.model_folder import read_model
from appliance.adapters.sensors import SENSORS
from appliance.config import BackendName
from appliance.core.model import Model
from appliance.core.wire import STATE_KEYS
from appliance.errors import ConfigError
from appliance.fit import BACKEND_FILES, SENSOR_KINDS, check_fit
from tests.model_folders import CARD, PERSON, TINY, VIBRATION

MODELS = {folder.parent.name: read_model(folder) for folder in (PERSON, CARD, VIBRATION, TINY)}
CAMERA = {"kind": "camera", "source": "/dev/video0"}
TRANSACTIONS = {"kind": "transactions"}
SAMPLES = {
    "kind": "samples",
    "rate_hz": 1600.0,
    "length": 64,
    "stride": 64,
    "source": {"kind": "serial", "device": "/dev/ttyUSB0"},
}
REPLAY = {"kind": "replay", "file": "recording.npz"}
RULES: dict[str, dict[str, object]] = {
    "person": {"name": "person", "labels": ["person"], "threshold": 0.6},
    "card-example": {"name": "fraud", "labels": ["fraud"], "threshold": 0.9},
    "vibration-example": {"name": "anomaly", "labels": ["anomaly"], "threshold": 0.03},
    "tiny-uint8": {"name": "red", "labels": ["red"], "threshold": 0.5},
}
SENSORS_FIT = [
    ("person", CAMERA),
    ("person", {"kind": "picamera"}),
    ("person", REPLAY),
    ("tiny-uint8", CAMERA),
    ("card-example", TRANSACTIONS),
    ("card-example", REPLAY),
    ("vibration-example", SAMPLES),
    ("vibration-example", REPLAY),
]
ZONE = {"polygon": [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]}


def faults(*channels: tuple[str, dict[str, Any], dict[str, object]], **more: object) -> list[str]:
    """What is wrong with channels of model, sensor and one rule; named ``c0``, ``c1``, ... ``more`` is for each."""
    tree: dict[str, Any] = {
        "models": {name: {"folder": name} for name, _, _ in channels},
        "channels": {
            f"c{number}": {"model": name, "sensor": sensor, "rules": [rule], **more}
            for number, (name, sensor, rule) in enumerate(channels)
        },
    }
    config = configuration.parse(tree, text="", file=Path("/etc/appliance/a.toml"))
    try:
        check_fit(config, MODELS, "a.toml")
    except ConfigError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize(("model", "sensor"), SENSORS_FIT, ids=lambda value: value if isinstance(value, str) else "")
def test_what_belongs_together_fits(model: str, sensor: dict[str, Any]) -> None:
    assert faults((model, sensor, RULES[model])) == []


@pytest.mark.parametrize(
    ("model", "sensor", "told"),
    [
        (
            "person",
            TRANSACTIONS,
            "'transactions' delivers 'record', but model person takes image; choose 'camera', 'picamera', 'replay'",
        ),
        (
            "card-example",
            CAMERA,
            "'camera' delivers 'image', but model card-example takes record; choose 'replay', 'transactions'",
        ),
        (
            "vibration-example",
            {"kind": "picamera"},
            "'picamera' delivers 'image', but model vibration-example takes window; choose 'replay', 'samples'",
        ),
        (
            "person",
            SAMPLES,
            "'samples' delivers 'window', but model person takes image; choose 'camera', 'picamera', 'replay'",
        ),
    ],
)
def test_a_sensor_that_cannot_feed_the_model_is_refused_with_those_that_can(
    model: str, sensor: dict[str, Any], told: str
) -> None:
    assert faults((model, sensor, RULES[model])) == [f"a.toml: channels.c0.sensor.kind: {told}"]


@pytest.mark.parametrize(
    ("model", "sensor"), [("card-example", TRANSACTIONS), ("vibration-example", SAMPLES), ("tiny-uint8", CAMERA)]
)
def test_tiles_are_refused_where_nothing_is_looked_for_in_pictures(model: str, sensor: dict[str, Any]) -> None:
    tiled = {"tiling": {"columns": 2, "rows": 2}}
    told = f"a.toml: channels.c0.tiling: model {model} does not look for things in pictures, so tiles tell nothing; "
    assert faults((model, sensor, RULES[model]), **tiled) == [f"{told}remove it"]


def test_a_detector_of_pictures_takes_tiles() -> None:
    assert faults(("person", CAMERA, RULES["person"]), tiling={"columns": 2, "rows": 1, "overlap": 0.5}) == []


@pytest.mark.parametrize("length", [1, 63, 65])
def test_a_window_of_another_length_than_the_models_is_refused(length: int) -> None:
    told = f"a.toml: channels.c0.sensor.length: {length}, but model vibration-example takes windows of 64 samples"
    assert faults(("vibration-example", SAMPLES | {"length": length}, RULES["vibration-example"])) == [told]


@pytest.mark.parametrize(
    ("model", "sensor", "rule", "told"),
    [
        ("person", CAMERA, {"labels": ["persn"]}, "labels: 'persn' is not a label of model person; it says '"),
        ("tiny-uint8", CAMERA, {"labels": ["red", "pink"]}, "labels: 'pink' is not a label of model tiny-uint8; it"),
        ("card-example", TRANSACTIONS, {"labels": ["theft"]}, "labels: 'theft' is not a label of model card-example;"),
        ("vibration-example", SAMPLES, {"labels": ["fire"]}, "labels: 'fire' is not a label of model vibration-ex"),
        ("person", CAMERA, {"name": "outcome"}, "name: 'outcome' is a fixed word of the state topic; choose another"),
        ("person", CAMERA, {"threshold": 1.1}, "threshold: 1.1 can never separate; scores of person lie between 0 and"),
        ("card-example", TRANSACTIONS, {"threshold": 0.0}, "threshold: 0 can never separate; scores of card-example"),
        ("person", CAMERA, {"threshold": 0.2}, "threshold: 0.2 is below 0.3, under which person reports nothing; ra"),
        ("person", CAMERA, {"release": 0.29}, "release: 0.29 is below 0.3, under which person reports nothing; raise"),
        ("card-example", TRANSACTIONS, {"zone": ZONE}, "zone, height_min: model card-example gives no boxes; remove"),
        ("tiny-uint8", CAMERA, {"height_min": 0.1}, "zone, height_min: model tiny-uint8 gives no boxes; remove them"),
    ],
)
def test_a_rule_that_asks_for_what_the_model_cannot_say_is_refused(
    model: str, sensor: dict[str, Any], rule: dict[str, object], told: str
) -> None:
    [fault] = faults((model, sensor, RULES[model] | rule))
    assert fault.startswith(f"a.toml: channels.c0.rules.0.{told}")


@pytest.mark.parametrize(
    ("model", "sensor", "rule"),
    [
        ("person", CAMERA, {"threshold": 0.3}),
        ("person", CAMERA, {"threshold": 1.0, "release": 0.3}),
        ("person", CAMERA, {"zone": ZONE, "height_min": 0.5}),
        ("card-example", TRANSACTIONS, {"threshold": 1.0}),
        ("vibration-example", SAMPLES, {"threshold": 5.0}),
        ("tiny-uint8", CAMERA, {"labels": ["red", "green", "blue"]}),
    ],
)
def test_a_rule_at_the_edge_of_what_the_model_can_say_is_taken(
    model: str, sensor: dict[str, Any], rule: dict[str, object]
) -> None:
    assert faults((model, sensor, RULES[model] | rule)) == []


@pytest.mark.parametrize("name", sorted(name for name in STATE_KEYS))
def test_no_rule_may_take_the_place_of_a_fixed_key(name: str) -> None:
    [fault] = faults(("person", CAMERA, RULES["person"] | {"name": name}))
    assert "choose another name" in fault


def test_every_fault_of_every_channel_is_told_at_once() -> None:
    told = faults(
        ("person", SAMPLES, RULES["person"] | {"labels": ["a", "b"]}),
        ("card-example", TRANSACTIONS, RULES["card-example"]),
        ("tiny-uint8", CAMERA, RULES["tiny-uint8"] | {"zone": ZONE}),
    )
    assert [line.split(": ")[1] for line in told] == [
        "channels.c0.sensor.kind",
        "channels.c0.rules.0.labels",
        "channels.c0.rules.0.labels",
        "channels.c2.rules.0.zone, height_min",
    ]


def test_every_sensor_there_is_says_what_it_delivers() -> None:
    assert SENSOR_KINDS.keys() == SENSORS.keys()


@pytest.mark.parametrize("number", [0, 2])
def test_a_rule_is_named_by_its_place(number: int) -> None:
    rules = [RULES["person"] | {"name": f"r{each}"} for each in range(3)]
    rules[number]["labels"] = ["unicorn"]
    channel = {"model": "person", "sensor": CAMERA, "rules": rules}
    tree: dict[str, Any] = {"models": {"person": {"folder": "x"}}, "channels": {"gate": channel}}
    config = configuration.parse(tree, text="", file=Path("a.toml"))
    with pytest.raises(ConfigError, match=rf"^a\.toml: channels\.gate\.rules\.{number}\.labels: 'unicorn'"):
        check_fit(config, MODELS, "a.toml")


def test_a_fallback_on_a_field_of_the_request_fits() -> None:
    fallback = {"field": "amount", "limit": 50.0}
    assert faults(("card-example", TRANSACTIONS, RULES["card-example"]), fallback=fallback) == []


@pytest.mark.parametrize(
    ("model", "sensor", "told"),
    [
        ("card-example", TRANSACTIONS, "'sum' is no field of model card-example; it has 'amount', "),
        ("person", CAMERA, "'sum' is no field of model person; only transactions have fields"),
    ],
)
def test_a_fallback_on_something_the_request_has_not_is_refused(model: str, sensor: dict[str, Any], told: str) -> None:
    [fault] = faults((model, sensor, RULES[model]), fallback={"field": "sum", "limit": 50.0})
    assert fault.startswith(f"a.toml: channels.c0.fallback.field: {told}")


@pytest.mark.parametrize("name", ["below_limit", "above_limit"])
def test_a_rule_named_like_an_outcome_of_the_fallback_is_refused(name: str) -> None:
    [fault] = faults(("card-example", TRANSACTIONS, RULES["card-example"] | {"name": name}))
    assert "is a fixed word of the state topic" in fault


FIELDS = {"tpu": "tflite_edgetpu", "onnx": "onnx"}
"""Backend to the field of a model that holds its file."""


def backend_faults(backends: list[str], models: Mapping[str, Model]) -> list[str]:
    """What is wrong with the backends of a model that one channel uses, and of a spare one that none does."""
    section = {"folder": "x", "backends": backends}
    channel = {"model": "tiny-uint8", "sensor": CAMERA, "rules": [RULES["tiny-uint8"]]}
    tree: dict[str, Any] = {"models": {"tiny-uint8": section, "spare": section}, "channels": {"gate": channel}}
    config = configuration.parse(tree, text="", file=Path("a.toml"))
    try:
        check_fit(config, models, "a.toml")
    except ConfigError as error:
        return str(error).splitlines()
    return []


TINY_MODELS = {"tiny-uint8": MODELS["tiny-uint8"], "spare": MODELS["tiny-uint8"]}


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        (
            "tpu",
            "'tpu' runs model_edgetpu.tflite, and the folder of tiny-uint8 1.0.0 has none; `appliance forge compile ",
        ),
        ("onnx", "'onnx' runs model.onnx, and the folder of tiny-uint8 1.0.0 has none; `python models/to_onnx.py "),
    ],
)
def test_a_backend_whose_file_the_folder_has_not_is_refused_with_the_command_that_makes_it(
    backend: str, told: str
) -> None:
    used, spare = backend_faults([backend, "cpu"], TINY_MODELS)
    assert used.startswith(f"a.toml: models.tiny-uint8.backends: {told}")
    assert used.endswith(f"or remove {backend!r}")
    assert spare == used.replace("models.tiny-uint8.", "models.spare.")


def test_each_missing_file_is_told_by_itself() -> None:
    told = backend_faults(
        ["tpu", "onnx", "cpu"], {**TINY_MODELS, "spare": with_file(with_file(MODELS["tiny-uint8"], "tpu"), "onnx")}
    )
    assert [line.split(" runs ")[0] for line in told] == [
        f"a.toml: models.tiny-uint8.backends: {backend!r}" for backend in ("tpu", "onnx")
    ]


@pytest.mark.parametrize("backend", ["tpu", "onnx"])
def test_a_backend_whose_file_is_there_fits(backend: str) -> None:
    models = {name: with_file(model, backend) for name, model in TINY_MODELS.items()}
    assert backend_faults([backend, "cpu"], models) == []


def with_file(model: Model, backend: str) -> Model:
    return replace(model, **{FIELDS[backend]: b"a file"})  # type: ignore[arg-type]  # a field of bytes


def test_every_backend_that_needs_a_file_of_its_own_is_looked_at() -> None:
    assert BACKEND_FILES.keys() == FIELDS.keys() == set(get_args(BackendName)) - {"cpu"}
