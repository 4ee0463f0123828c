"""Golden vectors from every runtime at hand, and the tolerance that comes of them.

The same INT8 file gives numbers that differ by a few steps between runtimes and kernels. How far is measured, over
the golden inputs and over further ones, and written down with the runtimes that were compared.
"""

import io
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from appliance.core.golden import combine, compare
from appliance.core.model import Dtype, TensorSpec
from appliance.core.types import Array, Outputs
from appliance.errors import ForgeError
from appliance.forge.environment import Environment, environment
from appliance.trust.description import TOLERANCE_LSB_MAX

SCRIPT = Path(__file__).with_name("replay.py")
REPLAY_TIMEOUT_S = 900.0
"""For all inputs in one runtime: 200 pictures through a detector take 40 s on a loaded machine."""
INPUTS_MAX = 1000
"""Golden and further inputs together."""
TFLITE_RUNTIME = ("tflite-runtime==2.14.0", "numpy==1.26.4")
"""The other tested runtime (decision 0001). It has wheels for Python 3.11 only."""
MARGIN = 0.25
"""Of the largest difference seen, and one step at least: processors that were not measured round differently too."""

SecondRuntime = Path | Literal["managed", "none"]
"""A Python that has tflite-runtime, an environment made and kept by the forge, or no second runtime."""


def second_runtime(word: str) -> SecondRuntime:
    """Read what a command line says of the second runtime: ``managed``, ``none``, or the path of a Python."""
    return "managed" if word == "managed" else "none" if word == "none" else Path(word)


@dataclass(frozen=True, slots=True)
class Edge:
    """The tensors at a model's edge, as its runtime describes them."""

    runtime: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    dynamic: bool
    """Whether a size is left open in the file: the Edge TPU's compiler refuses that."""


@dataclass(frozen=True, slots=True, eq=False)
class Goldens:
    """What replaying gave."""

    inputs: tuple[Array, ...]
    outputs: tuple[Outputs, ...]
    measured_lsb: Mapping[str, int]
    """For each role the largest difference between two runtimes, in steps."""
    runtimes: tuple[str, ...]
    latency_ms: float
    """Median of an invoke on this machine, one thread, the runtime that gave the outputs."""
    memory_bytes: int
    """What opening the model and the first invoke added to the resident memory; 0 where the system does not tell."""

    @classmethod
    def none(cls) -> Self:
        """Nothing was replayed yet."""
        return cls((), (), {}, (), 0.0, 0)

    def npz(self) -> bytes:
        """Write the tensors as they are, in the form that the appliance reads."""
        arrays: dict[str, Array] = {}
        for number, (tensor, outputs) in enumerate(zip(self.inputs, self.outputs, strict=True)):
            arrays |= {f"input_{number}": tensor, **{f"{role}_{number}": raw for role, raw in outputs.items()}}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its keyword `allow_pickle` confuses the checker
        return buffer.getvalue()


@lru_cache(maxsize=2)
def look(tflite: bytes) -> Edge:
    """Open a model in a process of its own and tell its edge.

    Raises:
        ForgeError: no runtime opens it, or it has not exactly one input, or a type that the appliance does not feed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        told = _call(_this(), ["describe", str(_model_file(Path(scratch), tflite))])
    if len(told["inputs"]) != 1:
        msg = f"model.tflite has {len(told['inputs'])} inputs; the appliance feeds exactly one: cut or merge the others"
        raise ForgeError(msg)
    every = [*told["inputs"], *told["outputs"]]
    first, *others = [_spec(each) for each in every]
    return Edge(str(told["runtime"]), first, tuple(others), any(-1 in each["signature"] for each in every))


def make(
    tflite: bytes,
    inputs: Sequence[Array],
    further: Sequence[Array],
    roles: Mapping[str, int],
    second: SecondRuntime,
) -> Goldens:
    """Replay inputs in ai-edge-litert, with its own kernels instead of XNNPACK's, and in tflite-runtime.

    Args:
        tflite: the flatbuffer.
        inputs: raw input tensors of the golden vectors.
        further: raw input tensors that only widen what the tolerance is measured on.
        roles: role to position among the model's outputs.
        second: where tflite-runtime is; ``none`` leaves it out.

    Raises:
        ForgeError: a runtime refuses the model or does not end, or the second one cannot be had.
    """
    tensors = [*inputs, *further]
    if not inputs or len(tensors) > INPUTS_MAX:
        msg = f"{len(inputs)} golden inputs and {len(further)} further ones; give 1 to {INPUTS_MAX} together"
        raise ForgeError(msg)
    with tempfile.TemporaryDirectory() as scratch:
        room = Path(scratch)
        _model_file(room, tflite)
        named = {f"input_{number}": each for number, each in enumerate(tensors)}
        np.savez(room / "inputs.npz", **named)  # type: ignore[arg-type]  # as in npz
        third = [] if second == "none" else [_replay(_second(second), room, roles)]
        first = _replay(_this(), room, roles)
        others = [_replay(_this(), room, roles, "--plain"), *third]
    return Goldens(
        inputs=tuple(inputs),
        outputs=first.outputs[: len(inputs)],
        measured_lsb=_largest(first, others),
        runtimes=(first.runtime, f"{others[0].runtime} without XNNPACK", *(each.runtime for each in others[1:])),
        latency_ms=first.latency_ms,
        memory_bytes=first.memory_bytes,
    )


def tolerance(measured_lsb: Mapping[str, int], declared: Mapping[str, int] | None) -> dict[str, int]:
    """Give for each role the tolerance: the declared one, or what was measured and a margin.

    The margin is a quarter of the measured difference, at least one step; the sum is at most ``TOLERANCE_LSB_MAX``.

    Raises:
        ForgeError: what is declared is less than what was measured or names other roles; or the runtimes are so far
            apart that golden vectors would prove nothing.
    """
    for role, steps in measured_lsb.items():
        if steps > TOLERANCE_LSB_MAX:
            msg = (
                f"output {role!r}: runtimes differ by {steps} steps, more than the {TOLERANCE_LSB_MAX} that golden "
                "vectors may be off; give that tensor a range of its own or end the graph before the operator that "
                "magnifies the difference (a sigmoid or softmax: emit the logit)"
            )
            raise ForgeError(msg)
    if declared is None:
        with_margin = {role: steps + max(1, math.ceil(MARGIN * steps)) for role, steps in measured_lsb.items()}
        return {role: min(steps, TOLERANCE_LSB_MAX) for role, steps in with_margin.items()}
    if set(declared) != set(measured_lsb):
        msg = f"tolerance_lsb is given for {sorted(declared)}; the outputs are {sorted(measured_lsb)}"
        raise ForgeError(msg)
    for role, steps in measured_lsb.items():
        if declared[role] < steps:
            msg = f"output {role!r}: tolerance_lsb is {declared[role]}, but runtimes differ by {steps}; allow more"
            raise ForgeError(msg)
    return dict(declared)


@dataclass(frozen=True, slots=True, eq=False)
class _Replayed:
    runtime: str
    outputs: tuple[Outputs, ...]
    latency_ms: float
    memory_bytes: int


def _replay(where: Environment, room: Path, roles: Mapping[str, int], *flags: str) -> _Replayed:
    """Run every input in one runtime. Raises ForgeError."""
    out = room / "outputs.npz"
    told = _call(where, ["run", str(room / "model.tflite"), str(room / "inputs.npz"), str(out), *flags])
    with np.load(out) as given:
        count = (len(given.files) - 1) // int(told["outputs"])
        outputs = tuple({role: given[f"output_{at}_{number}"] for role, at in roles.items()} for number in range(count))
        latency_ms = float(np.median(given["latency_ms"]))
    return _Replayed(str(told["runtime"]), outputs, latency_ms, int(told["memory_bytes"]))


def _largest(first: _Replayed, others: Sequence[_Replayed]) -> dict[str, int]:
    """Give for each role the largest difference to ``first``, in whole steps."""
    none = dict.fromkeys(first.outputs[0], 0)
    report = combine(
        compare(got, wanted, none) for other in others for got, wanted in zip(other.outputs, first.outputs, strict=True)
    )
    far = [role for role, difference in report.roles.items() if math.isinf(difference.max_lsb)]
    if far:
        msg = f"outputs {far} are not a number, or of another shape, in one of the runtimes; no golden vector can hold"
        raise ForgeError(msg)
    return {role: math.ceil(difference.max_lsb) for role, difference in report.roles.items()}


def _call(where: Environment, words: Sequence[str]) -> Any:  # noqa: ANN401 - JSON
    """Run the script; gives what it tells. Raises ForgeError."""
    try:
        text = where.run([str(SCRIPT), *words], timeout_s=REPLAY_TIMEOUT_S)
    except ForgeError as error:
        msg = f"the TFLite runtime of the environment {where.name!r} does not run model.tflite: {error}"
        raise ForgeError(msg) from error
    return json.loads(next(line for line in reversed(text.splitlines()) if line.startswith("{")))


def _this() -> Environment:
    return Environment("this one", Path(sys.executable))


def _second(second: SecondRuntime) -> Environment:
    if isinstance(second, Path):
        return Environment("tflite-runtime", second.absolute())
    return environment("tflite-runtime", TFLITE_RUNTIME)


def _model_file(room: Path, tflite: bytes) -> Path:
    path = room / "model.tflite"
    path.write_bytes(tflite)
    return path


def _spec(told: Mapping[str, Any]) -> TensorSpec:
    """Read a tensor. Raises ForgeError for a type that no model of the appliance has at its edge."""
    if told["dtype"] not in set(Dtype):
        msg = f"tensor {told['name']!r} is {told['dtype']}; at a model's edge stand {', '.join(Dtype)}"
        raise ForgeError(msg)
    dtype = Dtype(told["dtype"])
    return TensorSpec(str(told["name"]), tuple(told["shape"]), dtype, float(told["scale"]), int(told["zero_point"]))
