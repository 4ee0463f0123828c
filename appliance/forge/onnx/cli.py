"""``appliance forge import-onnx``: the command."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from appliance.screen import screen

if TYPE_CHECKING:
    from appliance.forge.onnx.importing import Plan
    from appliance.forge.samples import InputSpec

_out = screen()
_err = Console(stderr=True)

ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL.onnx", help="The float network.")]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        metavar="DATA",
        help="Some hundred inputs of the kind the device will see: a folder of pictures, a recording, or an NPZ with "
        "normalised floats [n, ...], channels last, as `inputs`. Without it only the operators are judged.",
    ),
]
OutOption = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where model.tflite and the report go.")]
EvaluateOption = Annotated[
    Path | None,
    typer.Option(
        "--evaluate",
        metavar="DATA",
        help="What the stages are compared on, best data that calibrated nothing; in the forms of --calibration, "
        "which it defaults to.",
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option("--shape", metavar="NAME=1x3x224x224", help="Fixes an input's open sizes, as ONNX has them."),
]
LayoutOption = Annotated[
    Literal["first", "last"] | None,
    typer.Option("--layout", help="Where the input's channels stand in ONNX, when its sizes suggest the wrong thing."),
]
OutputsOption = Annotated[
    str, typer.Option("--outputs", metavar="A,B", help="Tensors to end the graph with, instead of its own outputs.")
]
KindOption = Annotated[
    Literal["image", "window", "record"], typer.Option("--kind", help="What DATA holds, and the device will capture.")
]
NumbersOption = Annotated[
    str, typer.Option(metavar="A,B,C", help="Of (x - mean) / std: one a channel, or one for all. Pictures need both.")
]
ColourOption = Annotated[Literal["rgb", "bgr"], typer.Option("--colour", help="The order the network was trained on.")]
FitOption = Annotated[Literal["stretch", "letterbox"], typer.Option("--fit", help="How pictures are made to fit.")]
EdgeTpuOption = Annotated[
    bool,
    typer.Option(
        "--edgetpu/--no-edgetpu",
        help="Write hard-swish, hard-sigmoid and depthwise convolutions of unequal strides in operators that the Edge "
        "TPU has. Costs some accuracy; without it such a model is for the CPU.",
    ),
]
EnvironmentOption = Annotated[
    Path | None,
    typer.Option(
        "--environment",
        metavar="PATH",
        help="A Python environment with onnx2tf that you made; else one is made once (about 2.6 GB, in the user's "
        "cache folder) with uv, or with venv and pip.",
    ),
]


def import_onnx_command(
    model: ModelArgument,
    *,
    calibration: CalibrationOption = None,
    out: OutOption = None,
    evaluate: EvaluateOption = None,
    shape: ShapeOption = None,
    layout: LayoutOption = None,
    outputs: OutputsOption = "",
    kind: KindOption = "image",
    mean: NumbersOption = "",
    std: NumbersOption = "",
    colour: ColourOption = "rgb",
    fit: FitOption = "stretch",
    edgetpu: EdgeTpuOption = True,
    environment: EnvironmentOption = None,
) -> None:
    """Make an ONNX network a full-integer INT8 .tflite, and say what each stage changed.

    First the operators are judged: which convert, which an Edge TPU will run, which sizes must be given. With
    --calibration and --out the graph is then converted (onnx2tf, in an environment of its own), quantised and compared
    with the original on your data: ONNX, converted float, INT8.

    Examples:
      appliance forge import-onnx net.onnx                               judges the operators, converts nothing

      appliance forge import-onnx net.onnx --calibration pictures/ --out build/net --mean 127.5 --std 127.5

      appliance forge import-onnx net.onnx --shape x=1x3x48x192 --calibration lines.npz --out build/net
    """
    from appliance.errors import ForgeError  # noqa: PLC0415 - only where it is needed: --help must be quick
    from appliance.forge import calibration as calibrations  # noqa: PLC0415 - as above
    from appliance.forge.onnx import importing, operators, stages  # noqa: PLC0415 - as above
    from appliance.forge.report import table  # noqa: PLC0415 - as above
    from appliance.forge.steps import command_line  # noqa: PLC0415 - as above

    names = tuple(name.strip() for name in outputs.split(",") if name.strip())
    planned = importing.plan(model, shapes=shapes_of(shape or []), layout=layout, outputs=names)
    _out.print(operators.table(planned.graph, planned.operators))
    _say(planned.notes)
    if calibration is None or out is None:
        if calibration is not None or out is not None:
            msg = "--calibration and --out go together: both convert, none only judges the operators"
            raise ForgeError(msg)
        return
    spec = _spec(planned, kind, numbers_of(mean, "--mean"), numbers_of(std, "--std"), colour, fit)
    inputs = calibrations.load(calibration, spec)
    held_out = None if evaluate is None else calibrations.load(evaluate, spec)
    converter = importing.tools(environment, tell=_tell)
    imported = importing.import_onnx(planned, inputs, converter, evaluation=held_out, edgetpu=edgetpu, tell=_tell)
    _out.print(stages.table(imported.changes))
    _say(imported.notes)
    _out.print(table(importing.save(imported, planned, out, command=command_line())))


def shapes_of(texts: list[str]) -> Mapping[str, tuple[int, ...]]:
    """Read ``NAME=1x3x224x224``. Raises ForgeError."""
    from appliance.errors import ForgeError  # noqa: PLC0415 - only where it is needed

    shapes = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not name or not all(size.isascii() and size.isdigit() for size in sizes.split("x")):
            msg = f"--shape {text}: NAME=1x3x224x224 is wanted, the input's name and its sizes with x between them"
            raise ForgeError(msg)
        shapes[name] = tuple(int(size) for size in sizes.split("x"))
    return shapes


def numbers_of(text: str, option: str) -> tuple[float, ...]:
    """Read ``A,B,C``; nothing is none. Raises ForgeError."""
    from appliance.errors import ForgeError  # noqa: PLC0415 - only where it is needed

    try:
        return tuple(float(each) for each in text.split(",")) if text else ()
    except ValueError as error:
        msg = f"{option} {text}: numbers with commas between them are wanted"
        raise ForgeError(msg) from error


def _spec(
    planned: "Plan",
    kind: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    colour: Literal["rgb", "bgr"],
    fit: Literal["stretch", "letterbox"],
) -> "InputSpec":
    """Describe what the network is given, to the readers of data."""
    from appliance.core.types import FrameKind  # noqa: PLC0415 - only where it is needed
    from appliance.forge.samples import InputSpec  # noqa: PLC0415 - as above

    return InputSpec(planned.shape, FrameKind(kind), mean, std, colour, fit)


def _tell(line: str) -> None:
    _err.print(line, highlight=False, markup=False, soft_wrap=True)


def _say(notes: tuple[str, ...]) -> None:
    for note in notes:
        _out.print(note, highlight=False, markup=False, soft_wrap=True)
