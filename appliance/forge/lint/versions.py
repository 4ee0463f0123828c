"""Which operators and versions of them the compiler's own TFLite knows.

edgetpu_compiler 16.0 was built in July 2021; of a file with an operator that came into TFLite later it says "Didn't
find op for builtin opcode ... Model could not be parsed" and compiles nothing. Reported so for CONV_2D 6, QUANTIZE 3,
TRANSPOSE_CONV 4 and EXP 2 (issues 631, 879 and 845 of google-coral/edgetpu, 71 of google-coral/libedgetpu), which came
with TensorFlow 2.7 and later. The table holds what TensorFlow 2.6 had, from
tensorflow/lite/tools/versioning/runtime_version.cc.
"""

from collections.abc import Mapping

LAST_CODE = 145
"""BROADCAST_ARGS, the last builtin operator of TensorFlow 2.6."""

KNOWN: Mapping[str, int] = {
    "ABS": 4,
    "ADD": 4,
    "ARG_MAX": 2,
    "ARG_MIN": 2,
    "AVERAGE_POOL_2D": 3,
    "BATCH_MATMUL": 4,
    "BATCH_TO_SPACE_ND": 3,
    "BIDIRECTIONAL_SEQUENCE_LSTM": 3,
    "BIDIRECTIONAL_SEQUENCE_RNN": 3,
    "BROADCAST_TO": 3,
    "CONCATENATION": 3,
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 6,
    "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 4,
    "DIV": 2,
    "EMBEDDING_LOOKUP": 3,
    "EQUAL": 3,
    "FAKE_QUANT": 2,
    "FILL": 3,
    "FLOOR_DIV": 2,
    "FULLY_CONNECTED": 9,
    "GATHER": 5,
    "GATHER_ND": 3,
    "GREATER": 2,
    "GREATER_EQUAL": 2,
    "L2_NORMALIZATION": 2,
    "LEAKY_RELU": 2,
    "LESS": 2,
    "LESS_EQUAL": 2,
    "LOGISTIC": 3,
    "LOG_SOFTMAX": 2,
    "LSTM": 4,
    "MAXIMUM": 4,
    "MAX_POOL_2D": 3,
    "MEAN": 3,
    "MINIMUM": 4,
    "MIRROR_PAD": 2,
    "MUL": 5,
    "NOT_EQUAL": 3,
    "PACK": 3,
    "PAD": 4,
    "PADV2": 4,
    "QUANTIZE": 2,
    "REDUCE_MAX": 3,
    "REDUCE_MIN": 3,
    "REDUCE_PROD": 2,
    "RELU": 3,
    "RELU6": 3,
    "RESIZE_BILINEAR": 4,
    "RESIZE_NEAREST_NEIGHBOR": 4,
    "REVERSE_V2": 3,
    "RNN": 3,
    "RSQRT": 2,
    "SELECT": 2,
    "SLICE": 5,
    "SOFTMAX": 3,
    "SPACE_TO_BATCH_ND": 3,
    "SPACE_TO_DEPTH": 2,
    "SPARSE_TO_DENSE": 3,
    "SPLIT": 4,
    "SPLIT_V": 2,
    "SQUARED_DIFFERENCE": 2,
    "SQUEEZE": 2,
    "STRIDED_SLICE": 6,
    "SUB": 5,
    "SUM": 2,
    "SVDF": 4,
    "TANH": 3,
    "TILE": 2,
    "TOPK_V2": 2,
    "TRANSPOSE": 5,
    "TRANSPOSE_CONV": 3,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 3,
    "UNIDIRECTIONAL_SEQUENCE_RNN": 3,
    "UNPACK": 4,
}
"""Operator to its last version there; 1 for operators that are not named."""


def known(name: str, code: int, version: int) -> bool:
    """Say whether the compiler can parse an operator at all; custom operators it passes on."""
    return name == "CUSTOM" or (code <= LAST_CODE and version <= KNOWN.get(name, 1))


FIXES: Mapping[str, str] = {
    "FULLY_CONNECTED": "quantise with per-tensor dense layers (forge quantize does)",
    "TRANSPOSE_CONV": "keep the activation apart from the transposed convolution, or resize and convolve instead",
}
FIX = "convert with TensorFlow 2.6 or earlier, or build the network without it"


def fix(name: str) -> str:
    """Say what helps against a version that is too new."""
    return FIXES.get(name, FIX)
