"""``appliance forge lint`` and ``forge compile``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.errors import ForgeError
from appliance.screen import screen

if TYPE_CHECKING:
    from appliance.forge.compiler import Compiled, Difference
    from appliance.forge.lint import LintReport
    from appliance.forge.report import Step

SOME_ON_CPU = 1
REFUSED = 65
MISSING = 69

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL.tflite", help="An INT8 model.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


def lint_command(
    model: ModelArgument,
    *,
    as_json: JsonOption = False,
) -> None:
    """Say which operators of a model an Edge TPU would run, which stay on the CPU, why, and what to do.

    By the compiler's documented rules, without the compiler. Ends with 0 when every operator maps, 1 when some or all
    stay on the CPU.

    Example: appliance forge lint models/person/1.1.0/model.tflite
    """
    _, report = _linted(model)
    if as_json:
        print(json.dumps(report.to_json(), indent=2))  # noqa: T201 - what was asked for
    else:
        _show(report)
    if not report.complete:
        raise typer.Exit(SOME_ON_CPU)


def compile_command(
    model: ModelArgument,
    *,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where it goes: beside the model.")] = None,
    timeout_s: Annotated[int, typer.Option(min=1, max=86_400, help="For the compilation.")] = 180,
    as_json: JsonOption = False,
) -> None:
    """Compile a model for the Edge TPU with edgetpu_compiler, and hold its log against the lint.

    Writes model_edgetpu.tflite beside the model. Ends with 0 when every operator runs on the Edge TPU, 1 when some
    stay on the CPU, 65 when the compiler refuses the model, 69 when it is not installed.

    Example: appliance forge compile models/person/1.1.0/model.tflite
    """
    from appliance.forge import compiler  # noqa: PLC0415 - heavy, and --help must be quick
    from appliance.forge.steps import finish  # noqa: PLC0415 - as above

    content, report = _linted(model)
    program = compiler.find()
    if program is None:
        typer.echo(f"appliance: {compiler.PROGRAM} is not installed; {compiler.WHERE}", err=True)
        raise typer.Exit(MISSING)
    compiled = compiler.compile_model(content, program, timeout_s=timeout_s)
    differences = compiler.compare(report, compiled.log)
    to = None if compiled.tflite is None else out or model.with_name(f"{model.stem}{compiler.COMPILED_SUFFIX}")
    if to is not None and compiled.tflite is not None:
        finish(_step(to, compiled, differences), {to: compiled.tflite}, to.parent)
    if as_json:
        print(json.dumps(_as_json(report, compiled, differences), indent=2))  # noqa: T201 - what was asked for
    else:
        _tell(report, compiled, differences, to)
    if compiled.log.errors:
        raise typer.Exit(REFUSED)
    if compiled.log.mapped < compiled.log.total or not compiled.log.total:
        raise typer.Exit(SOME_ON_CPU)


def _step(to: Path, compiled: "Compiled", differences: "tuple[Difference, ...]") -> "Step":
    from appliance.forge.report import Step  # noqa: PLC0415 - heavy, and --help must be quick
    from appliance.forge.sizes import compressed_bytes  # noqa: PLC0415 - as above
    from appliance.forge.steps import command_line  # noqa: PLC0415 - as above

    assert compiled.tflite is not None
    return Step(
        step="compile",
        made=to.name,
        size_bytes=len(compiled.tflite),
        compressed_bytes=compressed_bytes(compiled.tflite),
        operators=compiled.log.total,
        operators_edgetpu=compiled.log.mapped,
        notes=tuple(difference.sentence for difference in differences),
        command=command_line(),
    )


def _linted(model: Path) -> "tuple[bytes, LintReport]":
    from appliance.forge.lint import lint  # noqa: PLC0415 - heavy, and --help must be quick

    try:
        content = model.read_bytes()
        return content, lint(content)
    except OSError as error:
        msg = f"{model} cannot be read: {error.strerror or error}"
        raise ForgeError(msg) from error
    except ForgeError as error:
        msg = f"{model}: {error}"
        raise ForgeError(msg) from error


def _show(report: "LintReport") -> None:
    from appliance.forge.lint.report import table  # noqa: PLC0415 - heavy, and --help must be quick

    console = screen()
    console.print(table(report))
    for finding in report.findings:
        text = f"{finding.severity}: {finding.what}" + (f"; {finding.fix}" if finding.fix else "")
        console.print(text, highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{report.parameters_bytes} bytes of parameters on the Edge TPU, {report.streamed_bytes} of them sent for "
        f"each inference; runtime {report.runtime_min} or later",
        highlight=False,
        soft_wrap=True,
    )


def _tell(report: "LintReport", compiled: "Compiled", differences: "tuple[Difference, ...]", to: Path | None) -> None:
    log, lines = compiled.log, list[str]()
    if log.errors:
        lines.append("refused: " + "; ".join(log.errors))
        lines += [f"the lint: {finding.what}; {finding.fix}" for finding in report.findings if not report.compiles]
    else:
        lines.append(f"{log.mapped} of {log.total} operators run on the Edge TPU (compiler {log.version or 'unknown'})")
        lines += [f"  {name} {count}: {status}" for name, count, status in log.operators]
        lines.append(f"written: {to}" if to is not None else "nothing maps: no file was written")
        lines.append("the lint says the same of every operator" if not differences else "the lint differs:")
        lines += [f"  {difference.sentence}" for difference in differences]
    console = screen()
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _as_json(report: "LintReport", compiled: "Compiled", differences: "tuple[Difference, ...]") -> dict[str, object]:
    from dataclasses import asdict  # noqa: PLC0415 - beside its only use

    return {
        "compiler": asdict(compiled.log),
        "lint": report.to_json(),
        "differences": [asdict(difference) for difference in differences],
    }
