"""Run a `.tflite` on given inputs in the runtime installed here: a script, so that it runs in any environment.

It needs NumPy and either ai-edge-litert or tflite-runtime and imports nothing of the appliance. It is a process of its
own because a damaged flatbuffer can crash the process that opens it, and because what a model adds to a process's
memory can only be seen in a fresh one.

    python replay.py describe MODEL
    python replay.py run MODEL INPUTS.npz OUTPUTS.npz [--plain]

`describe` prints JSON: the runtime, and each tensor at the model's edge. `run` takes `input_0`, `input_1`, ... and
writes `output_<position>_<number>` for every output, in the order `describe` gives them, and `latency_ms`: the time
of each invoke, the first left out. It prints JSON: the runtime and `memory_bytes`, what opening and invoking added to
the resident memory. `--plain` runs TFLite's own kernels without XNNPACK. Exit code 1, with the reason on stderr, when
the runtime refuses the file.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Foreign = Any  # the runtimes ship no types
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
"""The unit of `/proc/self/statm`."""


def runtime() -> tuple[str, Foreign]:
    """Give name and version of the installed runtime, and its module; tflite-runtime first where both are there."""
    try:
        from tflite_runtime import interpreter  # noqa: PLC0415 - one of the two is there

        name = "tflite-runtime"
    except ImportError:
        from ai_edge_litert import interpreter  # noqa: PLC0415 - one of the two is there

        name = "ai-edge-litert"
    return f"{name} {version(name)}", interpreter


def open_model(module: Foreign, content: bytes, *, plain: bool) -> Foreign:
    """Load a flatbuffer; raises ValueError or RuntimeError when the runtime refuses it."""
    kinds = module.OpResolverType
    kind = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES if plain else kinds.AUTO
    interpreter = module.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    return interpreter


def tensor(details: Any) -> dict[str, object]:  # noqa: ANN401 - a dictionary of the runtime
    """Give what a tensor is, as JSON's values."""
    scale, zero_point = details["quantization"]
    return {
        "name": str(details["name"]),
        "shape": [int(size) for size in details["shape"]],
        "signature": [int(size) for size in details.get("shape_signature", details["shape"])],
        "dtype": np.dtype(details["dtype"]).name,
        "scale": float(scale),
        "zero_point": int(zero_point),
    }


def describe(path: Path) -> dict[str, object]:
    """Open the file and tell its tensors."""
    name, module = runtime()
    interpreter = open_model(module, path.read_bytes(), plain=True)
    return {
        "runtime": name,
        "inputs": [tensor(each) for each in interpreter.get_input_details()],
        "outputs": [tensor(each) for each in interpreter.get_output_details()],
    }


def run(path: Path, inputs: Path, outputs: Path, *, plain: bool) -> dict[str, object]:
    """Invoke the model on every input."""
    name, module = runtime()
    with np.load(inputs) as given:
        tensors = [given[f"input_{number}"] for number in range(len(given.files))]
    before = resident_bytes()
    interpreter = open_model(module, path.read_bytes(), plain=plain)
    place = interpreter.get_input_details()[0]["index"]
    indexes = [each["index"] for each in interpreter.get_output_details()]
    arrays: dict[str, Any] = {}
    took_ms = []
    memory_bytes = 0
    for number, each in enumerate(tensors):
        interpreter.set_tensor(place, each)
        begun = time.perf_counter()
        interpreter.invoke()
        took_ms.append((time.perf_counter() - begun) * 1000)
        if number == 0:
            memory_bytes = resident_bytes() - before
        arrays |= {f"output_{at}_{number}": interpreter.get_tensor(index) for at, index in enumerate(indexes)}
    np.savez(outputs, latency_ms=np.array(took_ms[1:] or took_ms), **arrays)
    return {"runtime": name, "outputs": len(indexes), "memory_bytes": memory_bytes}


def resident_bytes() -> int:
    """Give this process's resident memory; 0 where the system does not tell (not Linux)."""
    statm = Path("/proc/self/statm")
    return int(statm.read_text(encoding="ascii").split()[1]) * PAGE_BYTES if statm.exists() else 0


def main() -> int:
    """Read the command line."""
    verb, *words = [word for word in sys.argv[1:] if word != "--plain"]
    paths = [Path(word) for word in words]
    try:
        told = describe(paths[0]) if verb == "describe" else run(*paths, plain="--plain" in sys.argv)
    except (ImportError, RuntimeError, ValueError) as error:
        print(str(error).splitlines()[0] if str(error) else type(error).__name__, file=sys.stderr)  # noqa: T201 - a script
        return 1
    print(json.dumps(told))  # noqa: T201 - a script
    return 0


if __name__ == "__main__":
    sys.exit(main())
