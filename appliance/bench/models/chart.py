"""Draws how long an inference takes as SVG: a bar for each model on each runtime, on a logarithmic scale.

Written by hand, as ``forge/chart.py`` is: bars do not need a plotting library.
"""

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

from appliance.bench.models.latency import Timed

WIDTH = 900
LEFT, RIGHT, TOP = 330, 820, 70
LINE = 20
GAP = 14
"""Between models."""
COLOURS = {"ai-edge-litert": "#1f77b4", "onnxruntime": "#2ca02c", "tflite-runtime": "#d62728"}
DECADES_MIN = 1


def svg(times: Sequence[Timed]) -> str:
    """Draw measured times; what was not measured is left out. Returns an SVG document."""
    shown = [each for each in times if each.took_s is not None]
    least, most = _decades([each.took_s * 1e3 for each in shown if each.took_s is not None])
    body, y, before = [], TOP, ""
    for each in shown:
        assert each.took_s is not None, "only measured ones are shown"
        if each.candidate.model != before:
            y += GAP if before else 0
            before = each.candidate.model
        body += _bar(each, _place(each.took_s * 1e3, least, most), y)
        y += LINE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 30}" width="{WIDTH}" height="{y + 30}" '
        'font-family="sans-serif" font-size="12">'
    )
    title = f'<text x="20" y="26" font-size="16">One inference on this machine, in ms ({_legend()})</text>'
    lines = [head, f'<rect width="{WIDTH}" height="{y + 30}" fill="white"/>', title, *_scale(least, most, y), *body]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _decades(values_ms: Sequence[float]) -> tuple[int, int]:
    """Give the powers of ten around the values; one decade where there are none."""
    if not values_ms:
        return 0, DECADES_MIN
    least = math.floor(math.log10(min(values_ms)))
    return least, max(least + DECADES_MIN, math.ceil(math.log10(max(values_ms))))


def _place(value_ms: float, least: int, most: int) -> float:
    return LEFT + (math.log10(value_ms) - least) / (most - least) * (RIGHT - LEFT)


def _scale(least: int, most: int, bottom: float) -> list[str]:
    """Draw a line at each power of ten."""
    drawn = []
    for power in range(least, most + 1):
        x = _place(10.0**power, least, most)
        drawn.append(f'<path d="M{x:.1f} {TOP - 6}V{bottom}" stroke="#ddd"/>')
        drawn.append(f'<text x="{x:.1f}" y="{TOP - 12}" text-anchor="middle">{10.0**power:g}</text>')
    return drawn


def _bar(timed: Timed, end: float, y: float) -> list[str]:
    each, took_ms = timed.candidate, (timed.took_s or 0.0) * 1e3
    said = f"{each.model} {each.form}, {each.runtime}, {each.threads} thread{'s' if each.threads > 1 else ''}"
    opacity = 0.9 if each.form == "int8" else 0.45
    paint = f'fill="{COLOURS.get(each.runtime, "#7f7f7f")}" fill-opacity="{opacity}"'
    length = max(1.0, end - LEFT)
    return [
        f'<text x="{LEFT - 10}" y="{y + 13}" text-anchor="end">{escape(said)}</text>',
        f'<rect x="{LEFT}" y="{y + 2}" width="{length:.1f}" height="{LINE - 5}" {paint}/>',
        f'<text x="{end + 6:.1f}" y="{y + 13}">{took_ms:.3g}</text>',
    ]


def _legend() -> str:
    return "full colour INT8, pale float32"
