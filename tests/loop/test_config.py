"""The one file that people write: strict, bounded in every number, and told where it is wrong."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from appliance import config as configuration
from appliance.config import CONFIG_BYTES_MAX, CameraConfig, Config
from appliance.errors import ConfigError
from appliance.explain import effective

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
MINIMAL = """\
[models.person]
folder = "models/person/1.0.0"

[channels.gate]
model = "person"

[channels.gate.sensor]
kind = "camera"
source = "/dev/video0"

[[channels.gate.rules]]
name = "person"
labels = ["person"]
threshold = 0.6
"""
UNBOUNDED = {
    "RuleConfig.threshold": "on the model's own scale, which check_fit knows",
    "RuleConfig.release": "as threshold, and at most it",
    "QualityConfig.flat_range_min": "in the sensor's unit: pascal or g, it may be anything from 0",
    "QualityConfig.value_min": "in the sensor's unit, either sign",
    "QualityConfig.value_max": "in the sensor's unit, either sign, above value_min",
}
"""Numbers without a bound on both sides, and why. They are finite, as all are."""


def read(text: str, folder: Path = Path("/etc/appliance")) -> Config:
    return configuration.parse(tomllib.loads(text), text=text, file=folder / "appliance.toml")


def with_line(line: str, *, after: str = "[models.person]", text: str = MINIMAL) -> str:
    """A configuration with one line more."""
    assert after in text
    return text.replace(after, f"{after}\n{line}", 1)


def refusal(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [line.removeprefix("/etc/appliance/appliance.toml") for line in str(caught.value).splitlines()]


SENSOR, RULE, CHANNEL = "[channels.gate.sensor]", "[[channels.gate.rules]]", "[channels.gate]"
CASES = {
    "unknown section": ("[nodes]\n" + MINIMAL, ":1: nodes: unknown key"),
    "unknown key": (with_line("folde = 1"), ":2: models.person.folde: unknown key"),
    "unknown key of a sensor": (with_line("resolution = 1", after=SENSOR), ":8: channels.gate.sensor.resolution: unkn"),
    "unknown key of a rule": (
        with_line("treshold = 1", after=RULE),
        ":12: channels.gate.rules.0.treshold: unknown",
    ),
    "missing key": (MINIMAL.replace('source = "/dev/video0"\n', ""), ":7: channels.gate.sensor.source: missing"),
    "unknown kind": (
        MINIMAL.replace('"camera"', '"webcam"'),
        ":7: channels.gate.sensor: kind 'webcam' is not known",
    ),
    "port 0": ("[mqtt]\nport = 0\n" + MINIMAL, ":2: mqtt.port: input should be greater than or equal to 1 (it is 0)"),
    "port too high": ("[mqtt]\nport = 65536\n" + MINIMAL, ":2: mqtt.port: input should be less than or equal to 65535"),
    "not a number": (with_line("threads = 'many'"), ":2: models.person.threads: input should be a valid integer"),
    "nan": (MINIMAL.replace("0.6", "nan"), ":14: channels.gate.rules.0.threshold: input should be a finite number"),
    "unknown model": (
        MINIMAL.replace('model = "person"', 'model = "cat"'),
        ":5: channels.gate.model names 'cat', which is not under models (there: person)",
    ),
    "release above": (
        with_line("release = 0.7", after=RULE),
        ":11: channels.gate.rules.0: release (0.7) must not be above threshold (0.6)",
    ),
    "hold_n above": (
        with_line("hold_n = 3", after=RULE),
        ":11: channels.gate.rules.0: hold_n (3) must not be above hold_m (1)",
    ),
    "one name twice": (
        MINIMAL + MINIMAL[MINIMAL.index(RULE) :],
        ":4: channels.gate: two rules have the name 'person'; each rule of a channel needs its own",
    ),
    "a zone of two corners": (
        with_line("zone = { polygon = [[0, 0], [1, 1]] }", after=RULE),
        ":12: channels.gate.rules.0.zone.polygon: tuple should have at least 3 items",
    ),
    "a zone outside": (
        with_line("zone = { polygon = [[0, 0], [1, 1], [2, 0]] }", after=RULE),
        ":12: channels.gate.rules.0.zone.polygon.2.0: input should be less than or equal to 1 (it is 2)",
    ),
    "a patient capture": (
        with_line("capture_timeout_s = 30", after=CHANNEL).replace('"camera"\nsource = "/dev/video0"', '"picamera"'),
        ":5: channels.gate.capture_timeout_s (30) must be less than health.stall_after_s (30), or a slow sensor reads",
    ),
    "a camera that opens slowly": (
        with_line("open_timeout_s = 26", after=SENSOR),
        ":4: channels.gate.capture_timeout_s plus sensor.open_timeout_s and 2 to close it (30) must be less than healt",
    ),
    "a name that is no topic level": (
        MINIMAL.replace("channels.gate", 'channels."Gate/1"'),
        ":4: channels.Gate/1.[key]: string should match pattern '^[a-z0-9][a-z0-9_-]{0,31}$' (it is 'Gate/1')",
    ),
    "a rule for nothing": (
        MINIMAL.replace('labels = ["person"]', "labels = []"),
        ":13: channels.gate.rules.0.labels: tuple should have at least 1 item",
    ),
    "half a key pair": (
        "[mqtt.tls]\ncert_file = 'a.pem'\n" + MINIMAL,
        ":1: mqtt.tls: cert_file and key_file go together: give both or neither",
    ),
    "questions over MQTT 3": (
        "[mqtt]\nprotocol = '3.1.1'\n"
        + MINIMAL.replace('kind = "camera"\nsource = "/dev/video0"', 'kind = "transactions"'),
        ': channels.gate: a transactions sensor needs mqtt.protocol = "5" (response topics)',
    ),
    "a range upside down": (
        MINIMAL.replace(
            'kind = "camera"\nsource = "/dev/video0"',
            'kind = "samples"\nrate_hz = 1.0\nlength = 1\nstride = 1\n'
            'source = { kind = "serial", device = "x" }\nquality = { value_min = 2.0, value_max = 1.0 }',
        ),
        ":13: channels.gate.sensor.quality: value_min must be less than value_max",
    ),
    "no channel": (
        "channels = {}\n" + MINIMAL[: MINIMAL.index(CHANNEL)],
        ":1: channels: dictionary should have",
    ),
}


@pytest.mark.parametrize(("text", "told"), CASES.values(), ids=CASES.keys())
def test_what_is_wrong_is_told_with_line_key_and_what_would_be_right(text: str, told: str) -> None:
    [line] = refusal(text)
    assert line.startswith(told)


def test_the_minimum_is_enough() -> None:
    config = read(MINIMAL)
    assert list(config.channels) == ["gate"]
    assert (config.mqtt.host, config.mqtt.port) == ("127.0.0.1", 1883)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    text = with_line("threads = 0", text=with_line("fps = 0", after=SENSOR))
    assert [line.split(": ")[1] for line in refusal(text)] == ["models.person.threads", "channels.gate.sensor.fps"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[[", "not TOML: "),
        (b"a = 1\nb = \n", "not TOML: Invalid value (at line 2"),
        (b"\xff\xfe", "not TOML: 'utf-8' codec can't decode"),
        (b"#" * (CONFIG_BYTES_MAX + 1), f"larger than {CONFIG_BYTES_MAX} bytes; this is not a configuration"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "appliance.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        configuration.load(file)
    assert str(caught.value).startswith(f"{file}: {told}")


@pytest.mark.parametrize(("name", "told"), [("missing.toml", "No such file"), ("", "Is a directory")])
def test_a_file_that_cannot_be_read_is_told_by_name(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"cannot be read: {told}.*; give the path of a TOML file"):
        configuration.load(tmp_path / name)


def test_paths_start_at_the_file_and_urls_and_absolute_paths_stay() -> None:
    text = with_line("xnnpack = true").replace("/dev/video0", "film.avi")
    text = f'[node]\nstate_dir = "../state"\n[mqtt]\npassword_file = "secret"\nunix_socket = "/run/mqtt"\n{text}'
    config = read(text, Path("/etc/appliance"))
    assert config.node.state_dir == Path("/etc/appliance/../state")
    assert config.mqtt.password_file == Path("/etc/appliance/secret")
    assert config.mqtt.unix_socket == Path("/run/mqtt")
    assert config.models["person"].folder == Path("/etc/appliance/models/person/1.0.0")
    assert _camera(config).source == "/etc/appliance/film.avi"
    for stays in ("rtsp://camera/stream", "/dev/video0"):
        assert _camera(read(MINIMAL.replace("/dev/video0", stays))).source == stays


def test_a_relative_file_name_gives_the_same_paths_as_its_full_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "appliance.toml").write_text(MINIMAL)
    monkeypatch.chdir(tmp_path)  # where the process stands, no code of ours
    assert configuration.load(Path("appliance.toml")) == configuration.load(tmp_path / "appliance.toml")


def _camera(config: Config) -> CameraConfig:
    sensor = config.channels["gate"].sensor
    assert isinstance(sensor, CameraConfig)
    return sensor


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_effective_configuration_of_an_example_reads_back_as_the_same(file: Path) -> None:
    config = configuration.load(file)
    text = effective(config)
    assert configuration.parse(tomllib.loads(text), text=text, file=file) == config


PLAIN = st.text(min_size=1, max_size=64).filter(lambda text: "://" not in text)  # of a URL, credentials are hidden


@given(
    name=PLAIN,
    device=PLAIN,
    threshold=st.floats(allow_nan=False, allow_infinity=False),
    columns=st.lists(PLAIN, max_size=3),
)
def test_the_effective_configuration_reads_back_whatever_was_written(
    name: str, device: str, threshold: float, columns: list[str]
) -> None:
    tree = tomllib.loads(MINIMAL)
    tree["node"] = {"name": name}
    tree["channels"]["gate"]["rules"][0]["threshold"] = threshold
    tree["channels"]["gate"]["sensor"] = _samples({"kind": "serial", "device": device})
    tree["channels"]["yard"] = tree["channels"]["gate"] | {
        "sensor": _samples({"kind": "file", "file": "/srv/samples.csv", "columns": columns})
    }
    config = configuration.parse(tree, text="", file=Path("/etc/appliance/appliance.toml"))
    assert read(effective(config), Path("/elsewhere")) == config


def _samples(source: dict[str, object]) -> dict[str, object]:
    return {"kind": "samples", "rate_hz": 10.0, "length": 2, "stride": 2, "source": source}


def test_what_check_prints_of_a_camera_has_no_password() -> None:
    password = 'hunter2"and\\more@x'  # noqa: S105 - as strange as people choose them
    tree = tomllib.loads(MINIMAL)
    tree["channels"]["gate"]["sensor"]["source"] = f"rtsp://admin:{password}@192.0.2.7/stream?pwd=hunter2"
    text = effective(configuration.parse(tree, text="", file=Path("/etc/appliance/appliance.toml")))
    assert "hunter2" not in text
    assert 'source = "rtsp://***@192.0.2.7/stream?***"' in text


def sections(section: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    """Every section there is, each once."""
    found = {section}
    for field in section.model_fields.values():
        found |= {deeper for each in _mentioned(field.annotation) for deeper in sections(each)}
    yield from sorted(found, key=lambda each: each.__name__)


def _mentioned(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - typing's forms have no common type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _mentioned(part)


def numbers(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401 - as above
    """The constraints of every number in an annotation, one after another."""
    if annotation in {int, float}:
        yield metadata
    elif get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from numbers(inner, (*metadata, *_constraints(more)))
    elif get_origin(annotation) in {Union, UnionType}:
        for part in get_args(annotation):
            yield from numbers(part, metadata)
    elif get_origin(annotation) is not Literal:
        for part in get_args(annotation):
            yield from numbers(part)


def _constraints(metadata: list[Any]) -> Iterator[Any]:
    for each in metadata:
        yield from each.metadata if isinstance(each, FieldInfo) else [each]


FIELDS = [
    (f"{section.__name__}.{name}", field)
    for section in sections()
    for name, field in section.model_fields.items()
    if any(True for _ in numbers(field.annotation, tuple(field.metadata)))
]


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=[name for name, _ in FIELDS])
def test_every_number_is_bounded_on_both_sides_or_says_why_not(name: str, field: FieldInfo) -> None:
    for constraints in numbers(field.annotation, tuple(field.metadata)):
        low = any(isinstance(each, annotated_types.Ge | annotated_types.Gt) for each in constraints)
        high = any(isinstance(each, annotated_types.Le | annotated_types.Lt) for each in constraints)
        assert (low and high) is not (name in UNBOUNDED), f"{name}: {constraints}"


def test_the_walk_over_numbers_finds_them_wherever_they_hide() -> None:
    """A test of the test: bounds of plain, optional and nested numbers are seen."""
    names = {name for name, _ in FIELDS}
    assert {"MqttConfig.port", "CameraConfig.fps", "ZoneConfig.polygon", "SamplesConfig.rate_hz"} <= names
    assert set(UNBOUNDED) <= names
    assert len(FIELDS) > 40


@pytest.mark.parametrize("section", list(sections()), ids=lambda section: section.__name__)
def test_an_unknown_key_is_refused_in_every_section(section: type[BaseModel]) -> None:
    assert section.model_config.get("extra") == "forbid"
    assert section.model_config.get("frozen") is True
    assert section.model_config.get("allow_inf_nan") is False


@pytest.mark.parametrize(
    "path",
    [
        ("node",),
        ("mqtt",),
        ("mqtt", "tls"),
        ("outbox",),
        ("health",),
        ("log",),
        ("models", "person"),
        ("channels", "gate"),
        ("channels", "gate", "sensor"),
    ],
    ids=".".join,
)
def test_a_misspelt_key_is_told_with_its_whole_path(path: tuple[str, ...]) -> None:
    tree = tomllib.loads(MINIMAL)
    place = tree
    for part in path:
        place = place.setdefault(part, {})
    place["misspelt"] = 1
    with pytest.raises(ConfigError, match=rf"appliance\.toml: {'.'.join(path)}\.misspelt: unknown key"):
        configuration.parse(tree, text="", file=Path("/etc/appliance/appliance.toml"))
