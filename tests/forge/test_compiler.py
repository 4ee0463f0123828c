"""edgetpu_compiler's output read and held against the lint, and the whole command with a stand-in for the compiler.

The stand-in is a program of its own that prints what the real one prints; its texts have the form of logs of versions
1.0 to 16.0.
"""

import json
import os
import stat
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from appliance.errors import ForgeError
from appliance.forge.compiler import compare, compile_model, parse
from appliance.forge.lint import LintReport, Status, lint
from tests.command import Command
from tests.forge.graphs import GraphBuilder, convolution

ROOT = Path(__file__).parents[2]
IMAGE = (1, 4, 4, 4)
PRINTED = """\
Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 3129 ms.

Input model: model.tflite
Input size: 4.35MiB
Output model: model_edgetpu.tflite
Output size: 5.66MiB
On-chip memory used for caching model parameters: 4.49MiB
On-chip memory remaining for caching model parameters: 3.01MiB
Off-chip memory used for streaming uncached model parameters: 175.00KiB
Number of Edge TPU subgraphs: 1
Total number of operations: 267
Operation log: model_edgetpu.log

Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower.
Number of operations that will run on Edge TPU: 226
Number of operations that will run on CPU: 4

Operator                       Count      Status

CONV_2D                        102        Mapped to Edge TPU
DEPTHWISE_CONV_2D              80         Mapped to Edge TPU
ADD                            44         Mapped to Edge TPU
DEQUANTIZE                     2          Operation is working on an unsupported data type
RESHAPE                        1          Tensor has unsupported rank (up to 3 innermost dimensions mapped)
LOGISTIC                       1          More than one subgraph is not supported
Compilation child process completed within timeout period.
Compilation succeeded!
"""
LOG_OF_1_0 = """\
Edge TPU Compiler version 1.0.249710469
Input: ./ssd.tflite
Output: ssd_edgetpu.tflite

Operator                       Count      Status

CUSTOM                         1          Operation is working on an unsupported data type
CONV_2D                        34         Mapped to Edge TPU
"""
REFUSALS = {
    "version": (
        "Edge TPU Compiler version 16.0.384591198\n"
        "ERROR: Didn't find op for builtin opcode 'QUANTIZE' version '3'. An older version of this builtin might be "
        "supported. Are you using an old TFLite binary with a newer model?\n\nERROR: Registration failed.\n\n"
        "Invalid model: model.tflite\nModel could not be parsed\n"
    ),
    "sizes": (
        "Edge TPU Compiler version 16.0.384591198\nStarted a compilation timeout timer of 180 seconds.\n"
        "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
        "dynamic-sized tensors.\nCompilation failed: Model failed in Tflite interpreter. Please ensure model can be "
        "loaded/run in Tflite interpreter.\nCompilation child process completed within timeout period.\n"
        "Compilation failed!\n"
    ),
    "quantised": "Edge TPU Compiler version 15.0.340273435\nInvalid model: model.tflite\nModel not quantized\n",
    "internal": "Edge TPU Compiler version 14.1.317412892\n\nInternal compiler error. Aborting! \n",
}


def test_what_the_compiler_prints_is_read() -> None:
    log = parse(PRINTED)
    assert log.version == "16.0.384591198"
    assert (log.mapped, log.total, log.subgraphs) == (226, 230, 1)
    assert (log.cached_bytes, log.streamed_bytes) == (round(4.49 * 2**20), 175 * 1024)
    assert ("RESHAPE", 1, Status.RANK.value) in log.operators
    assert log.errors == ()


def test_a_log_file_of_an_old_compiler_is_read() -> None:
    log = parse(LOG_OF_1_0)
    assert (log.version, log.mapped, log.total) == ("1.0.249710469", 34, 35)
    assert (log.cached_bytes, log.streamed_bytes, log.subgraphs) == (None, None, None)


@pytest.mark.parametrize("text", REFUSALS.values(), ids=REFUSALS)
def test_every_known_refusal_is_an_error(text: str) -> None:
    log = parse(text)
    assert log.errors
    assert (log.total, log.version != "") == (0, True)


@pytest.mark.parametrize("text", ["", "Segmentation fault", "Operator Count Status", "CONV_2D many Mapped"])
def test_what_is_no_log_is_an_empty_one(text: str) -> None:
    assert (parse(text).total, parse(text).errors, parse(text).version) == (0, (), "")


def _table(report: LintReport) -> str:
    """Write a report as the compiler writes its table."""
    rows = (f"{name:<30} {count:<10} {status}" for (name, status), count in report.counts().items())
    return "\n".join(("Operator                       Count      Status", "", *rows, ""))


def _model() -> bytes:
    builder = GraphBuilder()
    first = convolution(builder, builder.source(IMAGE))
    second = builder.operator("LEAKY_RELU", (first,), IMAGE, version=2)
    return builder.ending(builder.operator("RELU", (second,), IMAGE, version=2)).flatbuffer()


def test_a_compiler_that_says_the_same_of_every_operator_does_not_differ() -> None:
    report = lint(_model())
    assert compare(report, parse(_table(report))) == ()


def test_each_status_that_differs_is_listed_from_both_sides() -> None:
    report = lint(_model())
    log = parse(_table(report).replace("LEAKY_RELU                     1          Operation not supported",
                                       "LEAKY_RELU                     1          Mapped to Edge TPU"))  # fmt: skip
    differences = compare(report, log)
    assert [(each.name, each.status, each.lint, each.compiler) for each in differences] == [
        ("LEAKY_RELU", "Mapped to Edge TPU", 0, 1),
        ("LEAKY_RELU", "Operation not supported", 1, 0),
    ]
    assert "by the compiler" in differences[0].sentence


def test_operators_the_compiler_did_not_count_differ_too() -> None:
    assert len(compare(lint(_model()), parse("Edge TPU Compiler version 16.0.384591198\n"))) == 3


# The whole command -------------------------------------------------------------------------------------------------


def _stand_in(folder: Path, printed: str, *, code: int = 0, writes: bytes | None = None, hangs: bool = False) -> Path:
    """Write a program called edgetpu_compiler that understands the options the real one has."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "edgetpu_compiler"
    lines = f"""\
        #!{sys.executable}
        import argparse, pathlib, sys, threading
        options = argparse.ArgumentParser()
        options.add_argument("-s", "--show_operations", action="store_true")
        options.add_argument("-t", "--timeout_sec", type=int)
        options.add_argument("-o", "--out_dir")
        options.add_argument("model")
        given = options.parse_args()
        assert given.show_operations and given.timeout_sec
        assert pathlib.Path(given.model).read_bytes()[4:8] == b"TFL3"
        written = {writes!r}
        if written is not None:
            pathlib.Path(given.out_dir, pathlib.Path(given.model).stem + "_edgetpu.tflite").write_bytes(written)
        print({printed!r}, flush=True)
        if {hangs!r}:
            threading.Event().wait(60)
        sys.exit({code})
        """
    program.write_text(dedent(lines))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def appliance(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capfd, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "models" / "model.tflite"
    file.parent.mkdir()
    file.write_bytes(_model())
    return file


def _on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


COMPILED = (ROOT / "tests/data/models/edgetpu-op.tflite").read_bytes()


def test_a_model_is_compiled_and_put_beside_with_the_difference_told(
    appliance: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = "Edge TPU Compiler version 16.0.384591198\n" + _table(lint(_model())).replace(
        Status.SUBGRAPH.value, Status.MAPPED.value
    )
    _on_path(monkeypatch, _stand_in(tmp_path / "bin", printed, writes=COMPILED).parent)
    ended = appliance("forge", "compile", model)
    assert ended.code == 1  # LEAKY_RELU stays on the CPU
    assert model.with_name("model_edgetpu.tflite").read_bytes() == COMPILED
    assert "2 of 3 operators run on the Edge TPU (compiler 16.0.384591198)" in ended.out
    assert "RELU: 'Mapped to Edge TPU' for 1 by the compiler, 0 by the lint" in ended.out
    [step] = json.loads((model.parent / "forge-report.json").read_text())["steps"]
    assert (step["step"], step["operators"], step["operators_edgetpu"]) == ("compile", 3, 2)


def test_a_model_that_maps_completely_ends_with_0_and_nothing_to_tell(
    appliance: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = GraphBuilder()
    whole = builder.ending(convolution(builder, builder.source(IMAGE))).flatbuffer()
    model = tmp_path / "model.tflite"
    model.write_bytes(whole)
    _on_path(monkeypatch, _stand_in(tmp_path / "bin", _table(lint(whole)), writes=COMPILED).parent)
    ended = appliance("forge", "compile", model, "--json")
    told = json.loads(ended.out)
    assert (ended.code, told["differences"], told["lint"]["operators_mapped"]) == (0, [], 1)


@pytest.mark.parametrize(("refusal", "code"), [*((each, 1) for each in REFUSALS), ("version", 0)])
def test_a_refusal_ends_with_65_in_the_compilers_words_and_leaves_no_file(
    appliance: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: str, code: int
) -> None:
    _on_path(monkeypatch, _stand_in(tmp_path / "bin", REFUSALS[refusal], code=code).parent)
    ended = appliance("forge", "compile", model)
    assert ended.code == 65
    assert parse(REFUSALS[refusal]).errors[0] in ended.out
    assert [file.name for file in model.parent.iterdir()] == ["model.tflite"]


def test_a_compiler_that_says_nothing_and_fails_is_one_clear_error(
    appliance: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _on_path(monkeypatch, _stand_in(tmp_path / "bin", "Segmentation fault", code=139).parent)
    ended = appliance("forge", "compile", model)
    assert ended.code == 65
    assert "failed with status 139" in ended.err
    assert "Traceback" not in ended.err


def test_a_compiler_that_never_ends_is_stopped(tmp_path: Path) -> None:
    program = _stand_in(tmp_path / "bin", "Edge TPU Compiler version 16.0.384591198", hangs=True)
    with pytest.raises(ForgeError, match="did not end within 1 s"):
        compile_model(_model(), program, timeout_s=1, grace_s=0)


@pytest.mark.parametrize("writes", [None, b"\0\0\0\0TFL3 no operator of an Edge TPU"])
def test_a_compiler_that_made_nothing_usable_is_an_error(tmp_path: Path, writes: bytes | None) -> None:
    program = _stand_in(tmp_path / "bin", _table(lint(_model())), writes=writes)
    with pytest.raises(ForgeError, match=r"model_edgetpu\.tflite|no model"):
        compile_model(_model(), program)


def test_where_nothing_maps_no_file_is_written(
    appliance: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = _table(lint(_model())).replace(Status.MAPPED.value, Status.LIMIT.value)
    _on_path(monkeypatch, _stand_in(tmp_path / "bin", printed, writes=_model()).parent)
    ended = appliance("forge", "compile", model)
    assert (ended.code, "no file was written" in ended.out) == (1, True)
    assert not model.with_name("model_edgetpu.tflite").exists()


def test_without_the_compiler_it_says_where_to_get_it(
    appliance: Command, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = appliance("forge", "compile", model)
    assert ended.code == 69
    assert "edgetpu_compiler is not installed" in ended.message()
    assert "coral.ai/docs/edgetpu/compiler" in ended.message()


def test_lint_ends_with_0_when_all_maps_1_when_some_stays_and_65_for_no_model(
    appliance: Command, model: Path, tmp_path: Path
) -> None:
    person = ROOT / "models/person/1.1.0/model.tflite"
    whole = appliance("forge", "lint", person)
    assert (whole.code, "114 of 114 operators run on the Edge TPU" in whole.out) == (0, True)
    part = appliance("forge", "lint", model, "--json")
    assert (part.code, json.loads(part.out)["operators_mapped"]) == (1, 1)
    nothing = appliance("forge", "lint", ROOT / "README.md")
    assert (nothing.code, "README.md: this is no .tflite" in nothing.message()) == (65, True)
    missing = appliance("forge", "lint", tmp_path / "missing.tflite")
    assert (missing.code, "cannot be read" in missing.message()) == (65, True)
