"""Times models on one runtime, in a process and an environment of its own; takes orders as lines of JSON.

Run as a script by whatever Python has the runtime: it needs NumPy and the runtime, and nothing of this package.

===========================================================  ===============================================
order                                                        answer
===========================================================  ===============================================
``{"load": FILE, "runtime": NAME, "threads": N}``            ``{"index": I}``, counted from 0
``{"run": I, "times": N}``                                   ``{"took_s": seconds for all of them}``
===========================================================  ===============================================

A model that does not load, or an order that is none, is answered with ``{"error": TEXT}``. It ends with its input.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Foreign = Any  # objects of three runtimes, none of which ships types
Invoke = Callable[[], object]


def _tflite(module: str) -> Callable[[Path, int], Invoke]:
    """Load into one of the two interpreters with TFLite's own interface."""

    def load(file: Path, threads: int) -> Invoke:
        interpreter: Foreign = importlib.import_module(module).Interpreter(model_path=str(file), num_threads=threads)
        interpreter.allocate_tensors()
        details = interpreter.get_input_details()[0]
        interpreter.set_tensor(details["index"], _random(tuple(details["shape"]), np.dtype(details["dtype"])))
        invoke: Invoke = interpreter.invoke
        return invoke

    return load


def _onnxruntime(file: Path, threads: int) -> Invoke:
    """Load into ONNX Runtime, whose threads within an operator are the ones that count here."""
    runtime: Foreign = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    shape = tuple(size if isinstance(size, int) else 1 for size in taken.shape)
    dtype = np.dtype({"tensor(float)": "float32", "tensor(int8)": "int8", "tensor(uint8)": "uint8"}[taken.type])
    feed = {taken.name: _random(shape, dtype)}
    return lambda: session.run(None, feed)


RUNTIMES = {
    "ai-edge-litert": _tflite("ai_edge_litert.interpreter"),
    "tflite-runtime": _tflite("tflite_runtime.interpreter"),
    "onnxruntime": _onnxruntime,
}


def _random(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> "np.ndarray[Any, Any]":
    """Give an input of a fixed seed: of any value, for time does not depend on it."""
    values = np.random.default_rng(0).normal(size=shape)
    return (values * 40 if dtype.kind in "iu" else values).clip(-100, 100).astype(dtype)


def obey(order: dict[str, Any], loaded: list[Invoke]) -> dict[str, object]:
    """Carry out one order; what goes wrong is the answer, for whoever asked is another process."""
    try:
        if "load" in order:
            loaded.append(RUNTIMES[order["runtime"]](Path(order["load"]), int(order["threads"])))
            return {"index": len(loaded) - 1}
        invoke = loaded[order["run"]]
        started_s = time.perf_counter()
        for _ in range(order["times"]):
            invoke()
        return {"took_s": time.perf_counter() - started_s}
    except (ImportError, KeyError, IndexError, TypeError, ValueError, RuntimeError, OSError) as error:
        return {"error": f"{type(error).__name__}: {str(error).strip() or 'no reason given'}"}


def main() -> None:
    """Answer each line of standard input."""
    loaded: list[Invoke] = []
    for line in sys.stdin:
        print(json.dumps(obey(json.loads(line), loaded)), flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
