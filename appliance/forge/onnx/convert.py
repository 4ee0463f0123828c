"""Runs onnx2tf in its environment: an ONNX file and samples in, a SavedModel and the original's outputs out."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array
from appliance.errors import ForgeError
from appliance.forge.environment import Environment
from appliance.forge.onnx.graph import Layout
from appliance.forge.process import Tell, silent

TIMEOUT_S = 1800.0
"""onnx2tf takes seconds for a small network and minutes for one of some hundred operators."""
MESSAGE_CHARACTERS_MAX = 600
"""Of what a converter says: some print the whole graph."""


@dataclass(frozen=True, slots=True, eq=False)
class Converted:
    """A graph with fixed sizes, converted, not yet quantised."""

    saved_model: Path
    """A folder, there as long as the folder that ``convert`` was given."""
    reference: dict[str, NDArray[np.float32]]
    """Each output of the original, by name, on every sample: float32 ``[n, ...]`` in ONNX's layout."""


def convert(
    environment: Environment,
    model: Path,
    samples: Array,
    folder: Path,
    *,
    name: str,
    layout: Layout,
    outputs: Sequence[str] = (),
    edgetpu: bool = True,
    tell: Tell = silent,
) -> Converted:
    """Convert a graph to a SavedModel, and run the original on samples.

    Args:
        environment: the one with onnx2tf.
        model: the ONNX file.
        samples: normalised float32 ``[n, ...]`` in the appliance's layout, channels last. Their shape is what the
            graph's sizes are fixed to.
        folder: an empty one of the caller's, for what is made on the way.
        name: of the graph's input.
        layout: where the input's channels stand in ONNX.
        outputs: tensors to end the graph with, as ONNX names them; none: its own outputs.
        edgetpu: write operators that the Edge TPU lacks in others, where that is known to be the same function.
        tell: is told each step.

    Raises:
        ForgeError: it cannot be converted; says which step and why.
    """
    turned = as_onnx(samples, layout)
    np.savez(folder / "samples.npz", samples=turned)
    job = {
        "model": str(model.resolve()),
        "input": name,
        "shape": [1, *turned.shape[1:]],
        "layout": layout,
        "outputs": list(outputs),
        "edgetpu": edgetpu,
        "samples": "samples.npz",
    }
    (folder / "job.json").write_text(json.dumps(job), "utf-8")
    _work(environment, folder, model, tell)
    names = json.loads((folder / "outputs.json").read_text("utf-8"))
    with np.load(folder / "reference.npz") as arrays:
        reference = {each: arrays[f"output_{at}"].astype(np.float32) for at, each in enumerate(names)}
    bad = [each for each, values in reference.items() if not np.isfinite(values).all()]
    if bad:
        msg = (
            f"{model} gives NaN or infinity in {', '.join(bad)} on these samples: is its input normalised as it wants?"
        )
        raise ForgeError(msg)
    return Converted(folder / "saved_model", reference)


def as_onnx(samples: Array, layout: Layout) -> Array:
    """Turn samples ``[n, ..., channels]`` to where ONNX has the channels; others are given back as they are."""
    if layout == "last" or samples.ndim < 3:  # noqa: PLR2004 - below that there are no channels apart from features
        return samples
    return np.moveaxis(samples, -1, 1)


def _work(environment: Environment, folder: Path, model: Path, tell: Tell) -> None:
    """Run the worker. Raises ForgeError with its own words where it has some."""
    said: list[str] = []

    def listen(line: str) -> None:
        if line.startswith("STEP: "):
            tell(line.removeprefix("STEP: "))
        elif line.startswith("ERROR: "):
            said.append(line.removeprefix("ERROR: "))

    variables = {
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        # onnx2tf starts onnxsim by its name.
        "PATH": f"{environment.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }
    with as_file(files("appliance.forge.onnx").joinpath("worker.py")) as script:
        words = [str(script), str(folder / "job.json")]
        try:
            environment.run(words, timeout_s=TIMEOUT_S, cwd=folder, variables=variables, tell=listen)
        except ForgeError as error:
            if not said:
                raise
            msg = f"{model}: {said[-1][:MESSAGE_CHARACTERS_MAX]}"
            raise ForgeError(msg) from error
