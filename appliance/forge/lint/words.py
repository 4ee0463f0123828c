"""The Edge TPU compiler's words for what it does with an operator, and where each rule is written down.

The compiler (edgetpu_compiler 16.0.384591198 is the last one) is closed; its rules are documented in the pages and
files of :class:`Source`. Nothing here was taken from the program itself.
"""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What stands in the last column of the compiler's log, or in its error."""

    MAPPED = "Mapped to Edge TPU"
    SUBGRAPH = "More than one subgraph is not supported"
    UNSUPPORTED = "Operation not supported"
    VERSION = "Operation version not supported"
    DATA_TYPE = "Operation is working on an unsupported data type"
    RANK = "Tensor has unsupported rank (up to 3 innermost dimensions mapped)"
    NOT_CONSTANT = "Filter, bias, or other param is not constant at compile-time"
    OUTPUT_2D = "For example, a fully-connected or softmax layer with 2D output"
    LIMIT = "Operation is otherwise supported, but not mapped due to some unspecified limitation"
    DYNAMIC = "Attempting to use dynamic-sized tensors"
    UNKNOWN = "Didn't find op for builtin opcode"
    NOT_QUANTISED = "Model not quantized"
    FAILED = "Compilation failed!"


class Source(StrEnum):
    """Where a rule is documented."""

    REQUIREMENTS = "coral.ai/docs/edgetpu/models-intro, Model requirements"
    OPERATIONS = "coral.ai/docs/edgetpu/models-intro, Supported operations"
    COMPILING = "coral.ai/docs/edgetpu/models-intro, Compiling"
    """The first operator that is not supported parts the graph in two; the second part stays on the CPU."""
    COMPILER = "coral.ai/docs/edgetpu/compiler"
    CACHING = "coral.ai/docs/edgetpu/compiler, Parameter data caching"
    PARTITION = "tensorflow/lite/graph_info.cc, PartitionGraphIntoIndependentNodeSubsets"
    SCHEMA = "tensorflow/lite/schema/schema.fbs"
    RUNTIME_VERSIONS = "tensorflow/lite/tools/versioning/runtime_version.cc"
    LOGS = "compiler logs in issues of google-coral/edgetpu"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an operator cannot be mapped."""

    status: Status
    why: str
    """Completes "<operator> stays on the CPU: "."""
    fix: str
    """What the person who trains or converts the model can do."""
    source: Source
