"""``appliance forge quantize``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from appliance.forge.options import (
    Colour,
    EpochsOption,
    Fit,
    NumbersOption,
    SeedOption,
    TestOption,
    numbers_of,
    show,
    sizes_of,
)  # fmt: skip

if TYPE_CHECKING:
    from appliance.core.types import Array
    from appliance.forge.foreign import Foreign
    from appliance.forge.quantize import Quantised
    from appliance.forge.samples import InputSpec

SourceArgument = Annotated[
    Path, typer.Argument(metavar="SOURCE", help="A .keras or .h5 file, a SavedModel folder, or a float .tflite.")
]
CalibrationOption = Annotated[
    Path,
    typer.Option(
        "--calibration",
        metavar="DATA",
        help="Some hundred inputs of the kind the device will see: a folder of pictures, a recording, or an NPZ with "
        "normalised floats [n, ...] as `inputs`. Their range becomes the INT8 range.",
    ),
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Default: SOURCE with .int8.tflite, beside it.")
]
ShapeOption = Annotated[
    str | None, typer.Option("--shape", metavar="1x224x224x3", help="Where the network leaves sizes open.")
]
KindOption = Annotated[
    Literal["image", "window", "record"] | None,
    typer.Option("--kind", help="What the device captures; default: by the input's shape."),
]
KeyOption = Annotated[str, typer.Option("--key", help="The array of an NPZ that holds the inputs.")]
QatOption = Annotated[
    Path | None,
    typer.Option(
        "--qat", metavar="NPZ", help="Train on with simulated rounding, on `inputs` and `targets` of this file."
    ),
]


def quantize_command(
    source: SourceArgument,
    *,
    calibration: CalibrationOption,
    out: OutOption = None,
    shape: ShapeOption = None,
    kind: KindOption = None,
    mean: NumbersOption = None,
    std: NumbersOption = None,
    colour: Annotated[Colour, typer.Option(help="The order the network was trained on.")] = "rgb",
    fit: Annotated[Fit, typer.Option(help="How pictures are made to fit.")] = "stretch",
    key: KeyOption = "inputs",
    test: TestOption = None,
    qat: QatOption = None,
    epochs: EpochsOption = 3,
    seed: SeedOption = 0,
) -> None:
    """Make a trained network INT8: batch 1, INT8 in and out, and nothing an Edge TPU compiler refuses.

    Says what it cost: how near the answers stay to the float network's and, with --test, its metrics before and after.
    The float .tflite is kept beside the INT8 one. Calibration data that do not look like the input are refused: of
    another shape, not normalised, too few, all alike.

    Examples:
      appliance forge quantize door.keras --calibration pictures/ --mean 127.5 --std 127.5

      appliance forge quantize fraud.keras --calibration train.npz --test test.npz --out build/fraud.tflite

      appliance forge quantize net.tflite --calibration recording.npz --kind window --mean 0 --std 2.5

      appliance forge quantize door.keras --calibration train.npz --qat train.npz --epochs 3
    """
    from appliance.forge import calibration as calibrations  # noqa: PLC0415 - heavy, and --help must be quick
    from appliance.forge.evaluate import agreement, evaluate_model  # noqa: PLC0415 - as above
    from appliance.forge.report import float_name  # noqa: PLC0415 - as above
    from appliance.forge.steps import command_line, finish, step_of  # noqa: PLC0415 - as above
    from appliance.forge.training import read_examples  # noqa: PLC0415 - as above

    examples = None if test is None else read_examples(test)
    network, wanted = _read(source, sizes_of(shape, "--shape"), seed)
    numbers = numbers_of(mean, "--mean"), numbers_of(std, "--std")
    spec = _spec(wanted, kind, *numbers, colour=colour, fit=fit, key=key)
    inputs = calibrations.load(calibration, spec)
    said = () if examples is None else calibrations.compare(calibration, inputs, examples.inputs)
    made = _quantised(network, inputs, wanted, qat, epochs, seed)
    after = agreement(made.int8, made.float32, inputs)
    before = {} if examples is None else evaluate_model(made.float32, examples)
    after |= {} if examples is None else evaluate_model(made.int8, examples)
    file = out or source.with_name(f"{source.stem}.int8.tflite")
    kept = file.with_name(float_name(file.name))
    measured = f"correlation with float: measured on the {len(inputs)} calibration inputs of {calibration.name}"
    notes = (*made.notes, *said, measured, f"float file: {kept.name}, {len(made.float32):,} bytes")
    step = step_of(
        "quantize", file.name, made.int8, parent=made.float32, before=before, after=after, notes=notes,
        command=command_line(),
    )  # fmt: skip
    show(finish(step, {kept: made.float32, file: made.int8}, file.parent))


def _read(source: Path, shape: tuple[int, ...] | None, seed: int) -> "tuple[Foreign, tuple[int, ...]]":
    """Return what ``quantise`` takes, and the shape of its input."""
    from appliance.errors import ForgeError  # noqa: PLC0415 - only where it is needed
    from appliance.forge import keras, run  # noqa: PLC0415 - as above

    if source.suffix == ".tflite":
        try:
            return source, run.Runner(source.read_bytes()).input.spec.shape
        except OSError as error:
            msg = f"{source} cannot be read: {error.strerror}"
            raise ForgeError(msg) from error
        except ForgeError as error:
            msg = f"{source}: {error}"
            raise ForgeError(msg) from error
    keras.begin(seed)
    network = keras.load(source)
    return network, shape or keras.input_shape(network)


def _quantised(
    network: "Foreign", inputs: "Array", shape: tuple[int, ...], qat: Path | None, epochs: int, seed: int
) -> "Quantised":
    from appliance.errors import ForgeError  # noqa: PLC0415 - only where it is needed
    from appliance.forge.progress import shown  # noqa: PLC0415 - as above
    from appliance.forge.quantize import quantise  # noqa: PLC0415 - as above

    if qat is None:
        with shown() as progress:
            return quantise(network, inputs, shape=shape, progress=progress)
    if isinstance(network, Path):
        msg = f"{network} cannot be trained any more: --qat takes a .keras or .h5 file"
        raise ForgeError(msg)
    from appliance.forge.qat import quantise_aware  # noqa: PLC0415 - as above
    from appliance.forge.training import loss_for, read_examples  # noqa: PLC0415 - as above

    examples = read_examples(qat)
    loss, targets = loss_for(network, examples.targets)
    with shown() as progress:
        return quantise_aware(network, examples.inputs, targets, loss=loss, epochs=epochs, seed=seed, progress=progress)


def _spec(
    shape: tuple[int, ...],
    kind: str | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    *,
    colour: Colour,
    fit: Fit,
    key: str,
) -> "InputSpec":
    """Describe the input; its kind is told by its number of dimensions where it is not given."""
    from appliance.core.types import FrameKind  # noqa: PLC0415 - only where it is needed
    from appliance.forge.samples import InputSpec  # noqa: PLC0415 - as above

    by_dimensions = {4: FrameKind.IMAGE, 3: FrameKind.WINDOW}
    told = FrameKind(kind) if kind else by_dimensions.get(len(shape), FrameKind.RECORD)
    return InputSpec(shape, told, mean, std, colour=colour, fit=fit, key=key)
