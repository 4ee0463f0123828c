"""The tensors at the edge of a network, as its file has them, held against its description: for every runtime."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from appliance.core.model import TensorSpec
from appliance.errors import ModelError

SCALE_TOLERANCE = 1e-6
"""Relative; a scale is a float32 in the file and a decimal number in ``model.toml``."""


class Described(Protocol):
    """What a file is held against; a ``Model`` is one."""

    @property
    def name(self) -> str:
        """The model's name."""
        ...

    @property
    def version(self) -> str:
        """The model's version."""
        ...

    @property
    def input(self) -> TensorSpec:
        """The one input tensor."""
        ...

    @property
    def outputs(self) -> Mapping[str, TensorSpec]:
        """The output tensors by role."""
        ...


@dataclass(frozen=True, slots=True)
class FileTensor:
    """One input or output of a file."""

    name: str
    shape: tuple[int | str, ...]
    """A size that the file leaves open is there by its name."""
    dtype: str
    """NumPy's name of it; the runtime's where NumPy has none."""
    quantisation: tuple[float, int] | None = None
    """Scale and zero point; None where a file of this kind does not say them: golden vectors prove them."""

    @property
    def kind(self) -> tuple[tuple[int | str, ...], str]:
        """What tells it from other tensors beside its name."""
        return self.shape, self.dtype

    def __str__(self) -> str:
        """Say everything but the name."""
        return _say(self.shape, self.dtype, self.quantisation)


def match(model: Described, file: str, inputs: Sequence[FileTensor], outputs: Sequence[FileTensor]) -> dict[str, int]:
    """Hold a file's tensors against the description.

    An output is found by name, else as the only one of its shape and dtype: converters order them freely.

    Args:
        model: the description.
        file: how messages name the file.
        inputs: the file's inputs.
        outputs: the file's outputs.

    Returns:
        Each role's place in ``outputs``.

    Raises:
        ModelError: they contradict one another; the message tells both sides.
    """
    if len(inputs) != 1:
        msg = f"{full_name(model)}: {file} has {len(inputs)} inputs; the appliance feeds exactly one"
        raise ModelError(msg)
    _check(model, file, "input", model.input, inputs[0])
    if len(outputs) != len(model.outputs):
        msg = f"{full_name(model)}: {file} has {len(outputs)} outputs, model.toml describes {len(model.outputs)}"
        raise ModelError(msg)
    places = {role: _place(model, file, role, outputs) for role in model.outputs}
    if len(set(places.values())) < len(places):
        msg = f"{full_name(model)}: two roles of model.toml lead to one tensor of {file}; correct the outputs' names"
        raise ModelError(msg)
    return places


def _place(model: Described, file: str, role: str, outputs: Sequence[FileTensor]) -> int:
    """Find a role's tensor. Raises ModelError."""
    spec = model.outputs[role]
    found = [place for place, tensor in enumerate(outputs) if tensor.name == spec.name]
    if len(found) != 1:
        kind = (spec.shape, spec.dtype.value)
        found = [place for place, tensor in enumerate(outputs) if tensor.kind == kind]
    if len(found) != 1:
        there = ", ".join(f"{tensor.name!r} {_say(*tensor.kind)}" for tensor in outputs)
        msg = (
            f"{full_name(model)}: output {role!r} cannot be told apart: model.toml names {spec.name!r} "
            f"{_say(spec.shape, spec.dtype.value)}, {file} has {there}"
        )
        raise ModelError(msg)
    _check(model, file, f"output {role!r}", spec, outputs[found[0]])
    return found[0]


def _check(model: Described, file: str, what: str, spec: TensorSpec, tensor: FileTensor) -> None:
    """Raise ModelError unless the file's tensor is what the description says."""
    told = None if tensor.quantisation is None else (spec.scale, spec.zero_point)
    if tensor.kind != (spec.shape, spec.dtype.value) or not _same_steps(tensor.quantisation, told):
        msg = (
            f"{full_name(model)}: {what}: {file} has {tensor}; model.toml says "
            f"{_say(spec.shape, spec.dtype.value, told)}"
        )
        raise ModelError(msg)


def _same_steps(one: tuple[float, int] | None, other: tuple[float, int] | None) -> bool:
    if one is None or other is None:
        return one == other
    return one[1] == other[1] and math.isclose(one[0], other[0], rel_tol=SCALE_TOLERANCE)


def _say(shape: tuple[int | str, ...], dtype: str, quantisation: tuple[float, int] | None = None) -> str:
    steps = "" if quantisation is None else f", scale {quantisation[0]!r}, zero_point {quantisation[1]}"
    return f"{dtype} {list(shape)}{steps}"


def full_name(model: Described) -> str:
    """Name and version, for messages."""
    return f"{model.name} {model.version}"


def first_line(error: Exception) -> str:
    """The first line of an error's message; its kind where it has none."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
