"""Environments of the forge's tools: whole or not there, made once, and honest about why not.

A stand-in for ``uv`` writes down what it is asked and makes a folder with a link to this Python; the rest is real.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

from appliance.errors import ForgeError
from appliance.forge.environment import STAMP, Environment, cache_folder, environment, existing, pinned
from tests.waiting import eventually

PINS = ("numpy==1.26.4", "tool==2.0")


@dataclass
class Uv:
    """The stand-in, and what it was asked."""

    folder: Path

    def install(self, at_install: str = "true") -> None:
        """Put it in place; ``at_install`` is the shell command that installing packages is."""
        script = self.folder / "uv"
        script.write_text(
            f"#!/bin/sh\necho \"$1 $2\" >> '{self.folder}/asked'\n"
            f"if [ $1 = venv ]; then mkdir -p $4/bin && ln -s '{sys.executable}' $4/bin/python; else {at_install}; fi\n"
        )
        script.chmod(0o755)

    def find(self, name: str) -> str | None:
        return str(self.folder / "uv") if name == "uv" else None

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()

    def make(self, cache: Path, pins: tuple[str, ...] = PINS, tell: Callable[[str], None] = print) -> Environment:
        return environment("tool", pins, cache=cache, find=self.find, tell=tell, timeout_s=20)


@pytest.fixture
def uv(tmp_path: Path) -> Uv:
    folder = tmp_path / "programs"
    folder.mkdir()
    stand_in = Uv(folder)
    stand_in.install()
    return stand_in


def test_an_environment_is_made_once_and_used_again(uv: Uv, tmp_path: Path) -> None:
    first = uv.make(tmp_path / "cache")
    again = uv.make(tmp_path / "cache")
    assert first == again
    assert uv.asked == ["venv --python", "pip install"]
    assert first.run(["-c", "print(6 * 7)"], timeout_s=20) == "42"


def test_other_requirements_make_another_environment_and_leave_the_first(uv: Uv, tmp_path: Path) -> None:
    first = uv.make(tmp_path / "cache")
    other = uv.make(tmp_path / "cache", (*PINS, "more==1"))
    assert first.python.parent.parent != other.python.parent.parent
    assert first.python.exists()


def test_a_failed_installation_says_why_and_leaves_nothing(uv: Uv, tmp_path: Path) -> None:
    uv.install("echo 'no route to the index' >&2; exit 1")
    with pytest.raises(ForgeError, match=r"no route to the index[\s\S]*--environment PATH"):
        uv.make(tmp_path / "cache")
    assert [each.name for each in (tmp_path / "cache").iterdir() if each.is_dir()] == []
    uv.install()
    assert uv.make(tmp_path / "cache").python.exists()


def test_one_that_was_cut_off_is_not_used_but_made_anew(uv: Uv, tmp_path: Path) -> None:
    uv.install("touch $PWD/begun; sleep 60")
    script = (
        "import sys\nfrom pathlib import Path\nfrom appliance.forge.environment import environment\n"
        f"environment('tool', {PINS!r}, cache=Path({str(tmp_path / 'cache')!r}), "
        f"find=lambda name: {str(uv.folder / 'uv')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=uv.folder, start_new_session=True)
    try:
        _until((uv.folder / "begun").exists)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    left = [each for each in (tmp_path / "cache").iterdir() if each.is_dir()]
    assert len(left) == 1
    assert not (left[0] / STAMP).exists()
    uv.install()
    made = uv.make(tmp_path / "cache")
    assert (left[0] / STAMP).exists()
    assert made.python == left[0] / "bin" / "python"


def test_two_at_once_make_it_once_and_the_second_waits(uv: Uv, tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    uv.install(f"while [ ! -e '{go_on}' ]; do sleep 0.01; done")
    told: list[str] = []
    made: list[Environment] = []

    def waiting() -> int:
        return sum("waiting for another process" in line for line in told)

    threads = [
        threading.Thread(target=lambda: made.append(uv.make(tmp_path / "cache", tell=told.append))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    eventually(lambda: waiting() == 2)
    go_on.touch()
    for thread in threads:
        thread.join(20)
    assert len(made) == 3
    assert uv.asked == ["venv --python", "pip install"]
    assert waiting() == 2


def test_one_whose_python_is_gone_is_made_anew(uv: Uv, tmp_path: Path) -> None:
    made = uv.make(tmp_path / "cache")
    made.python.unlink()
    made.python.symlink_to(tmp_path / "an-uninstalled-python")
    assert uv.make(tmp_path / "cache").python.exists()
    assert uv.asked.count("pip install") == 2


def test_a_python_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match=r"Python 3\.99 is not installed"):
        environment("tool", PINS, "3.99", cache=tmp_path, find=lambda _: None)


def test_an_environment_of_ones_own_is_used_and_what_differs_is_told() -> None:
    told: list[str] = []
    own = Path(sys.prefix)
    found = existing("tool", own, [f"numpy=={version('numpy')}", "typer==0.0.1"], tell=told.append)
    assert found.versions(["numpy"]) == {"numpy": version("numpy")}
    assert told == [f"{own} has typer {version('typer')}; measured was 0.0.1"]


def test_an_environment_of_ones_own_that_lacks_something_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="lacks no-such-tool;"):
        existing("tool", Path(sys.prefix), ["numpy==1.0", "no-such-tool==1"])
    with pytest.raises(ForgeError, match="no Python environment"):
        existing("tool", tmp_path, PINS)


@pytest.mark.parametrize(
    ("variable", "expected"), [("/var/own", "/var/own"), ("", "~/.cache"), ("relative", "~/.cache")]
)
def test_environments_lie_in_the_users_cache_folder(variable: str, expected: str) -> None:
    program = "from appliance.forge.environment import cache_folder; print(cache_folder())"
    variables = {**os.environ, "XDG_CACHE_HOME": variable, "HOME": "/home/somebody"}
    printed = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, check=True, text=True)
    assert printed.stdout.strip() == expected.replace("~", "/home/somebody") + "/appliance-forge"
    assert cache_folder().name == "appliance-forge"


def test_the_shipped_requirements_pin_every_package() -> None:
    pins = pinned("onnx")
    assert len(pins) > 50
    assert all(line.count("==") == 1 and not line.endswith("==") for line in pins)
    assert {line.partition("==")[0] for line in pins} >= {"onnx2tf", "onnx", "onnxruntime", "onnxsim", "tensorflow"}


def _until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s
        threading.Event().wait(0.01)
