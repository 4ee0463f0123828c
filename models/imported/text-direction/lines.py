"""Lines of text as a camera sees labels and signs: drawn, lit, blurred. Seeded; no picture of anybody's."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_COMPLEX_SMALL,
)
"""Drawn by OpenCV itself: nothing is loaded. Version 5 draws them in other letters than version 4."""
LETTERS = string.ascii_letters + string.digits
CHARACTERS_MIN, CHARACTERS_MAX = 5, 14
CONTRAST_MIN = 60
"""Grey levels between ink and paper."""
TILT_DEGREES = 4.0


def picture(rng: np.random.Generator, *, upside_down: bool) -> Picture:
    """Draw a line of random letters, tightly cut, uint8 ``[height, width, 3]`` of varying size."""
    text = "".join(rng.choice(list(LETTERS + "   "), int(rng.integers(CHARACTERS_MIN, CHARACTERS_MAX + 1)))).strip()
    font, scale = int(rng.choice(FONTS)), float(rng.uniform(1.0, 2.2))
    thickness = int(rng.integers(1, 5))
    (width, height), below = cv2.getTextSize(text or "x", font, scale, thickness)
    margin_px = int(rng.integers(4, 16))
    paper, ink = _colours(rng)
    canvas = np.full((height + below + 2 * margin_px, width + 2 * margin_px, 3), paper, np.uint8)
    cv2.putText(canvas, text or "x", (margin_px, margin_px + height), font, scale, ink, thickness, cv2.LINE_AA)
    seen = _seen(rng, canvas, paper)
    return np.ascontiguousarray(seen[::-1, ::-1]) if upside_down else seen


def _colours(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Choose paper and ink that differ, dark on light or light on dark."""
    paper = rng.integers(0, 256, 3)
    lighter = paper.mean() < 128  # noqa: PLR2004 - the middle grey
    step = rng.integers(CONTRAST_MIN, 128, 3) * (1 if lighter else -1)
    ink = np.clip(paper + step, 0, 255)
    return tuple(int(each) for each in paper), tuple(int(each) for each in ink)


def _seen(rng: np.random.Generator, canvas: Picture, paper: tuple[int, ...]) -> Picture:
    """Tilt, light unevenly, blur and add noise."""
    height, width = canvas.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-TILT_DEGREES, TILT_DEGREES)), 1.0)
    tilted = cv2.warpAffine(canvas, turn, (width, height), borderValue=paper)
    light = np.linspace(rng.uniform(0.7, 1.15), rng.uniform(0.7, 1.15), width)[np.newaxis, :, np.newaxis]
    blurred = cv2.GaussianBlur(tilted * light, (0, 0), float(rng.uniform(0.3, 1.6)))
    noisy = blurred + rng.normal(0, rng.uniform(0, 8), canvas.shape)
    whole: Picture = np.clip(noisy, 0, 255).astype(np.uint8)
    return whole
