"""A flatbuffer as the device would use it: prepared, decoded and merged by the appliance's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from appliance.core.decode import decode, merge
from appliance.core.model import Golden, Model, Preprocess, SsdRawDecode, Task
from appliance.core.preprocess import Preprocessor
from appliance.core.types import Frame, FrameKind
from appliance.forge.run import Runner
from models.person.graph import SHAPES
from models.person.pictures import MEAN, STD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from appliance.core.tiling import Tiling

    Array = NDArray[Any]

BOX_SCALES = (10.0, 10.0, 5.0, 5.0)
IOU_MAX = 0.6
DETECTIONS_MAX = 100
SCORE_MIN = 0.05
"""When measuring; the folder's own is higher, and a curve of precision over recall needs the lower part too."""


class Detector:
    """Finds people in pictures of any size."""

    def __init__(self, tflite: bytes, anchors: Array, tiling: Tiling | None = None) -> None:
        """Load INT8 or float.

        Raises:
            ForgeError: the flatbuffer does not run.
        """
        self._runner = Runner(tflite, SHAPES)
        self._model = Model(
            name="person",
            version="0",
            task=Task.DETECT,
            description="",
            licence="",
            source="",
            input=self._runner.input.spec,
            preprocess=Preprocess(FrameKind.IMAGE, (MEAN,) * 3, (STD,) * 3),
            outputs={role: tensor.spec for role, tensor in self._runner.outputs.items()},
            decode=SsdRawDecode(anchors, BOX_SCALES, True, SCORE_MIN, IOU_MAX, DETECTIONS_MAX),
            labels=("person",),
            golden=Golden((), (), {}),
            tflite=tflite,
            sha256="",
        )
        self._prepare = Preprocessor(self._model, None, tiling)

    def __call__(self, bgr: Array) -> Array:
        """Give float [n, 5] xmin, ymin, xmax, ymax in pixels and score, best first."""
        parts = self._prepare(Frame(FrameKind.IMAGE, bgr, captured_s=0.0, seq=0))
        read = [decode(self._runner.run(part.tensor), part, self._model) for part in parts]
        height, width = bgr.shape[:2]
        rows = [
            (each.box.xmin * width, each.box.ymin * height, each.box.xmax * width, each.box.ymax * height, each.score)
            for each in merge(read, parts, self._model)
            if each.box is not None
        ]
        return np.array(rows).reshape(-1, 5)
