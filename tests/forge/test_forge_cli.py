"""The commands as a person meets them: help that teaches, faults in one line, exit codes; without tensorflow."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from appliance.errors import ForgeError
from appliance.forge.cli import app
from appliance.forge.options import numbers_of, sizes_of
from appliance.forge.report import Report, Step

ROOT = Path(__file__).parents[2]
COMMANDS = {command.name or str(getattr(command.callback, "__name__", "")) for command in app.registered_commands}


def appliance(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        check=False,
    )


def test_every_step_of_the_forge_is_a_command() -> None:
    assert {"quantize", "prune", "distill", "import-onnx", "package", "compare", "report"} <= COMMANDS


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_help_of_every_command_teaches_by_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0
    assert re.search(r"Examples?:", shown.output)
    assert f"appliance forge {command}" in shown.output


def test_a_fault_is_one_line_on_stderr_exit_code_65_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"no model at all")
    done = appliance("forge", "quantize", "net.tflite", "--calibration", "x.npz", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (65, "")
    assert re.fullmatch(r"appliance: net\.tflite: this is no \.tflite: .*\n", done.stderr)
    assert [each.name for each in tmp_path.iterdir()] == ["net.tflite"]


def test_the_report_is_shown_again_with_its_notes(tmp_path: Path) -> None:
    report = Report(tmp_path)
    report.add(Step("prune", "net.keras", 5256, 3943, notes=("as an update about 3,772 bytes",)))
    report.save()
    shown = CliRunner().invoke(app, ["report", str(tmp_path)], env={"COLUMNS": "160"})
    assert "5,256" in shown.output
    assert "prune net.keras: as an update about 3,772 bytes" in shown.output


def test_a_folder_without_a_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="no step has written into this folder"):
        CliRunner().invoke(app, ["report", str(tmp_path)], catch_exceptions=False)


def test_starting_the_appliance_loads_nothing_of_the_forge() -> None:
    script = "import sys, appliance.cli; print([name for name in sys.modules if name.startswith('appliance.forge')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_numbers_and_sizes_are_read_as_people_write_them() -> None:
    assert numbers_of("123.7,-1", "--mean") == (123.7, -1.0)
    assert numbers_of(None, "--mean") == ()
    assert sizes_of("1x224x224x3", "--shape") == (1, 224, 224, 3)
    assert sizes_of(None, "--shape") is None


@pytest.mark.parametrize("text", ["x", "1x", "1x0x3", "-1x2", "1,2", "1x²"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ForgeError, match="1x224x224x3"):
        sizes_of(text, "--shape")


def test_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(ForgeError, match="--std 1;2"):
        numbers_of("1;2", "--std")


def test_the_forges_constraints_pin_what_its_extra_asks_for() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = {re.split(r"[<>=\[]", each)[0].lower() for each in extras["forge"]} | {"tf-keras"}
    lines = [line for file in ROOT.glob("constraints*.txt") for line in file.read_text().splitlines()]
    pinned = [line.partition("==")[0].lower().replace("_", "-") for line in lines]
    assert wanted - set(pinned) == set()
    assert len(pinned) == len(set(pinned)), "a package is pinned in one of the two files"
