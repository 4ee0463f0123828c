"""A camera frame drawn in the terminal: two pixels a character cell, boxes around what was found."""

from collections.abc import Iterable

import cv2
from rich.color import Color
from rich.style import Style
from rich.text import Text

from appliance.core.types import Array, Prediction

UPPER_HALF = "▀"
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
    text = Text(no_wrap=True, end="")
    for row in range(0, rows, 2):
        for column in range(columns):
            text.append(UPPER_HALF, Style(color=_colour(small[row, column]), bgcolor=_colour(small[row + 1, column])))
        text.append("\n")
    return text


def _colour(pixel: Array) -> Color:
    """A terminal colour from a BGR pixel."""
    return Color.from_rgb(int(pixel[2]), int(pixel[1]), int(pixel[0]))
