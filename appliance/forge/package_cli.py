"""``appliance forge package``, ``card`` and ``compare``."""

from pathlib import Path
from typing import Annotated

import typer

from appliance.screen import screen


def package_command(
    file: Annotated[Path, typer.Argument(metavar="PACKAGE.toml", help="What the model's file does not tell.")],
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where <name>/<version>/ is written.")] = Path("models"),
    second: Annotated[
        str,
        typer.Option(
            "--second-runtime",
            metavar="WHERE",
            help="managed: tflite-runtime in an environment that is made once (needs the network); none: left out; "
            "or the path of a Python 3.11 that has it.",
        ),
    ] = "managed",
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the steps before noted themselves (forge-report.json).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a version that is there with another model.")] = False,
) -> None:
    """Write a model folder that the appliance accepts: description, digests, golden vectors, model card.

    PACKAGE.toml says what no file tells: name, licence, preprocessing, decoding, metrics with the command that
    reproduces each, where the data come from. models/README.md explains every key and has an example to copy.

    Golden vectors are run in ai-edge-litert, with and without XNNPACK, and in tflite-runtime; the largest difference
    and a margin become the tolerance. The folder is written whole or not at all, and then passes
    [bold]appliance model verify[/]. A version that is there with another model stays, unless --force is given.

    Example: appliance forge package build/door/package.toml --out models
    """
    from appliance.forge.goldens import second_runtime  # noqa: PLC0415 - only where it is needed
    from appliance.forge.package import package  # noqa: PLC0415 - only where it is needed
    from appliance.forge.package_file import read_spec  # noqa: PLC0415 - only where it is needed
    from appliance.forge.report import Report  # noqa: PLC0415 - only where it is needed

    steps = None if report is None else Report.load(report)
    folder = package(read_spec(file), out, report=steps, second_runtime=second_runtime(second), force=force)
    _say(f"{folder} is written; `appliance model verify {folder}` proves it on a device")


def card_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A model folder, as models/person/1.1.0.")],
) -> None:
    """Write the generated part of a model card (README.md beside the version) from the folder; the rest stays.

    Example: appliance forge card models/person/1.1.0
    """
    from appliance.forge.card import CARD_FILE, write_card  # noqa: PLC0415 - only where it is needed
    from appliance.forge.folder import read_folder  # noqa: PLC0415 - only where it is needed
    from appliance.forge.report import Report  # noqa: PLC0415 - only where it is needed

    card = folder.resolve().parent / CARD_FILE
    write_card(read_folder(folder), card, Report.load(folder))
    _say(f"{card} is written")


def compare_command(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Model folders, or .tflite files beside their report.")
    ],
    *,
    metric: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which metric; default: the first that all have.")
    ] = None,
    chart: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Also draw it here.")] = None,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Of the timing; their spread is told.")] = 5,
) -> None:
    """Hold models against one another: metric, size, latency (measured here, in turns).

    Example: appliance forge compare models/fraud/1.0.0 build/fraud/teacher.tflite --chart fraud.svg
    """
    from appliance.forge.chart import svg  # noqa: PLC0415 - only where it is needed
    from appliance.forge.compare import compare, remarks, table  # noqa: PLC0415 - only where it is needed
    from appliance.forge.report import write_whole  # noqa: PLC0415 - only where it is needed

    name, compared = compare(models, metric, repeats=repeats)
    screen().print(table(name, compared))
    for remark in remarks(compared):
        _say(f"note: {remark}")
    if chart is not None:
        write_whole(chart, svg(name, compared).encode())
        _say(f"{chart} is drawn")


def _say(sentence: str) -> None:
    screen().print(sentence, highlight=False, markup=False, soft_wrap=True)
