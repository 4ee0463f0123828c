"""The values of which a ``.tflite``'s graph consists, as :mod:`appliance.forge.flatbuffer` reads them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from appliance.core.types import Array

_DTYPES: Mapping[str, type[np.generic]] = {
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
}

Option = bool | int | float | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Quantisation:
    """real = (step - zero point) x scale; one scale, or one for each index of ``dimension``."""

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    dimension: int


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """One tensor of a graph."""

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    """As ``shape``, with -1 where the size is open; empty where the file gives none, and then nothing is open."""
    type: str
    """As the schema calls it: INT8, FLOAT32 ..."""
    quantisation: Quantisation | None
    data: bytes | None = field(repr=False)
    """The constant's bytes; None for what is computed, and for a constant in another file."""
    outside: bool
    """It is a constant, and its bytes lie outside the flatbuffer (``Buffer.offset``, or another file)."""
    variable: bool

    @property
    def constant(self) -> bool:
        """Whether it is known before the graph runs."""
        return self.data is not None or self.outside

    @property
    def dynamic(self) -> bool:
        """Whether a size is open until the graph runs."""
        return any(size < 0 for size in (*self.signature, *self.shape))

    @property
    def size(self) -> int:
        """How many values it holds; 1 for a scalar."""
        product = 1
        for dimension in self.shape:
            product *= dimension
        return product

    def values(self) -> Array | None:
        """Give the constant's values, flat; None when it is none, or of a type or size that cannot be read."""
        dtype = _DTYPES.get(self.type)
        if self.data is None or dtype is None or len(self.data) % np.dtype(dtype).itemsize:
            return None
        return np.frombuffer(self.data, np.dtype(dtype).newbyteorder("<"))


@dataclass(frozen=True, slots=True)
class GraphOperator:
    """One operator of a graph."""

    index: int
    name: str
    """As the schema calls it: CONV_2D, CUSTOM ..."""
    code: int
    custom: str
    """The custom operator's own name; empty for others."""
    version: int
    inputs: tuple[int, ...]
    """Indices of tensors; -1 where an optional input is left out."""
    outputs: tuple[int, ...]
    options: Mapping[str, Option]
    """Of the operator's table of options, by the schema's names."""

    def flag(self, name: str) -> int:
        """Give a whole-numbered option; 0, the schema's default for all that are asked for, when there is none."""
        value = self.options.get(name, 0)
        return int(value) if isinstance(value, int) else 0


@dataclass(frozen=True, slots=True)
class Graph:
    """The main graph of a ``.tflite``."""

    tensors: tuple[GraphTensor, ...]
    operators: tuple[GraphOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    subgraphs: int
    """Of the file; the first is the main one, others are bodies of control flow or further signatures."""
    signatures: int

    def tensors_of(self, indices: tuple[int, ...]) -> tuple[GraphTensor, ...]:
        """Give the tensors of these indices, without optional ones that were left out."""
        return tuple(self.tensors[index] for index in indices if index >= 0)
