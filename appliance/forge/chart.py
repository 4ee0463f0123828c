"""Draws compared models as SVG: latency to the right, metric upwards with its interval, area of a disc for size.

Written by hand: two axes and a few discs do not need a plotting library of 100 MB. The file holds no script and no
font, is read by every browser, and is the same for the same figures.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from appliance.forge.compare import Compared

WIDTH, HEIGHT = 900, 480
LEFT, RIGHT, TOP, BOTTOM = 80, 640, 50, 420
LEGEND = RIGHT + 20
LINE = 22
RADIUS_MAX = 34.0
RADIUS_MIN = 3.0
"""So that a small model beside a large one is still seen; its size stands in the legend."""
TICKS_MIN = 4
COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#8c564b",
    "#e377c2", "#17becf", "#7f7f7f", "#bcbd22", "#000080", "#008080",
)  # fmt: skip

Scale = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Axis:
    """From figures to places on the page."""

    place: Scale
    ticks: tuple[float, ...]


def svg(name: str, models: Sequence[Compared]) -> str:
    """Draw models.

    Args:
        name: of the metric.
        models: one or more.

    Returns:
        An SVG document of WIDTH x HEIGHT.
    """
    across = _logarithmic([model.latency_s * 1e3 for model in models])
    up = _linear([each for model in models for each in (model.metric.low, model.metric.value, model.metric.high)])
    largest = max(model.size_bytes for model in models)
    body = [
        f'<text x="{LEFT}" y="26" font-size="16">{escape(name)} against latency; the disc\'s area is the size</text>',
        *_frame(across, up, name),
        *(_disc(model, across, up, largest, at) for at, model in enumerate(models)),
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *body, "</svg>"]) + "\n"


def _logarithmic(values: Sequence[float]) -> Axis:
    """Give an axis from left to right in powers of ten: models differ by orders of magnitude in time."""
    low, high = math.log10(min(values)) - 0.2, math.log10(max(values)) + 0.2
    steps = [10.0**power * lead for power in range(math.floor(low), math.ceil(high) + 1) for lead in (1, 2, 5)]
    ticks = tuple(step for step in steps if low <= math.log10(step) <= high)
    return Axis(lambda value: LEFT + (math.log10(value) - low) / (high - low) * (RIGHT - LEFT), ticks)


def _linear(values: Sequence[float]) -> Axis:
    """Give an axis from bottom to top, a tenth wider than the values at either end."""
    low, high = min(values), max(values)
    margin = 0.1 * (high - low) or 0.05 * abs(high) or 1.0
    low, high = low - margin, high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / TICKS_MIN))
    # 0.5 is for a span that is a power of ten but for rounding.
    step = max(power * lead for lead in (0.5, 1, 2, 5) if power * lead * TICKS_MIN <= high - low)
    ticks = tuple(step * at for at in range(math.ceil(low / step), math.floor(high / step) + 1))
    return Axis(lambda value: BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP), ticks)


def _frame(across: Axis, up: Axis, name: str) -> list[str]:
    """Draw both axes with their ticks."""
    drawn = [f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="#333"/>']
    for tick in across.ticks:
        x = across.place(tick)
        drawn.append(f'<path d="M{x:.1f} {BOTTOM}v5" stroke="#333"/>')
        drawn.append(f'<text x="{x:.1f}" y="{BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in up.ticks:
        y = up.place(tick)
        drawn.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#ddd"/>')
        drawn.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.4g}</text>')
    middle = (LEFT + RIGHT) // 2
    drawn.append(
        f'<text x="{middle}" y="{BOTTOM + 42}" text-anchor="middle">ms an inference, one thread, this machine</text>'
    )
    tall = (TOP + BOTTOM) // 2
    drawn.append(
        f'<text x="20" y="{tall}" text-anchor="middle" transform="rotate(-90 20 {tall})">{escape(name)}</text>'
    )
    return drawn


def _disc(model: Compared, across: Axis, up: Axis, largest: int, at: int) -> str:
    """Draw the model that comes ``at`` in the order: its interval, its disc, and its line of the legend."""
    colour = COLOURS[at % len(COLOURS)]
    x, y = across.place(model.latency_s * 1e3), up.place(model.metric.value)
    radius = max(RADIUS_MIN, RADIUS_MAX * math.sqrt(model.size_bytes / largest))
    high, low = up.place(model.metric.high), up.place(model.metric.low)
    bar = f"M{x:.1f} {high:.1f}V{low:.1f}M{x - 4:.1f} {high:.1f}h8M{x - 4:.1f} {low:.1f}h8"
    line = TOP + at * LINE
    said = f"{model.label}, {model.size_bytes / 1000:,.0f} kB"
    return (
        f'<g><circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity="0.45"/>'
        f'<path d="{bar}" stroke="{colour}" stroke-width="2"/>'
        f'<rect x="{LEGEND}" y="{line}" width="12" height="12" fill="{colour}" fill-opacity="0.6"/>'
        f'<text x="{LEGEND + 18}" y="{line + 11}">{escape(said)}</text></g>'
    )
