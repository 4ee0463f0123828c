"""A camera frame drawn in the terminal: two pixels a character cell, boxes around what was found."""

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np
from rich.color import Color
from rich.style import Style
from rich.text import Text

from appliance.core.types import Array, Prediction

UPPER_HALF = "▀"
COLOUR_BITS_KEPT = 0b1111_1000
"""Five bits a channel: the eye sees no difference, and few enough styles are left to keep them."""
STYLES_MAX = 8192
BOX_BGR = (64, 255, 64)


def draw(picture: Array, predictions: Iterable[Prediction], *, columns: int) -> Text:
    """Return ``picture`` (uint8 ``[height, width, 3]`` BGR) as text ``columns`` wide, with the predictions' boxes.

    Each character is the upper half block: its foreground is one pixel, its background the pixel below.
    """
    height, width = picture.shape[:2]
    rows = max(2, round(columns * height / width / 2) * 2)
    small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    for prediction in predictions:
        if prediction.box is not None:
            box = prediction.box
            corner = (int(box.xmin * (columns - 1)), int(box.ymin * (rows - 1)))
            opposite = (int(box.xmax * (columns - 1)), int(box.ymax * (rows - 1)))
            cv2.rectangle(small, corner, opposite, BOX_BGR, thickness=1)
    lines = (np.asarray(small, np.uint8) & COLOUR_BITS_KEPT).tolist()
    text = Text(no_wrap=True, end="")
    for upper, lower in zip(lines[::2], lines[1::2], strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append(UPPER_HALF, _style(*above, *below))
        text.append("\n")
    return text


@lru_cache(maxsize=STYLES_MAX)
def _style(*bgr: int) -> Style:
    """Two BGR pixels as the colours of one character, the upper in front."""
    return Style(color=Color.from_rgb(*bgr[2::-1]), bgcolor=Color.from_rgb(*bgr[:2:-1]))
