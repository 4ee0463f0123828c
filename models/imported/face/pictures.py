"""Pictures with faces: photographs whose licence is clear, put together anew. Seeded.

Few photographs of people may be redistributed. Four of them, one a portrait of an astronaut by NASA, are pasted in
many sizes, places and lights onto others without a face. That is enough to calibrate a network and to compare it with
itself; it is no test of how well it finds faces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from appliance.errors import ForgeError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

PEOPLE = ("messi5.jpg", "basketball1.png", "basketball2.png")
"""Of Debian's opencv-doc (Apache-2.0)."""
PLACES = ("home.jpg", "building.jpg", "board.jpg", "stuff.jpg", "fruits.jpg", "graf1.png", "aero1.jpg", "butterfly.jpg")
"""Of opencv-doc too: nobody is in them."""
HEIGHT_PX, WIDTH_PX = 256, 320
SHARE_MIN, SHARE_MAX = 0.45, 1.4
"""How high a pasted photograph is, as a share of the picture's height."""


def photographs(folder: Path, names: tuple[str, ...]) -> list[Picture]:
    """Read pictures of opencv-doc. Raises ForgeError when one is missing."""
    pictures = []
    for name in names:
        picture = cv2.imread(str(folder / name))
        if picture is None:
            msg = f"{folder / name} is missing: apt-get install opencv-doc, or --pictures FOLDER"
            raise ForgeError(msg)
        pictures.append(picture.astype(np.uint8))
    return pictures


def astronaut(content: bytes) -> Picture:
    """Read the astronaut's PNG."""
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None, "a file of a known digest can be read"
    return picture.astype(np.uint8)


def composed(rng: np.random.Generator, people: list[Picture], places: list[Picture]) -> Picture:
    """Paste one photograph of people onto one of a place, uint8 [256, 320, 3]."""
    place = cv2.resize(places[int(rng.integers(len(places)))], (WIDTH_PX, HEIGHT_PX)).astype(np.float64)
    photograph = people[int(rng.integers(len(people)))]
    scale = float(rng.uniform(SHARE_MIN, SHARE_MAX)) * HEIGHT_PX / photograph.shape[0]
    pasted = cv2.resize(photograph, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:  # noqa: PLR2004 - every second
        pasted = pasted[:, ::-1]
    top = int(rng.integers(min(0, HEIGHT_PX - pasted.shape[0]), max(0, HEIGHT_PX - pasted.shape[0]) + 1))
    left = int(rng.integers(min(0, WIDTH_PX - pasted.shape[1]), max(0, WIDTH_PX - pasted.shape[1]) + 1))
    seen = pasted[max(0, -top) : HEIGHT_PX - top, max(0, -left) : WIDTH_PX - left]
    place[max(0, top) : max(0, top) + seen.shape[0], max(0, left) : max(0, left) + seen.shape[1]] = seen
    lit = place * rng.uniform(0.6, 1.3) + rng.uniform(-20, 20) + rng.normal(0, rng.uniform(0, 6), place.shape)
    whole: Picture = np.clip(lit, 0, 255).astype(np.uint8)
    return whole
