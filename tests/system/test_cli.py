"""The command line as a person meets it: it teaches, and it refuses with one clear message and its exit code."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

from appliance import __version__, cli
from appliance import config as configuration
from tests.command import Command, Ended
from tests.model_folders import CARD, MODELS, PERSON, TINY, VIBRATION

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))
TIMEOUT_S = 60.0
OK, USAGE, UNAVAILABLE, WRONG = 0, 2, 69, 78
COMMANDS = (
    (),
    ("run",),
    ("check",),
    ("demo",),
    ("bench",),
    ("model",),
    ("model", "list"),
    ("model", "show"),
    ("model", "verify"),
)


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command, in this process."""
    return Command(capfd, monkeypatch)


def as_process(*words: object) -> Ended:
    """The same as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "appliance", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environment)
    return Ended(done.returncode, done.stdout, done.stderr)


def written(folder: Path, *, model: Path = TINY, source: str = "/dev/null/no-camera", **rule: object) -> Path:
    """A configuration file with one camera channel."""
    tree = {
        "node": {"state_dir": str(folder / "state")},
        "models": {"tiny": {"folder": str(model)}},
        "channels": {
            "gate": {
                "model": "tiny",
                "sensor": {"kind": "camera", "source": source},
                "rules": [{"name": "red", "labels": ["red"], "threshold": 0.5, **rule}],
            }
        },
    }
    file = folder / "appliance.toml"
    file.write_text(tomli_w.dumps(tree))
    return file


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A model folder to spoil."""
    return Path(shutil.copytree(TINY, tmp_path / "models" / TINY.parent.name / TINY.name))


def spoil_a_byte(folder: Path) -> None:
    file = folder / "model.tflite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def describe_otherwise(folder: Path, old: str, new: str) -> None:
    """Change what ``model.toml`` says; every digest stays right."""
    file = folder / "model.toml"
    text = file.read_text()
    assert text.count(old) == 1, old
    file.write_text(text.replace(old, new))
    digest = hashlib.sha256((folder / "model.tflite").read_bytes()).hexdigest()
    assert digest in file.read_text()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_teaches_by_an_example_or_the_exit_codes(appliance: Command, command: tuple[str, ...]) -> None:
    for word in ("--help", "-h"):
        told = appliance(*command, word)
        assert told.code == OK
        if command != ("model",):  # lists what is below it
            assert re.search(r"Example: appliance|Exit codes?:? ", told.out), told.out
        assert "Traceback" not in told.err


def test_the_help_names_every_exit_code() -> None:
    assert set(re.findall(r"\b(\d+) ", cli.EPILOG)) == {"0", "1", "2", "65", "69", "70", "74", "75", "77", "78"}


def test_the_version_is_the_packages(appliance: Command) -> None:
    told = appliance("--version")
    assert (told.code, told.out) == (OK, f"appliance {__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        ("frobnicate",),
        ("run",),
        ("check",),
        ("check", "a.toml", "b.toml"),
        ("demo", "--seconds", "0"),
        ("demo", "--seconds", "soon"),
        ("model", "show"),
        ("model", "frobnicate"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_says_where_help_is(appliance: Command, words: tuple[str, ...]) -> None:
    told = appliance(*words)
    assert told.code == USAGE
    assert "-h' for help" in told.err
    assert told.out == ""


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_check_accepts_every_example_and_prints_what_reads_back_as_the_same(appliance: Command, file: Path) -> None:
    told = appliance("check", file)
    assert (told.code, told.err) == (OK, "")
    printed = configuration.parse(tomllib.loads(told.out), text=told.out, file=file)
    assert printed == configuration.load(file)


def test_check_hides_the_password_of_a_camera(appliance: Command, tmp_path: Path) -> None:
    told = appliance("check", written(tmp_path, source="rtsp://admin:hunter2@192.0.2.7/stream"))
    assert told.code == OK
    assert "hunter2" not in told.out + told.err
    assert "rtsp://***@192.0.2.7/stream" in told.out


def test_a_camera_that_is_not_there_is_69_and_its_password_stays_here(tmp_path: Path) -> None:
    """In a process of its own: FFmpeg asks how talkative to be once, and another test may have been first."""
    config = written(tmp_path, source="rtsp://admin:hunter2@127.0.0.1:9/stream")
    command = [sys.executable, "-m", "appliance", "check", "--open", str(config)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=60)
    told = Ended(ended.returncode, ended.stdout, ended.stderr)
    assert told.code == UNAVAILABLE
    assert told.message().startswith("appliance: channel gate: rtsp://***@127.0.0.1:9/stream: OpenCV cannot open it")
    assert "hunter2" not in told.out + told.err


def test_check_open_says_what_each_sensor_sees(appliance: Command, tmp_path: Path) -> None:
    footage = ROOT / "examples" / "footage" / "people-walking.avi"
    told = appliance("check", "--open", written(tmp_path, source=str(footage)))
    assert told.code == OK
    assert told.out.splitlines()[-1] == "# channel gate: image of 576 x 768 x 3"


def test_in_a_pipe_each_key_stands_whole_on_one_line(appliance: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = appliance("check", "--keys").out.splitlines()
    for key in ("models.<name>.invoke_deadline_s", "tpus.<name>.power_cycle", "channels.<name>.frame_age_max_s"):
        [line] = [each for each in lines if key in each]
        assert line.count("│") == lines[-2].count("│")


def test_check_keys_lists_every_key_with_its_bounds(appliance: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    told = appliance("check", "--keys")
    assert told.code == OK
    for key in ("mqtt.port", "channels.<name>.sensor(camera).source", "outbox.rows_max", "health.metrics_port"):
        assert key in told.out
    assert "1 to 65,535" in told.out


@pytest.mark.parametrize("command", [("check",), ("run", "--config")], ids=" ".join)
def test_a_wrong_configuration_is_78_and_one_message(
    appliance: Command, tmp_path: Path, command: tuple[str, ...]
) -> None:
    missing = appliance(*command, tmp_path / "none.toml")
    assert (missing.code, missing.out) == (WRONG, "")
    assert re.fullmatch(r"appliance: .*none\.toml: cannot be read: .*; give the path of .*", missing.message())
    wrong = appliance(*command, written(tmp_path, hold_n=0))
    assert wrong.code == WRONG
    assert re.fullmatch(r"appliance: .*appliance\.toml:\d+: channels\.gate\.rules\.0\.hold_n: .*", wrong.message())
    misfit = appliance(*command, written(tmp_path, labels=["pink"]))
    assert misfit.code == WRONG
    assert misfit.message().startswith(f"appliance: {tmp_path}/appliance.toml: channels.gate.rules.0.labels: 'pink'")


@pytest.mark.parametrize("command", [("check",), ("run", "--config")], ids=" ".join)
def test_a_missing_or_corrupt_model_is_78_and_one_message(
    appliance: Command, tmp_path: Path, copied: Path, command: tuple[str, ...]
) -> None:
    missing = appliance(*command, written(tmp_path, model=tmp_path / "none"))
    assert (missing.code, missing.out) == (WRONG, "")
    assert "none: no such model folder" in missing.message()
    spoil_a_byte(copied)
    corrupt = appliance(*command, written(tmp_path, model=copied))
    assert (corrupt.code, corrupt.out) == (WRONG, "")
    assert re.fullmatch(rf"appliance: {copied}: .*model\.tflite.*sha256.*", corrupt.message())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("shape = [1, 16, 16, 3]", "shape = [1, 16, 8, 3]", "its tensor is uint8 [1, 16, 8, 3]"),
        ("scale = 0.00390625", "scale = 0.5", "output 'scores'"),
    ],
)
def test_a_model_whose_file_disagrees_with_its_description_is_78(
    appliance: Command, tmp_path: Path, copied: Path, old: str, new: str, told: str
) -> None:
    describe_otherwise(copied, old, new)
    for words in (("model", "verify", copied), ("run", "--config", written(tmp_path, model=copied))):
        ended = appliance(*words)
        assert (ended.code, ended.out) == (WRONG, "")
        assert told in ended.message()


def test_a_model_that_answers_otherwise_than_it_promised_is_78(
    appliance: Command, tmp_path: Path, copied: Path
) -> None:
    promise_otherwise(copied)
    for words in (("model", "verify", copied), ("run", "--config", written(tmp_path, model=copied))):
        ended = appliance(*words)
        assert (ended.code, ended.out) == (WRONG, "")
        assert "not the golden outputs of tiny-uint8 1.0.0" in ended.message()


def promise_otherwise(folder: Path) -> None:
    """Change what the model is said to answer; the digests agree with the change."""
    file = folder / "golden" / "golden.npz"
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    with np.load(file) as golden:
        arrays = {name: golden[name] for name in golden.files}
    np.savez(file, **{name: 255 - array if name.startswith("scores") else array for name, array in arrays.items()})
    description = folder / "model.toml"
    after = hashlib.sha256(file.read_bytes()).hexdigest()
    description.write_text(description.read_text().replace(before, after))


@pytest.mark.parametrize("folder", [TINY, PERSON, CARD, VIBRATION], ids=lambda folder: folder.parent.name)
def test_show_and_verify_of_a_sound_folder(appliance: Command, folder: Path) -> None:
    shown = appliance("model", "show", folder)
    assert shown.code == OK
    assert folder.parent.name in shown.out
    verified = appliance("model", "verify", folder)
    assert verified.code == OK
    assert verified.out.startswith(f"{folder}: sound.")


@pytest.mark.parametrize("command", ["show", "verify"])
def test_show_and_verify_of_a_broken_folder_are_78(appliance: Command, copied: Path, command: str) -> None:
    spoil_a_byte(copied)
    for folder, told in ((copied, "model.tflite"), (copied.parent, "model.toml"), (copied / "none", "no such model")):
        ended = appliance("model", command, folder)
        assert (ended.code, ended.out) == (WRONG, "")
        assert told in ended.message()


def test_list_shows_sound_and_broken_folders(appliance: Command, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    listed = appliance("model", "list", "--models", MODELS)
    assert listed.code == OK
    assert {"person", "fraud", "heartbeat", "machine"} <= set(re.findall(r"[\w-]+", listed.out))
    folders = [file.parent for file in MODELS.glob("*/*/model.toml")]
    assert listed.out.count("│ sound") == len(folders)
    spoil_a_byte(copied)
    broken = appliance("model", "list", "--models", copied.parents[1])
    assert broken.code == OK
    assert "sha256" in broken.out
    assert "│ sound" not in broken.out


def test_list_of_a_folder_that_is_not_there_is_78(appliance: Command, tmp_path: Path) -> None:
    ended = appliance("model", "list", "--models", tmp_path / "none")
    assert (ended.code, ended.out) == (WRONG, "")
    assert "none: cannot be read" in ended.message()


def test_as_a_process_of_its_own_it_ends_the_same_way(tmp_path: Path) -> None:
    assert as_process("--version") == Ended(OK, f"appliance {__version__}\n", "")
    refused = as_process("run", "--config", written(tmp_path, hold_n=0))
    assert refused.code == WRONG
    assert "hold_n" in refused.message()


def test_no_heavy_library_is_loaded_to_say_what_the_command_is() -> None:
    """Help and refusals come at once; OpenCV and a TFLite runtime take seconds to load on a small device."""
    script = "import sys, appliance.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"cv2", "ai_edge_litert", "paho", "amqtt"}.isdisjoint(done.stdout.split())
