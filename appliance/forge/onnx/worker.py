"""Convert an ONNX graph to a SavedModel: a script for the environment with onnx2tf; it imports nothing of ours.

    python worker.py JOB.json

The job names: `model`, the ONNX file; `input`, its input's name; `shape`, that input's fixed shape as ONNX has it;
`layout`, `first` or `last`: where its channels stand; `outputs`, the tensors to end with (empty: the graph's own);
`edgetpu`, whether operators that the Edge TPU lacks are written in others; `samples`, an NPZ beside the job with
`samples` [n, ...] in ONNX's layout. It leaves there `fixed.onnx`,
`saved_model/`, and `reference.npz`: each output's values on the samples, computed by onnxruntime, as `output_<number>`
in the order of `outputs.json`. What goes wrong is told in the last line, with exit code 1.
"""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

Foreign = Any  # none of these libraries ships types; each is imported where it is needed, for they are heavy
CALIBRATION_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"
"""onnx2tf fetches a file of this name for graphs that take pictures, unless one lies where it runs. Its content only
matters when onnx2tf quantises, which it does not do here."""


STEPS: list[str] = []
"""What was said to be done, the last at the end."""


class WorkError(Exception):
    """It cannot be converted; the message says why."""


def main() -> int:
    """Carry out a job."""
    job_file = Path(sys.argv[1])
    sys.excepthook = tell_error
    convert(job_file.parent, json.loads(job_file.read_text("utf-8")))
    return 0


def tell_error(kind: type[BaseException], error: BaseException, _trace: object) -> None:
    """Tell in one line why it ends: these libraries raise errors of a dozen classes of their own."""
    words = " ".join(str(error).split()) or kind.__name__
    print(f"ERROR: {STEPS[-1] if STEPS else 'beginning'}: {words}", flush=True)  # noqa: T201 - a script


def convert(folder: Path, job: dict[str, Foreign]) -> None:
    """Fix, run, convert."""
    say("fixing the shapes")
    model = fixed(Path(job["model"]), job)
    fixed_file = folder / "fixed.onnx"
    onnx = import_module("onnx")

    (folder / "outputs.json").write_text(json.dumps([each.name for each in model.graph.output]), "utf-8")
    if job["edgetpu"]:
        sys.path.insert(0, str(Path(__file__).parent))  # which `python -I` leaves out
        count = import_module("rewriter").Rewriter(model).rewrite()
        say(f"{count} operators are written in others that the Edge TPU has")
    rename(model)
    onnx.save(model, fixed_file)
    say("running the original")
    reference = run(fixed_file, np.load(folder / job["samples"])["samples"])
    np.savez(folder / "reference.npz", **{f"output_{at}": values for at, values in enumerate(reference)})
    say("converting")
    to_saved_model(fixed_file, folder / "saved_model", model.graph.input[0].name, job["layout"])


def fixed(path: Path, job: dict[str, Foreign]) -> Foreign:
    """Give the graph with every size fixed, and what is constant folded."""
    onnx = import_module("onnx")
    inliner = import_module("onnx.inliner")
    onnxsim = import_module("onnxsim")

    model = inliner.inline_local_functions(onnx.load(path))
    kept = [each for each in model.graph.input if each.name == job["input"]]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    for size, given in zip(model.graph.input[0].type.tensor_type.shape.dim, job["shape"], strict=True):
        size.Clear()
        size.dim_value = given
    cut(model, job["outputs"], job["shape"])
    for output in model.graph.output:
        for size in output.type.tensor_type.shape.dim:
            size.Clear()
    del model.graph.value_info[:]  # sizes that were inferred for other shapes
    simple, sound = onnxsim.simplify(model)
    if not sound:
        message = "the graph gave other values after its constants were folded"
        raise WorkError(message)
    return simple


def cut(model: Foreign, outputs: list[str], shape: list[int]) -> None:
    """End the graph with these tensors; the operators behind them go when it is simplified.

    Of a tensor within, a graph need not say the shape, and without it an output is not sound: so it is run once.
    """
    if not outputs:
        return
    onnx = import_module("onnx")
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    values = runner(model.SerializeToString())(np.zeros(shape, np.float32))
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(outputs, values, strict=True)
    )


def rename(model: Foreign) -> None:
    """Give nodes and tensors names that are TensorFlow's too: letters, digits and underscores, each once."""
    taken: dict[str, str] = {"": ""}

    def safe(name: str) -> str:
        if name not in taken:
            plain = re.sub(r"\W", "_", name, flags=re.ASCII)
            plain = plain if re.match("[A-Za-z]", plain) else f"t_{plain}"
            while plain in taken.values():
                plain += "_"
            taken[name] = plain
        return taken[name]

    for at, node in enumerate(model.graph.node):
        node.name = f"node_{at}"
        node.input[:] = [safe(name) for name in node.input]
        node.output[:] = [safe(name) for name in node.output]
    graph = model.graph
    for each in [*graph.input, *graph.output, *graph.initializer, *graph.value_info]:
        each.name = safe(each.name)


def run(path: Path, samples: Foreign) -> list[Foreign]:
    """Run samples [n, ...] one by one on onnxruntime; gives each output's values [n, ...]."""
    answer = runner(str(path))
    rows = [answer(sample[np.newaxis]) for sample in samples]
    return [np.concatenate(each) for each in zip(*rows, strict=True)]


def runner(model: str | bytes) -> Foreign:
    """Give a function from a batch of one to the graph's outputs."""
    session = import_module("onnxruntime").InferenceSession(model, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: list(session.run(None, {name: tensor}))


def to_saved_model(path: Path, folder: Path, name: str, layout: str) -> None:
    """Have onnx2tf write a SavedModel with a signature."""
    onnx2tf = import_module("onnx2tf")

    np.save(path.parent / CALIBRATION_FILE, np.zeros((20, 128, 128, 3), np.float32))
    keep = {"keep_shape_absolutely_input_names": [name]} if layout == "last" else {}
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(path),
            output_folder_path=str(folder),
            output_signaturedefs=True,
            non_verbose=True,
            **keep,
        )
    except SystemExit as error:  # it ends the process for operators it cannot take
        message = "onnx2tf cannot convert the graph"
        raise WorkError(message) from error


def say(words: str) -> None:
    """Tell what is being done, now and when it fails."""
    STEPS.append(words)
    print(f"STEP: {words}", flush=True)  # noqa: T201 - a script


if __name__ == "__main__":
    sys.exit(main())
