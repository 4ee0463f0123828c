"""What an ONNX file says of itself, read without converting or running anything."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from appliance.errors import ForgeError
from appliance.forge.foreign import Foreign, load_library

OPSET_MIN, OPSET_MAX = 7, 22
"""Operator sets between which onnx2tf 1.29.24 and onnx 1.19.1, which it works with, know the operators."""
SIZE_BYTES_MAX = 2 << 30
"""What one protobuf message may hold; a larger model keeps its weights beside it, and is none for an edge device."""
STANDARD = ("", "ai.onnx")
"""The domain of ONNX's own operators, under both of its names."""

Dimension = int | str
"""A size; or the name of one that is left open, ``?`` where it has none."""
Layout = Literal["first", "last"]
"""Where the channels stand: behind the batch, as PyTorch has it, or at the end, as TFLite has it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output of the graph."""

    name: str
    dtype: str
    shape: tuple[Dimension, ...]

    @property
    def is_fixed(self) -> bool:
        """Whether every size is given."""
        return all(isinstance(size, int) for size in self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {'x'.join(map(str, self.shape))}"


@dataclass(frozen=True, slots=True)
class Use:
    """An operator as this graph uses it."""

    domain: str
    name: str
    attributes: Mapping[str, object]
    """Those that decide what becomes of it: numbers and texts, texts decoded."""


@dataclass(frozen=True, slots=True)
class Graph:
    """An ONNX file."""

    path: Path
    opset: int
    producer: str
    inputs: tuple[Tensor, ...]
    """Those that must be fed; weights are not counted."""
    outputs: tuple[Tensor, ...]
    uses: tuple[Use, ...]
    """One a node, in order, those within branches and loops and local functions included."""
    external: tuple[str, ...]
    """Files beside it that hold weights; all of them are there."""

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """How often each operator occurs, by domain and name."""
        return Counter((use.domain, use.name) for use in self.uses)


def read(path: Path, outputs: Sequence[str] = ()) -> Graph:
    """Read an ONNX file.

    Args:
        path: the file.
        outputs: tensors to end with; what only lies behind them is left out. None: the graph's own outputs.

    Raises:
        ForgeError: it is not there, no ONNX, cut off, its weights' files are missing, its version is not known, or
            nothing in it gives one of ``outputs``.
    """
    model = _parse(path)
    opset = max((each.version for each in model.opset_import if each.domain in STANDARD), default=0)
    if not OPSET_MIN <= opset <= OPSET_MAX:
        msg = f"{path}: operator set {opset}; {OPSET_MIN} to {OPSET_MAX} can be converted: export with opset_version=17"
        raise ForgeError(msg)
    weights = {each.name for each in model.graph.initializer}
    own = {(each.domain, each.name) for each in model.functions}
    nodes = [*_leading_to(path, model.graph, outputs), *(node for each in model.functions for node in each.node)]
    uses = tuple(use for use in _uses(nodes) if (use.domain, use.name) not in own)
    return Graph(
        path=path,
        opset=opset,
        producer=f"{model.producer_name} {model.producer_version}".strip() or "unknown",
        inputs=tuple(_tensor(each) for each in model.graph.input if each.name not in weights),
        outputs=_ends(model.graph, outputs),
        uses=uses,
        external=_external(path, model.graph.initializer),
    )


def _parse(path: Path) -> Foreign:
    """Read the protobuf message, without the weights that lie in other files."""
    onnx = load_library("onnx", "read ONNX files")
    try:
        content = path.read_bytes() if path.stat().st_size <= SIZE_BYTES_MAX else b""
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}"
        raise ForgeError(msg) from error
    try:
        model = onnx.load_model_from_string(content)
    except load_library("google.protobuf.message", "read ONNX files").DecodeError as error:
        msg = f"{path} is not ONNX, or is cut off: it cannot be parsed"
        raise ForgeError(msg) from error
    if not model.ir_version or not model.graph.node:
        msg = f"{path} is not ONNX, or is cut off: there is no graph in it"
        raise ForgeError(msg)
    if not all(isinstance(text, str) for text in _texts(model)):  # protobuf hands on what is no UTF-8 as bytes
        msg = f"{path} is not ONNX, or is cut off: a name in it is no text"
        raise ForgeError(msg)
    return model


def _texts(message: Foreign) -> Iterator[object]:
    """Give every string of a protobuf message and of those within it; weights are no strings and are not looked at."""
    for field, value in message.ListFields():
        each = value if isinstance(value, Iterable) and not isinstance(value, str | bytes) else (value,)
        if field.type == field.TYPE_STRING:
            yield from each
        elif field.type == field.TYPE_MESSAGE:
            for within in each:
                yield from _texts(within)


def _leading_to(path: Path, graph: Foreign, outputs: Sequence[str]) -> list[Foreign]:
    """Give the nodes that these tensors depend on, in order; all of them when none is named. Raises ForgeError."""
    if not outputs:
        return list(graph.node)
    missing = sorted(set(outputs) - {name for node in graph.node for name in node.output})
    if missing:
        own = ", ".join(each.name for each in graph.output)
        msg = f"{path}: no operator gives {', '.join(missing)}; the graph's own outputs are {own}"
        raise ForgeError(msg)
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):  # ONNX lists a node behind all it depends on
        if wanted & set(node.output):
            wanted |= {*node.input, *_outer_names(node)}
            kept.append(node)
    return kept[::-1]


def _outer_names(node: Foreign) -> Iterator[str]:
    """Name what the graphs within a node read; names of their own among them do no harm."""
    for each in node.attribute:
        for inner in each.g.node:
            yield from inner.input
            yield from _outer_names(inner)


def _ends(graph: Foreign, outputs: Sequence[str]) -> tuple[Tensor, ...]:
    """Describe where the graph ends: what it says itself of its outputs, ``?`` for tensors within."""
    own = {each.name: _tensor(each) for each in graph.output}
    return tuple(own.get(name, Tensor(name, "float32", ("?",))) for name in outputs) if outputs else tuple(own.values())


def _uses(nodes: Sequence[Foreign]) -> Iterator[Use]:
    """Walk nodes, and the graphs within them (branches of If, bodies of Loop and Scan)."""
    for node in nodes:
        attributes: dict[str, object] = {}
        for each in node.attribute:
            if each.HasField("g"):
                yield from _uses(each.g.node)
            elif each.HasField("s"):
                attributes[each.name] = each.s.decode("utf-8", "replace")
            elif each.HasField("i"):
                attributes[each.name] = int(each.i)
        yield Use(node.domain if node.domain not in STANDARD else "", node.op_type, attributes)


def _tensor(info: Foreign) -> Tensor:
    onnx = load_library("onnx", "read ONNX files")
    kind = info.type.tensor_type
    # A size below 1 (PaddlePaddle writes -1) leaves it as open as none at all.
    shape = tuple(int(size.dim_value) if size.dim_value > 0 else str(size.dim_param or "?") for size in kind.shape.dim)
    types = onnx.TensorProto.DataType
    known = kind.elem_type in types.values()  # a damaged or newer file may name another
    dtype = types.Name(kind.elem_type).lower() if known else f"type {kind.elem_type}"
    return Tensor(str(info.name), "float32" if dtype == "float" else dtype, shape)


def _external(path: Path, weights: Sequence[Foreign]) -> tuple[str, ...]:
    """Name the files beside the model that hold its weights. Raises ForgeError unless each lies there, long enough."""
    ends: dict[str, int] = {}
    for each in weights:
        entries = {entry.key: entry.value for entry in each.external_data}
        if "location" not in entries:
            continue
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
        ends[entries["location"]] = max(end, ends.get(entries["location"], 0))
    for name, end in ends.items():
        file = path.parent / name
        if Path(name).is_absolute() or ".." in Path(name).parts:
            msg = f"{path} wants weights from {name}, outside of its folder: this is refused"
            raise ForgeError(msg)
        if not file.is_file() or file.stat().st_size < end:
            there = f"has {file.stat().st_size} of {end} bytes" if file.is_file() else "is missing"
            msg = f"{path} keeps its weights in {name}, which {there}: put the whole file beside it"
            raise ForgeError(msg)
    return tuple(ends)


def fixed_shape(graph: Graph, tensor: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Give the shape that an input is converted with: its own, where ``shapes`` does not say otherwise, batch 1.

    Args:
        graph: the graph.
        tensor: one of its inputs.
        shapes: input's name to shape, as the user gave them.

    Raises:
        ForgeError: a size is open and not given, or the one given contradicts the graph.
    """
    unknown = sorted(set(shapes) - {each.name for each in graph.inputs})
    if unknown:
        there = ", ".join(each.name for each in graph.inputs)
        msg = f"--shape names {', '.join(unknown)}; the inputs of {graph.path} are {there}"
        raise ForgeError(msg)
    wanted: tuple[Dimension, ...] = shapes.get(tensor.name, (1, *tensor.shape[1:]))
    sizes = tuple(size for size in wanted if isinstance(size, int))
    if len(sizes) != len(wanted) or not wanted:
        example = "x".join(str(size) if isinstance(size, int) else "N" for size in wanted) or "1x3x224x224"
        msg = (
            f"the input {tensor} of {graph.path} leaves sizes open; the Edge TPU wants them fixed: "
            f"--shape {tensor.name}={example} with every size given"
        )
        raise ForgeError(msg)
    fits = len(sizes) == len(tensor.shape) and all(
        not isinstance(own, int) or own == given for own, given in zip(tensor.shape[1:], sizes[1:], strict=True)
    )
    if not fits or sizes[0] != 1 or min(sizes) < 1:
        given_text = "x".join(map(str, sizes))
        msg = f"--shape {tensor.name}={given_text} contradicts {tensor} of {graph.path}, or its batch is not 1"
        raise ForgeError(msg)
    return sizes


def layout_of(shape: Sequence[int], wanted: Layout | None = None) -> Layout:
    """Say where the channels of an input stand: as told, or as its sizes suggest.

    ONNX does not say it. Exporters put them behind the batch (``1x3x224x224``), except those that came from Keras
    (``1x224x224x3``): there the last size is that of a picture's colours and the second is not.
    """
    if wanted is not None:
        return wanted
    colours = (1, 3, 4)
    return "last" if len(shape) > 2 and shape[-1] in colours and shape[1] not in colours else "first"  # noqa: PLR2004 - rank


def device_shape(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """Give the shape the appliance feeds: channels last, as TFLite and the Edge TPU have it."""
    if layout == "last" or len(shape) < 3:  # noqa: PLR2004 - below that there are no channels apart from features
        return tuple(shape)
    return (shape[0], *shape[2:], shape[1])
