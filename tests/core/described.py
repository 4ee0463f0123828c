"""Models as their descriptions say them, with no file behind: enough for the arithmetic, which never opens one."""

from collections.abc import Mapping

import numpy as np
from hypothesis import strategies as st

from appliance.core.model import Decode, Dtype, Golden, Model, Preprocess, ScoreDecode, Task, TensorSpec
from appliance.core.types import Array, FrameKind

FLOAT32 = TensorSpec("float", (1, 1), Dtype.FLOAT32)
LIMITS = {Dtype.INT8: (-128, 127), Dtype.UINT8: (0, 255)}


def described(
    *,
    given: TensorSpec = FLOAT32,
    preprocess: Preprocess | None = None,
    outputs: Mapping[str, TensorSpec] | None = None,
    decode: Decode | None = None,
    labels: tuple[str, ...] = (),
) -> Model:
    """Describe a model by the parts a test is about."""
    return Model(
        name="described",
        version="1.0.0",
        task=Task.SCORE,
        description="",
        licence="",
        source="",
        input=given,
        preprocess=preprocess or Preprocess(FrameKind.RECORD, (0.0,), (1.0,)),
        outputs=outputs or {},
        decode=decode or ScoreDecode("none", "score"),
        labels=labels,
        golden=Golden((), (), {}),
        tflite=b"",
        sha256="",
    )


@st.composite
def quantised_specs(draw: st.DrawFn, shape: tuple[int, ...] = (1, 1)) -> TensorSpec:
    """Draw int8 and uint8 tensors; zero points at both ends of the dtype come up often."""
    dtype = draw(st.sampled_from(tuple(LIMITS)))
    low, high = LIMITS[dtype]
    zero_point = draw(st.sampled_from((low, high)) | st.integers(low, high))
    scale = draw(st.floats(2**-13, 10.0, width=32))
    return TensorSpec("drawn", shape, dtype, scale, zero_point)


def all_values(spec: TensorSpec) -> Array:
    """Return every value of an integer tensor's dtype, rising."""
    low, high = LIMITS[spec.dtype]
    return np.arange(low, high + 1).astype(spec.dtype.numpy)
