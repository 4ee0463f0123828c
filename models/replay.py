"""Replay a folder's golden vectors in the runtime installed here, and print how far each output is off.

`python models/replay.py models/person/1.1.0` in an environment with ai-edge-litert, and again in one with
tflite-runtime: the larger difference, plus a small margin, is the recipe's tolerance.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np

Foreign = Any  # the runtimes ship no types


def runtime() -> tuple[str, Foreign]:
    """Give the name and the Interpreter class of the runtime that is installed, the older one first."""
    try:
        from tflite_runtime.interpreter import Interpreter  # noqa: PLC0415 - one of the two is there
    except ImportError:
        from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415 - one of the two is there

        return "ai-edge-litert", Interpreter
    return "tflite-runtime", Interpreter


def differences(folder: Path, interpreter_class: Foreign) -> dict[str, int]:
    """Give, per role, the largest absolute difference to the golden vectors in quantised steps."""
    toml = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
    interpreter = interpreter_class(model_path=str(folder / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    input_index = interpreter.get_input_details()[0]["index"]
    outputs = {details["name"]: details["index"] for details in interpreter.get_output_details()}
    worst = {output["role"]: 0 for output in toml["outputs"]}
    with np.load(folder / toml["golden"]["file"]) as golden:
        for number in range(sum(key.startswith("input_") for key in golden)):
            interpreter.set_tensor(input_index, golden[f"input_{number}"])
            interpreter.invoke()
            for output in toml["outputs"]:
                got = interpreter.get_tensor(outputs[output["name"]]).astype(np.int32)
                wanted = golden[f"{output['role']}_{number}"].astype(np.int32)
                worst[output["role"]] = max(worst[output["role"]], int(np.abs(got - wanted).max()))
    return worst


def main() -> int:
    """Print one line a folder; fail when a role is outside its tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="model folders, such as models/person/1.1.0")
    folders = parser.parse_args().folders
    name, interpreter_class = runtime()
    failed = False
    for folder in folders:
        tolerance = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))["golden"]["tolerance_lsb"]
        worst = differences(folder, interpreter_class)
        outside = [role for role, steps in worst.items() if steps > tolerance[role]]
        failed = failed or bool(outside)
        print(f"{folder}  {name}  steps {worst}  tolerance {tolerance}  {'FAIL' if outside else 'ok'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
