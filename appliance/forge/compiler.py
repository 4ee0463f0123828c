"""``edgetpu_compiler``: run it, read what it says, and hold that against the lint.

The compiler is Google's, closed, and not part of this project; https://coral.ai/docs/edgetpu/compiler says where the
Debian package is to be had (x86-64 only) and what its options are. The form of its output was read from logs of
versions 1.0 to 16.0 in issues of google-coral/edgetpu.
"""

import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ForgeError
from appliance.forge import process
from appliance.forge.flatbuffer import IDENTIFIER
from appliance.forge.lint.report import LintReport
from appliance.forge.lint.words import Status

PROGRAM = "edgetpu_compiler"
WHERE = "it is Google's, for x86-64 Debian: https://coral.ai/docs/edgetpu/compiler says how to install edgetpu-compiler"
TIMEOUT_S = 180
"""The compiler's own default for one compilation."""
GRACE_S = 15
"""For it to report that its own time is over, and to write its files."""
COMPILED_SUFFIX = "_edgetpu.tflite"
COMPILED_OPERATOR = b"edgetpu-custom-op"
COMPILED_BYTES_MAX = 1 << 30

_ROW = re.compile(r"^([A-Z][A-Z0-9_]*)\s{2,}(\d{1,6})\s{2,}(\S.*?)\s*$")
_SIZE = re.compile(r"^([\d.]+)\s*(B|KiB|MiB|GiB)$")
_FACT = re.compile(r"^([A-Z][\w -]*?)(?: version|:)\s+(.+?)\s*$")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_ERRORS = ("ERROR: ", "Invalid model", "Model not quantized", "Model could not be parsed", "Internal compiler error",
           "Compilation failed", "Compilation child process timed out")  # fmt: skip


@dataclass(frozen=True, slots=True)
class CompilerLog:
    """What the compiler said."""

    version: str
    """Empty when it did not say."""
    operators: tuple[tuple[str, int, str], ...]
    """Name, count and status, as its table has them."""
    errors: tuple[str, ...]
    cached_bytes: int | None
    """Parameters kept on the chip; None where it did not say, as for the others."""
    streamed_bytes: int | None
    subgraphs: int | None

    @property
    def mapped(self) -> int:
        """How many operators it mapped."""
        return sum(count for _, count, status in self.operators if status == Status.MAPPED)

    @property
    def total(self) -> int:
        """How many operators it saw."""
        return sum(count for _, count, _ in self.operators)


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the compiler and the lint differ on the operators of one name."""

    name: str
    status: str
    lint: int
    """How many of them have this status by the lint."""
    compiler: int

    @property
    def sentence(self) -> str:
        """Say it in one line."""
        return f"{self.name}: {self.status!r} for {self.compiler} by the compiler, {self.lint} by the lint"


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of a compilation."""

    log: CompilerLog
    tflite: bytes | None
    """None when the compiler refused the model, or put nothing of it on the Edge TPU."""


def find() -> Path | None:
    """Find the compiler on PATH."""
    found = shutil.which(PROGRAM)
    return None if found is None else Path(found)


def compile_model(
    tflite: bytes,
    compiler: Path,
    *,
    timeout_s: int = TIMEOUT_S,
    grace_s: int = GRACE_S,
    tell: process.Tell = process.silent,
) -> Compiled:
    """Compile a model in a folder of its own, which is gone afterwards.

    Args:
        tflite: the model.
        compiler: the program.
        timeout_s: for the compilation; the compiler stops by itself then.
        grace_s: after that it is stopped from here.
        tell: is told each line it prints.

    Raises:
        ForgeError: it cannot be started, did not end in time, ended without saying why, or made no file.
    """
    lines: list[str] = []

    def heard(line: str) -> None:
        if len(lines) < process.LINES_KEPT_MAX:
            lines.append(line)
        tell(line)

    with tempfile.TemporaryDirectory(prefix="forge-compile-") as folder:
        model = Path(folder) / "model.tflite"
        model.write_bytes(tflite)
        command = [str(compiler), "-s", "-t", str(timeout_s), "-o", folder, str(model)]
        try:
            process.run(command, timeout_s=timeout_s + grace_s, cwd=Path(folder), tell=heard)
        except ForgeError:
            refused = parse("\n".join(lines))
            if not refused.errors:
                raise
            return Compiled(refused, None)
        log = parse("\n".join(lines) if any(_ROW.match(line) for line in lines) else _log_file(model, lines))
        return Compiled(log, None if log.errors or not log.mapped else _made(model))


def _log_file(model: Path, lines: list[str]) -> str:
    """Add the log file, which has the table even where it was not printed."""
    file = model.with_name("model_edgetpu.log")
    return "\n".join([*lines, file.read_text("utf-8", "replace") if file.is_file() else ""])


def _made(model: Path) -> bytes:
    file = model.with_name(f"{model.stem}{COMPILED_SUFFIX}")
    if not file.is_file() or file.stat().st_size > COMPILED_BYTES_MAX:
        msg = f"{PROGRAM} said it compiled the model, but there is no {file.name} as it should be"
        raise ForgeError(msg)
    compiled = file.read_bytes()
    if compiled[4:8] != IDENTIFIER or COMPILED_OPERATOR not in compiled:
        msg = f"what {PROGRAM} made is no model with an operator for the Edge TPU ({len(compiled)} bytes)"
        raise ForgeError(msg)
    return compiled


def parse(text: str) -> CompilerLog:
    """Read what the compiler prints with ``-s``, or its log file."""
    facts: dict[str, str] = {}
    operators: list[tuple[str, int, str]] = []
    errors: list[str] = []
    for line in text.splitlines():
        if row := _ROW.match(line):
            operators.append((row[1], int(row[2]), row[3]))
        elif line.startswith(_ERRORS):
            errors.append(line.strip())
        elif fact := _FACT.match(line):
            facts.setdefault(fact[1], fact[2])
    subgraphs = facts.get("Number of Edge TPU subgraphs", "")
    return CompilerLog(
        facts.get("Edge TPU Compiler", ""),
        tuple(operators),
        tuple(dict.fromkeys(errors)),
        _bytes(facts.get("On-chip memory used for caching model parameters")),
        _bytes(facts.get("Off-chip memory used for streaming uncached model parameters")),
        int(subgraphs) if subgraphs.isdecimal() else None,
    )


def _bytes(text: str | None) -> int | None:
    size = None if text is None else _SIZE.match(text)
    return None if size is None else round(float(size[1]) * _UNITS[size[2]])


def compare(report: LintReport, log: CompilerLog) -> tuple[Difference, ...]:
    """List where the two differ; nothing when they agree on every operator's status.

    The compiler counts operators of one name and status and does not say which they are, so counts are compared.
    """
    counted: dict[tuple[str, str], int] = {}
    for name, count, status in log.operators:
        counted[name, status] = counted.get((name, status), 0) + count
    ours = report.counts()
    keys = sorted(counted.keys() | ours.keys())
    return tuple(
        Difference(name, status, ours.get((name, status), 0), counted.get((name, status), 0))
        for name, status in keys
        if ours.get((name, status), 0) != counted.get((name, status), 0)
    )
