"""``appliance forge``: the commands of the build machine.

Nothing heavy is imported here: each command loads what it needs.
"""

from pathlib import Path
from typing import Annotated

import typer

from appliance.forge.lint_cli import compile_command, lint_command
from appliance.forge.onnx.cli import import_onnx_command
from appliance.forge.package_cli import card_command, compare_command, package_command
from appliance.forge.quantize_cli import quantize_command
from appliance.forge.train_cli import distill_command, prune_command
from appliance.screen import screen

HELP = """Turn a trained network into a model folder the device accepts, and know what each step cost.

Steps: [bold]distill[/] and [bold]prune[/] make a Keras network smaller, [bold]quantize[/] makes it INT8,
[bold]import-onnx[/] does so for other frameworks, [bold]lint[/] says what an Edge TPU would run, [bold]package[/]
writes the folder and [bold]compare[/] draws several. Each notes what it did in forge-report.json beside what it made.

Training and converting need the forge's own environment: [bold]make forge[/], then .venv-forge/bin/appliance forge ...
"""
EPILOG = (
    "Exit codes: 0 done · 1 lint: some operators stay on the CPU · 2 wrong usage · 65 the input cannot be used · "
    "69 a tool is not installed."
)

app = typer.Typer(
    name="forge",
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _forge() -> None:
    """Keep the commands' names even while there is only one."""


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where a step put its forge-report.json.")],
) -> None:
    """Show again what the steps did to the models of a folder: sizes, metrics with their intervals, speed, Edge TPU.

    Example: appliance forge report build/fraud
    """
    from appliance.errors import ForgeError  # noqa: PLC0415 - only where it is needed
    from appliance.forge.report import Report, table  # noqa: PLC0415 - only where it is needed

    loaded = Report.load(folder)
    if not loaded.steps:
        msg = f"{loaded.file} is not there or empty: no step has written into this folder"
        raise ForgeError(msg)
    screen().print(table(loaded))
    for step in loaded.steps:
        for note in step.notes:
            screen().print(f"{step.step} {step.made}: {note}", highlight=False, markup=False, soft_wrap=True)


app.command("quantize")(quantize_command)
app.command("prune")(prune_command)
app.command("distill")(distill_command)
app.command("package")(package_command)
app.command("card")(card_command)
app.command("compare")(compare_command)
app.command("lint")(lint_command)
app.command("compile")(compile_command)
app.command("import-onnx")(import_onnx_command)
