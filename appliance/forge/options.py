"""What the forge's commands share: how options are written and read, and how results are shown."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from appliance.errors import ForgeError
from appliance.forge.report import Report, table
from appliance.screen import screen

console = screen()

NumbersOption = Annotated[
    str | None, typer.Option(metavar="A,B,C", help="Of (x - mean) / std: one a channel or feature, or one for all.")
]
SeedOption = Annotated[int, typer.Option(min=0, help="Of every random choice: the same seed gives the same result.")]
EpochsOption = Annotated[int, typer.Option(min=1, max=100_000, help="Passes over the data.")]
BatchOption = Annotated[int, typer.Option(min=1, max=1 << 20, help="Inputs a step of training.")]
RateOption = Annotated[float, typer.Option(min=1e-8, max=10.0, help="The first; it falls to 0 along a half cosine.")]
TestOption = Annotated[
    Path | None,
    typer.Option(
        "--test",
        metavar="NPZ",
        help="`inputs` (normalised floats) and `targets` the network never saw: what the metrics are measured on.",
    ),
]
Colour = Literal["rgb", "bgr"]
Fit = Literal["stretch", "letterbox"]


def numbers_of(text: str | None, option: str) -> tuple[float, ...]:
    """Read ``A,B,C``; nothing gives none. Raises ForgeError."""
    try:
        return tuple(float(each) for each in text.split(",")) if text else ()
    except ValueError as error:
        msg = f"{option} {text}: numbers with commas between them are wanted"
        raise ForgeError(msg) from error


def sizes_of(text: str | None, option: str) -> tuple[int, ...] | None:
    """Read ``1x224x224x3``; nothing gives None. Raises ForgeError."""
    if text is None:
        return None
    if not all(size.isascii() and size.isdigit() and int(size) for size in text.split("x")):
        msg = f"{option} {text}: sizes with x between them are wanted, batch first, as 1x224x224x3"
        raise ForgeError(msg)
    return tuple(int(size) for size in text.split("x"))


def show(report: Report) -> None:
    """Print a report's table and the notes of its last step."""
    console.print(table(report))
    for note in report.steps[-1].notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
