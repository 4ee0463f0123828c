"""``appliance forge prune`` and ``forge distill``."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from appliance.errors import ForgeError
from appliance.forge.options import BatchOption, EpochsOption, RateOption, SeedOption, TestOption, show

if TYPE_CHECKING:
    from appliance.forge.foreign import Foreign
    from appliance.forge.report import Estimate
    from appliance.forge.training import Examples

TEST_SHARE = 0.2
"""Of the data, held out for the metrics where no test file is given."""

DataOption = Annotated[
    Path,
    typer.Option(
        "--data",
        metavar="NPZ",
        help="What is trained on: `inputs`, normalised floats [n, ...], and `targets` (0/1 or classes [n], or the "
        "outputs wanted). `teacher_inputs` where the teacher takes other ones.",
    ),
]
OutOption = Annotated[Path, typer.Option("--out", metavar="FILE.keras", help="Where the network goes.")]


def prune_command(
    network: Annotated[Path, typer.Argument(metavar="NETWORK", help="A trained .keras or .h5 file (Keras 2).")],
    *,
    data: DataOption,
    out: OutOption,
    sparsity: Annotated[float, typer.Option(min=0.01, max=0.99, help="Share of each layer's weights to lose.")] = 0.5,
    begin: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share of the training at which it begins.")] = 0.0,
    end: Annotated[float, typer.Option(min=0.0, max=1.0, help="Share at which it is done; the rest heals.")] = 0.5,
    structured: Annotated[bool, typer.Option("--structured", help="Remove whole units and filters instead.")] = False,
    test: TestOption = None,
    epochs: EpochsOption = 10,
    batch: BatchOption = 512,
    learning_rate: RateOption = 1e-3,
    seed: SeedOption = 0,
) -> None:
    """Take the weights out of a network that it can do without, while it trains on.

    Weights that are gone stay in the file as zeros: it gets no shorter and no faster, but what is sent shrinks, the
    compressed file and the update. With --structured whole units go, and the file and the run time shrink too.
    Both networks are made INT8 and compared: size, gzip, update from the dense one, metrics with their intervals.

    Examples:
      appliance forge prune fraud.keras --data train.npz --test test.npz --sparsity 0.5 --out build/fraud-50.keras

      appliance forge prune door.keras --data train.npz --structured --sparsity 0.25 --out build/door-small.keras
    """
    from appliance.forge import keras  # noqa: PLC0415 - heavy, and --help must be quick
    from appliance.forge.evaluate import evaluate_model  # noqa: PLC0415 - as above
    from appliance.forge.progress import shown  # noqa: PLC0415 - as above
    from appliance.forge.prune import prune  # noqa: PLC0415 - as above
    from appliance.forge.sizes import compressed_bytes, delta_bytes  # noqa: PLC0415 - as above
    from appliance.forge.steps import command_line, finish, step_of  # noqa: PLC0415 - as above
    from appliance.forge.training import loss_for, read_examples  # noqa: PLC0415 - as above

    _require_keras_file(out)
    known, unseen = _split(read_examples(data), test, seed)
    keras.begin(seed)
    dense = keras.load(network)
    loss, targets = loss_for(keras.require_trainable(dense), known.targets)
    loss_for(dense, unseen.targets)  # what cannot be measured is told before the training, not after it
    with shown() as progress:
        pruned = prune(
            dense, known.inputs, targets, sparsity=sparsity, epochs=epochs, loss=loss, batch=batch,
            learning_rate=learning_rate, begin=begin, end=end, structured=structured, seed=seed, progress=progress,
        )  # fmt: skip
    ours, theirs = (_int8(each, known) for each in (pruned.network, dense))
    whole, whole_dense = compressed_bytes(ours), compressed_bytes(theirs)
    notes = (
        f"INT8, dense: {len(theirs):,} bytes, {whole_dense:,} with gzip; pruned: {len(ours):,} and {whole:,}",
        f"as an update of the dense one about {delta_bytes(ours, theirs):,} bytes",
        *(f"layer {name}: {share:.0%} gone" for name, share in pruned.sparsity_by_layer.items()),
    )
    step = step_of(
        "prune", out.name, ours, parent=theirs, before=evaluate_model(theirs, unseen),
        after=evaluate_model(ours, unseen), notes=notes, command=command_line(),
    )  # fmt: skip
    show(finish(step, {out: keras.saved(pruned.network)}, out.parent))


def distill_command(
    student: Annotated[
        Path, typer.Argument(metavar="STUDENT", help="A .keras or .h5 file (Keras 2) that ends in logits.")
    ],
    *,
    teacher: Annotated[
        Path,
        typer.Option(
            "--teacher",
            help="Anything that gives scores: .keras, .h5, .tflite, a LightGBM model as text, or an NPZ with `logits`, "
            "one row for each row of --data.",
        ),
    ],
    data: DataOption,
    out: OutOption,
    temperature: Annotated[float, typer.Option(min=0.01, max=100.0, help="1 for one logit, 2 to 5 for classes.")] = 1.0,
    alpha: Annotated[float, typer.Option(min=0.0, max=1.0, help="Weight of the teacher; labels have the rest.")] = 0.9,
    control: Annotated[
        bool, typer.Option("--control", help="Also train on labels alone, as long: what the teacher is worth.")
    ] = False,
    test: TestOption = None,
    epochs: EpochsOption = 20,
    batch: BatchOption = 512,
    learning_rate: RateOption = 2e-3,
    seed: SeedOption = 0,
) -> None:
    """Let a small network learn from a large one's scores, or from a gradient-boosted forest's.

    Give it time: a student that is trained too briefly gains nothing from its teacher. --control shows whether it did.

    Examples:
      appliance forge distill student.keras --teacher gbm.txt --data train.npz --test test.npz --out build/student.keras

      appliance forge distill s.keras --teacher large.keras --temperature 3 --control --data d.npz --out build/s.keras
    """
    from appliance.forge import keras  # noqa: PLC0415 - heavy, and --help must be quick
    from appliance.forge.distill import distil  # noqa: PLC0415 - as above
    from appliance.forge.evaluate import evaluate_model  # noqa: PLC0415 - as above
    from appliance.forge.progress import shown  # noqa: PLC0415 - as above
    from appliance.forge.prune import clone  # noqa: PLC0415 - as above
    from appliance.forge.steps import command_line, finish, step_of  # noqa: PLC0415 - as above
    from appliance.forge.teacher import teacher_logits  # noqa: PLC0415 - as above
    from appliance.forge.training import loss_for, read_examples  # noqa: PLC0415 - as above

    _require_keras_file(out)
    keras.begin(seed)
    examples = read_examples(data)
    logits = teacher_logits(teacher, examples.teacher_inputs)
    known, unseen = _split(replace(examples, logits=logits), test, seed)
    network = keras.require_trainable(keras.load(student))
    for part in (known, unseen):
        loss_for(network, part.targets)  # as in prune: told before the training
    pupils = {network: alpha, clone(network): 0.0} if control else {network: alpha}
    with shown() as progress:
        for each, weight in pupils.items():
            distil(
                each, known.inputs, known.targets, known.logits, temperature=temperature, alpha=weight, epochs=epochs,
                batch=batch, learning_rate=learning_rate, seed=seed, progress=progress,
            )  # fmt: skip
    ours, *alone = (_int8(each, known) for each in pupils)
    after = evaluate_model(ours, unseen)
    for each in alone:
        after |= {f"{name}, labels alone": figure for name, figure in evaluate_model(each, unseen).items()}
    before = _of_teacher(teacher, unseen)
    notes = (f"teacher {teacher.name}, temperature {temperature:g}, alpha {alpha:g}, {epochs} epochs, seed {seed}",)
    step = step_of("distill", out.name, ours, before=before, after=after, notes=notes, command=command_line())
    show(finish(step, {out: keras.saved(network)}, out.parent))


def _require_keras_file(out: Path) -> None:
    """Raise ForgeError unless the name is one that ``quantize`` reads again."""
    if out.suffix != ".keras":
        msg = f"--out {out}: a name that ends in .keras is wanted"
        raise ForgeError(msg)


def _split(examples: "Examples", test: Path | None, seed: int) -> "tuple[Examples, Examples]":
    """Return what is trained on and what is measured on: the test file, or a fifth held out."""
    import numpy as np  # noqa: PLC0415 - only where it is needed

    from appliance.forge.training import read_examples  # noqa: PLC0415 - as above

    if test is not None:
        return examples, read_examples(test)
    order = np.random.default_rng(seed).permutation(len(examples.inputs))
    held_out = round(TEST_SHARE * len(order))
    if not 0 < held_out < len(order):
        msg = f"{len(order)} examples are too few to hold some out: give a test file, --test"
        raise ForgeError(msg)
    return examples.part(np.sort(order[held_out:])), examples.part(np.sort(order[:held_out]))


def _of_teacher(teacher: Path, unseen: "Examples") -> "Mapping[str, Estimate]":
    """Measure the teacher, unless it is a file of scores and says none for the test file."""
    from appliance.forge.evaluate import evaluate  # noqa: PLC0415 - only where it is needed
    from appliance.forge.teacher import teacher_logits  # noqa: PLC0415 - as above

    logits = unseen.logits
    if logits is None and teacher.suffix == ".npz":
        return {}
    logits = teacher_logits(teacher, unseen.teacher_inputs) if logits is None else logits
    return evaluate(logits[:, 0] if logits.shape[1:] == (1,) else logits, unseen.targets)


def _int8(network: "Foreign", examples: "Examples") -> bytes:
    """Quantise a network as the device would run it, on what it was trained on."""
    from appliance.forge.quantize import quantise  # noqa: PLC0415 - only where it is needed
    from appliance.forge.samples import thinned  # noqa: PLC0415 - as above

    return quantise(network, thinned(examples.inputs)).int8
