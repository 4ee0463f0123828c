"""The pictures of Debian's opencv-doc: what the detector is calibrated with, each as the network wants it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from appliance.errors import ForgeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]

OPENCV_DOC = Path("/usr/share/doc/opencv-doc/examples/data")
HOW_TO_GET = "apt-get install opencv-doc (Debian 12), or unpack it with dpkg-deb -x and pass --opencv-doc"
FOOTAGE = "vtest.avi"
FOOTAGE_SHA256 = "45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf"
STILLS_SHA256 = "106f8a984c84db6fe98b11cd3d9142b596ebb5cbb611ec30c8caf77504d7db08"
"""Of every still's name and content, in the order of names."""
STILL_SIDE_MIN_PX = 200
SIDE_PX = 300
MEAN, STD = 127.5, 127.5

CALIBRATION_FRAMES = range(0, 300, 10)
CROPPED_FRAMES = range(5, 300, 10)
CROPS_A_FRAME = 2
CROP_PX = (345, 460)
"""Height and width, as a tile of 2 x 2 with an overlap of 0.3 or so: people in it are as large as tiles show them."""
CROP_SEED = 0


def normalised(bgr: Array) -> Array:
    """Give a picture as the network wants it: float32 [300, 300, 3] RGB in -1..1."""
    rgb = cv2.resize(bgr, (SIDE_PX, SIDE_PX))[:, :, ::-1]
    picture: Array = ((rgb.astype(np.float32) - MEAN) / STD).astype(np.float32)
    return picture


def frames(video: Path, wanted: Iterable[int]) -> Iterator[tuple[int, Array]]:
    """Give these frames of a video with their numbers from 0, ascending, uint8 BGR as decoded.

    Raises:
        ForgeError: it ends before.
    """
    numbers = set(wanted)
    capture = cv2.VideoCapture(str(video))
    for number in range(max(numbers) + 1):
        read, bgr = capture.read()
        if not read:
            msg = f"{video} ends before frame {number}: is it the whole file?"
            raise ForgeError(msg)
        if number in numbers:
            yield number, bgr


class Pictures:
    """The folder, checked to hold what is meant."""

    def __init__(self, folder: Path) -> None:
        """Check the footage and the stills by their digests.

        Raises:
            ForgeError: they are missing, or others.
        """
        self._folder = folder
        self._stills = list(_stills(folder))
        digest = hashlib.sha256()
        for path, _ in self._stills:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        footage = folder / FOOTAGE
        content = footage.read_bytes() if footage.is_file() else b""
        if hashlib.sha256(content).hexdigest() != FOOTAGE_SHA256 or digest.hexdigest() != STILLS_SHA256:
            msg = f"{folder} does not hold the pictures of opencv-doc 4.6.0+dfsg-12: {HOW_TO_GET}"
            raise ForgeError(msg)

    def still(self, name: str) -> Array:
        """Give one still, uint8 BGR. Raises KeyError."""
        return {path.name: bgr for path, bgr in self._stills}[name]

    def of_footage(self, numbers: Iterable[int]) -> Iterator[Array]:
        """Give these frames of the footage, normalised."""
        for _, bgr in frames(self._folder / FOOTAGE, numbers):
            yield normalised(bgr)

    def crops(self) -> Iterator[Array]:
        """Give pieces of the footage of a tile's size, normalised."""
        rng = np.random.default_rng(CROP_SEED)
        height_px, width_px = CROP_PX
        for _, bgr in frames(self._folder / FOOTAGE, CROPPED_FRAMES):
            for _ in range(CROPS_A_FRAME):
                top = rng.integers(0, bgr.shape[0] - height_px + 1)
                left = rng.integers(0, bgr.shape[1] - width_px + 1)
                yield normalised(bgr[top : top + height_px, left : left + width_px])

    def scene(self) -> list[Array]:
        """Give whole frames and pieces of frames: what the detector is for."""
        return [*self.of_footage(CALIBRATION_FRAMES), *self.crops()]

    def calibration(self) -> list[Array]:
        """Give all of it: the scene, and stills of all sorts so that other scenes do not saturate."""
        return [*self.scene(), *(normalised(bgr) for _, bgr in self._stills)]


def _stills(folder: Path) -> Iterator[tuple[Path, Array]]:
    """Give every still that is large enough to be a scene, ordered by name."""
    for path in sorted([*folder.glob("*.jpg"), *folder.glob("*.png")]):
        bgr = cv2.imread(str(path))
        if bgr is not None and min(bgr.shape[:2]) > STILL_SIDE_MIN_PX:
            yield path, bgr
