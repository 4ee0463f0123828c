"""A seeded world to inspect: a plate under a camera, sound or with one of nine faults, seen in two places.

Place A has bright even light and a large plate; place B dim, warm light that falls off, noise and a small plate. So a
network that learned in A has a reason to be updated for B, as one does that moves to another line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

SIDE_PX = 96
FAULTS = ("sound", "scratch", "crack", "hole", "dent", "stain", "chip", "rust", "no screw", "burr")
ADDED = ("bent", "tape")
"""What a later version tells apart too."""

_AXIS = np.linspace(-1.0, 1.0, SIDE_PX)
X, Y = np.meshgrid(_AXIS, _AXIS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the camera hangs."""

    light: tuple[float, float, float]
    """What arrives of red, green and blue, 0..1."""
    falloff: float
    """How much darker the corners are, 0..1."""
    noise: float
    """Standard deviation, of full white."""
    radius: tuple[float, float]
    """Of the plate, least and largest, in half pictures."""


A = Place(light=(0.95, 0.95, 0.95), falloff=0.1, noise=0.02, radius=(0.66, 0.78))
B = Place(light=(0.72, 0.6, 0.48), falloff=0.5, noise=0.06, radius=(0.5, 0.62))


@dataclass(slots=True, eq=False)
class Plate:
    """A plate while it is being drawn."""

    rng: np.random.Generator
    picture: Array
    """float64 ``[side, side, 3]``, 0..1."""
    u: Array
    """Along the plate, in its radii, float64 ``[side, side]``; ``v`` across it."""
    v: Array

    def spot(self, reach: float = 0.6) -> tuple[float, float]:
        """Draw a place on the plate away from its screw, in radii."""
        angle, far = self.rng.uniform(0, 2 * np.pi), self.rng.uniform(0.35, reach)
        return far * np.cos(angle), far * np.sin(angle)

    def paint(self, share: Array, colour: tuple[float, float, float]) -> None:
        """Cover with a colour where ``share`` is 1, in part where it is less."""
        self.picture += share[..., np.newaxis] * (np.array(colour) - self.picture)


def draw(count: int, place: Place, seed: int, faults: tuple[str, ...] = FAULTS) -> tuple[Array, Array]:
    """Draw as many pictures of each fault in turn: float32 ``[count, 96, 96, 3]`` in -1..1, and int ``[count]``."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % len(faults)
    pictures = np.stack([_picture(rng, faults[label], place) for label in labels])
    return (pictures * 2 - 1).astype(np.float32), labels


def _picture(rng: np.random.Generator, fault: str, place: Place) -> Array:
    radius, turn = rng.uniform(*place.radius), rng.uniform(0, 2 * np.pi)
    x, y = (X - rng.uniform(-0.12, 0.12)) / radius, (Y - rng.uniform(-0.12, 0.12)) / radius
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if fault == "bent":
        v = v + 0.45 * u * u - 0.15
    belt = rng.uniform(0.12, 0.22) + 0.03 * np.sin(X * rng.uniform(20, 40) + rng.uniform(0, 6))
    plate = Plate(rng, np.repeat(belt[..., np.newaxis], 3, axis=2), u, v)
    grain = rng.normal(0, 0.035, (SIDE_PX, 1)) + 0.012 * rng.normal(size=(SIDE_PX, SIDE_PX))
    plate.picture += _edge(1 - np.hypot(u, v))[..., np.newaxis] * (
        rng.uniform(0.58, 0.7) + grain[..., np.newaxis] - plate.picture
    )
    if fault != "no screw":
        plate.paint(_edge(0.2 - np.hypot(u, v)), (0.82, 0.8, 0.72))
        plate.paint(_edge(0.035 - np.abs(u)) * _edge(0.15 - np.abs(v)), (0.2, 0.2, 0.2))
    if fault in _DRAWN:
        _DRAWN[fault](plate)
    lit = plate.picture * np.array(place.light) * (1 - place.falloff * (X**2 + Y**2) / 2)[..., np.newaxis]
    clipped: Array = np.clip(lit + rng.normal(0, place.noise, lit.shape), 0, 1)
    return clipped


def _edge(inside: Array) -> Array:
    """Give 1 where positive, 0 where negative, with a soft step of about a pixel."""
    soft: Array = np.clip(inside * 30 + 0.5, 0, 1)
    return soft


def _line(plate: Plate, bend: Array, width: float, length: float) -> Array:
    angle, (cu, cv) = plate.rng.uniform(0, 2 * np.pi), plate.spot(0.5)
    along = (plate.u - cu) * np.cos(angle) + (plate.v - cv) * np.sin(angle)
    across = (plate.v - cv) * np.cos(angle) - (plate.u - cu) * np.sin(angle)
    return _edge(width - np.abs(across + np.interp(along, np.linspace(-1, 1, len(bend)), bend))) * _edge(
        length - np.abs(along)
    )


def _scratch(plate: Plate) -> None:
    plate.paint(0.8 * _line(plate, np.zeros(2), 0.025, plate.rng.uniform(0.3, 0.5)), (0.95, 0.95, 0.95))


def _crack(plate: Plate) -> None:
    plate.paint(0.9 * _line(plate, plate.rng.normal(0, 0.09, 17), 0.035, 0.5), (0.08, 0.08, 0.08))


def _disc(plate: Plate, radius: float, reach: float = 0.6) -> Array:
    cu, cv = plate.spot(reach)
    return radius - np.hypot(plate.u - cu, plate.v - cv)


def _hole(plate: Plate) -> None:
    plate.paint(_edge(_disc(plate, plate.rng.uniform(0.11, 0.17))), (0.05, 0.05, 0.05))


def _dent(plate: Plate) -> None:
    (cu, cv), width = plate.spot(), plate.rng.uniform(0.14, 0.22)
    du, dv = (plate.u - cu) / width, (plate.v - cv) / width
    plate.picture += 0.42 * ((du + dv) * np.exp(-(du**2) - dv**2))[..., np.newaxis]


def _stain(plate: Plate) -> None:
    wave = 0.05 * np.sin(5 * np.arctan2(plate.v, plate.u) + plate.rng.uniform(0, 6))
    plate.paint(0.55 * _edge(_disc(plate, plate.rng.uniform(0.2, 0.3)) + wave), (0.2, 0.24, 0.42))


def _chip(plate: Plate) -> None:
    angle = plate.rng.uniform(0, 2 * np.pi)
    away = np.hypot(plate.u - np.cos(angle), plate.v - np.sin(angle))
    plate.paint(_edge(plate.rng.uniform(0.2, 0.3) - away), (0.17, 0.17, 0.17))


def _rust(plate: Plate) -> None:
    speckles = plate.rng.random((SIDE_PX, SIDE_PX)) < 0.45  # noqa: PLR2004 - share of the spot that has rusted
    plate.paint(0.8 * speckles * _edge(_disc(plate, plate.rng.uniform(0.22, 0.34))), (0.5, 0.25, 0.1))


def _burr(plate: Plate) -> None:
    angle = plate.rng.uniform(0, 2 * np.pi)
    away = np.hypot(plate.u - 1.04 * np.cos(angle), plate.v - 1.04 * np.sin(angle))
    plate.paint(_edge(plate.rng.uniform(0.11, 0.17) - away), (0.7, 0.7, 0.7))


def _tape(plate: Plate) -> None:
    plate.paint(_line(plate, np.zeros(2), 0.12, 0.4), (0.85, 0.8, 0.3))


_DRAWN: dict[str, Callable[[Plate], None]] = {
    "scratch": _scratch,
    "crack": _crack,
    "hole": _hole,
    "dent": _dent,
    "stain": _stain,
    "chip": _chip,
    "rust": _rust,
    "burr": _burr,
    "tape": _tape,
}
