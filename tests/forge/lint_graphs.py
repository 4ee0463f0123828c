"""Graphs of one or two operators that keep to a rule of the Edge TPU compiler, or break it."""

from tests.forge.graphs import RELU, Foreign, GraphBuilder, convolution, dense

IMAGE = (1, 4, 4, 4)
ROW = (1, 4)


def unary(
    name: str,
    shape: tuple[int, ...] = IMAGE,
    output: tuple[int, ...] | None = None,
    *,
    extra: tuple[tuple[float, ...], ...] = (),
    options: tuple[str, dict[str, Foreign]] | None = None,
    version: int = 1,
) -> bytes:
    """One operator on one input, with constant parameters behind it."""
    builder = GraphBuilder()
    inputs = [builder.source(shape), *(builder.constant(values) for values in extra)]
    made = builder.operator(name, inputs, output or shape, version=version, options=options)
    return builder.ending(made).flatbuffer()


def supported(*, breaks: bool) -> bytes:
    return unary("LEAKY_RELU" if breaks else "RELU", version=2)


def float_output(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    first = builder.operator("RELU", (builder.source(IMAGE),), IMAGE, version=2)
    if not breaks:
        return builder.ending(builder.operator("LOGISTIC", (first,), IMAGE, version=2)).flatbuffer()
    wide = builder.tensor(IMAGE, "FLOAT32")
    return builder.ending(builder.operator("DEQUANTIZE", (first,), wide, version=2)).flatbuffer()


def no_scale(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    made = builder.tensor(IMAGE, scales=() if breaks else (0.5,))
    return builder.ending(builder.operator("RELU", (source,), made, version=2)).flatbuffer()


def two_scales(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    made = builder.tensor(IMAGE, scales=(0.5, 0.5, 0.5, 0.5) if breaks else (0.5,))
    return builder.ending(builder.operator("RELU", (source,), made, version=2)).flatbuffer()


def wide_operand(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    other = builder.source(IMAGE, "INT16", scales=(0.5,)) if breaks else builder.source(IMAGE)
    options = ("AddOptions", dict[str, Foreign]())
    return builder.ending(builder.operator("ADD", (source, other), IMAGE, version=2, options=options)).flatbuffer()


def wide_bias(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(ROW)
    weights = builder.tensor((4, 4), values=(1,))
    bias = builder.tensor((4,), "INT64" if breaks else "INT32", values=(0,), scales=(0.25,))
    options = ("FullyConnectedOptions", dict[str, Foreign]())
    made = builder.operator("FULLY_CONNECTED", (source, weights, bias), ROW, version=4, options=options)
    return builder.ending(made).flatbuffer()


def float_input(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(IMAGE, "FLOAT32" if breaks else "UINT8")
    made = builder.tensor(IMAGE, scales=(0.5,))
    return builder.ending(builder.operator("QUANTIZE", (source,), made, version=1 if breaks else 2)).flatbuffer()


def rank(*, breaks: bool) -> bytes:
    return unary("RELU", (2, 4, 4, 4) if breaks else (1, 1, 4, 4, 4), version=2)


def dense_version(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    return builder.ending(dense(builder, builder.source(ROW), version=5 if breaks else 4)).flatbuffer()


def resize_version(*, breaks: bool) -> bytes:
    options = ("ResizeNearestNeighborOptions", dict[str, Foreign]())
    version = 4 if breaks else 3
    return unary("RESIZE_NEAREST_NEIGHBOR", IMAGE, (1, 8, 8, 4), extra=((8, 8),), options=options, version=version)


def computed_weights(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(ROW)
    weights = builder.source((4, 4)) if breaks else builder.tensor((4, 4), values=(1,))
    options = ("FullyConnectedOptions", dict[str, Foreign]())
    made = builder.operator("FULLY_CONNECTED", (source, weights, -1), ROW, version=4, options=options)
    return builder.ending(made).flatbuffer()


def computed_axis(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    axis = builder.source((1,), "INT32") if breaks else builder.constant((1,))
    options = ("ReducerOptions", {"keepDims": True})
    made = builder.operator("SUM", (source, axis), (1, 1, 4, 4), version=2, options=options)
    return builder.ending(made).flatbuffer()


def fused_pool(*, breaks: bool) -> bytes:
    table = {"filterWidth": 2, "filterHeight": 2, "strideW": 2, "strideH": 2}
    options = ("Pool2DOptions", {**table, "fusedActivationFunction": RELU if breaks else 0})
    return unary("MAX_POOL_2D", IMAGE, (1, 2, 2, 4), options=options, version=2)


def fused_average(*, breaks: bool) -> bytes:
    table = {"filterWidth": 2, "filterHeight": 2, "strideW": 2, "strideH": 2}
    options = ("Pool2DOptions", {**table, "fusedActivationFunction": RELU if breaks else 0})
    return unary("AVERAGE_POOL_2D", IMAGE, (1, 2, 2, 4), options=options, version=2)


def concatenate(values: tuple[float, ...] = (), *, inputs: int = 2, fused: int = 0) -> bytes:
    """Concatenate inputs of the graph and, when there are values, one constant; the zero point of all is 3."""
    builder = GraphBuilder()
    joined = [builder.source(IMAGE, zero_point=3) for _ in range(inputs)]
    if values:
        joined.append(builder.tensor(IMAGE, values=values, zero_point=3))
    made = builder.tensor((1, 4, 4, 4 * len(joined)), zero_point=3)
    options = ("ConcatenationOptions", {"axis": 3, "fusedActivationFunction": fused})
    return builder.ending(builder.operator("CONCATENATION", joined, made, version=2, options=options)).flatbuffer()


def fused_concatenation(*, breaks: bool) -> bytes:
    return concatenate(fused=RELU if breaks else 0)


def constant_concatenation(*, breaks: bool) -> bytes:
    return concatenate((0,) if breaks else (3,), inputs=1)  # 3 is the zero point: real zeros


def third_concatenation(*, breaks: bool) -> bytes:
    return concatenate((3,), inputs=2 if breaks else 1)


def dilation(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    options = {"dilationWFactor": 2, "dilationHFactor": 1 if breaks else 2}
    return builder.ending(convolution(builder, builder.source(IMAGE), **options)).flatbuffer()


def depthwise_dilation(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    weights = builder.tensor((1, 1, 1, 4), values=(1,))
    bias = builder.tensor((4,), "INT32", values=(0,), scales=(0.25,))
    table = {"strideW": 1, "strideH": 1, "depthMultiplier": 1, "dilationHFactor": 2}
    options = ("DepthwiseConv2DOptions", {**table, "dilationWFactor": 1 if breaks else 2})
    made = builder.operator("DEPTHWISE_CONV_2D", (source, weights, bias), IMAGE, version=3, options=options)
    return builder.ending(made).flatbuffer()


def groups(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    return builder.ending(convolution(builder, builder.source(IMAGE), channels=2 if breaks else 4)).flatbuffer()


def shuffled(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    options = ("FullyConnectedOptions", {"weightsFormat": 1 if breaks else 0})
    return builder.ending(dense(builder, builder.source(ROW), options=options)).flatbuffer()


def per_channel_dense(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(ROW)
    weights = builder.tensor((4, 4), values=(1,), scales=(0.5, 0.25, 0.5, 0.5) if breaks else (0.5,))
    options = ("FullyConnectedOptions", dict[str, Foreign]())
    made = builder.operator("FULLY_CONNECTED", (source, weights, -1), ROW, version=4, options=options)
    return builder.ending(made).flatbuffer()


def rows_of_dense(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    rows = 3 if breaks else 1
    source, weights = builder.source((rows, 4)), builder.tensor((4, 4), values=(1,))
    options = ("FullyConnectedOptions", dict[str, Foreign]())
    made = builder.operator("FULLY_CONNECTED", (source, weights, -1), (rows, 4), version=4, options=options)
    return builder.ending(made).flatbuffer()


def softmax(shape: tuple[int, ...]) -> bytes:
    builder = GraphBuilder()
    source, made = builder.source(shape), builder.tensor(shape, scales=(1 / 256,), zero_point=-128)
    options = ("SoftmaxOptions", {"beta": 1.0})
    return builder.ending(builder.operator("SOFTMAX", (source,), made, version=2, options=options)).flatbuffer()


def reduce(name: str, axes: tuple[int, ...], output: tuple[int, ...], depth: int = 4) -> bytes:
    options = ("ReducerOptions", {"keepDims": True})
    return unary(name, (1, 4, 4, depth), output, extra=(axes,), options=options, version=2)


def reduction(name: str, *, breaks: bool) -> bytes:
    return reduce(name, (-4 if breaks else 1,), (1, 4 if breaks else 1, 4, 4))


def pack(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    sources = [builder.source(ROW), builder.source(ROW)]
    options = ("PackOptions", {"valuesCount": 2, "axis": -3 if breaks else 1})  # -3 is dimension 0 of [2, 1, 4]
    shape = (2, 1, 4) if breaks else (1, 2, 4)
    return builder.ending(builder.operator("PACK", sources, shape, version=2, options=options)).flatbuffer()


def pad(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    batch = 0 if not breaks else 1
    paddings = builder.tensor((3, 2), "INT32", values=(0, batch, 1, 1, 0, 0))
    made = builder.operator("PAD", (builder.source((1, 4, 4)), paddings), (1 + batch, 6, 4), version=2)
    return builder.ending(made).flatbuffer()


def split(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    axis = builder.tensor((), "INT32", values=(0 if breaks else 2,))
    source = builder.source((2, 4, 4))
    shape = (1, 4, 4) if breaks else (2, 4, 2)
    options = ("SplitOptions", {"numSplits": 2})
    made = builder.operator("SPLIT", (axis, source), shape, version=2, options=options)
    builder.operators[-1].outputs.append(builder.tensor(shape))
    return builder.ending(made).flatbuffer()


def prelu(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    source = builder.source(IMAGE)
    alpha = builder.tensor((4, 4, 4) if breaks else (1, 1, 4), values=(1,))
    return builder.ending(builder.operator("PRELU", (source, alpha), IMAGE)).flatbuffer()


def strided(stride: int, **masks: int) -> bytes:
    builder = GraphBuilder()
    bounds = [builder.constant((0, 0, 0, 0)), builder.constant((1, 4, 4, 4)), builder.constant((1, stride, 1, 1))]
    inputs = (builder.source(IMAGE), *bounds)
    options = ("StridedSliceOptions", dict[str, Foreign](masks))
    made = builder.operator("STRIDED_SLICE", inputs, (1, 4 // stride, 4, 4), version=2, options=options)
    return builder.ending(made).flatbuffer()


def follows(*, breaks: bool) -> bytes:
    builder = GraphBuilder()
    first = builder.operator("RELU", (builder.source(IMAGE),), IMAGE, version=2)
    options = ("LeakyReluOptions", {"alpha": 0.1}) if breaks else None
    second = builder.operator("LEAKY_RELU" if breaks else "RELU6", (first,), IMAGE, version=2, options=options)
    return builder.ending(builder.operator("RELU", (second,), IMAGE, version=2)).flatbuffer()
