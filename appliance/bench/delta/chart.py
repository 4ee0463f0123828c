"""Draws sizes of deltas as SVG: for each pair a bar for each tool, as a share of the new file packed by xz.

Written by hand, as the other charts are. A column for each network; dark where the reader's screen is.
"""

from collections.abc import Sequence
from xml.sax.saxutils import escape

from appliance.bench.delta.measured import OURS, Measured
from appliance.bench.delta.rivals import RIVALS

COLUMN, LABELS, SCALE, TOP = 560, 150, 300, 84
"""Pixels: width of a column; of the names left of the bars; of a bar of 100 %; above the first."""
BAR, GAP = 10, 16
"""Heights of a bar and between pairs."""
SHARE_MAX = 1.15
"""Longer bars are cut here; the number beside them tells."""
COLOURS = ("#0b7a4b", "#c2571a", "#d99a3d", "#8a6fb0", "#3f7fb5", "#b0567d", "#8a8a8a")
"""Of ours, then of the others in their order."""
STYLE = (
    "<style>text{fill:#222}.ground{fill:#fff}.line{stroke:#ccc}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.ground{fill:#16181c}.line{stroke:#444}}</style>"
)


def svg(measured: Sequence[Measured]) -> str:
    """Draw every pair. Returns an SVG document."""
    columns = list(dict.fromkeys(each.pair.stored.network for each in measured))
    drawn: list[str] = []
    height = TOP
    for number, network in enumerate(columns):
        of = [each for each in measured if each.pair.stored.network == network]
        parts, bottom = _column(of, number * COLUMN + 20)
        drawn += parts
        height = max(height, bottom)
    width = COLUMN * max(1, len(columns)) + 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + 20}" width="{width}" '
        f'height="{height + 20}" font-family="sans-serif" font-size="11">'
    )
    title = '<text x="20" y="26" font-size="16">What an update weighs: share of the new file packed by xz -9e</text>'
    ground = f'<rect class="ground" width="{width}" height="{height + 20}"/>'
    return "\n".join([head, STYLE, ground, title, *_legend(measured), *drawn, "</svg>"]) + "\n"


def _column(measured: Sequence[Measured], left: int) -> tuple[list[str], int]:
    """Draw the pairs of one network; gives the drawing and where it ends."""
    drawn, y = [], TOP
    for each in measured:
        bars = [(tool, size) for tool, size in each.size_by_tool.items() if size is not None]
        middle = y + len(bars) * BAR / 2 + 4
        drawn.append(
            f'<text x="{left + LABELS - 8}" y="{middle}" text-anchor="end">{escape(each.pair.stored.name)}</text>'
        )
        for tool, size in bars:
            drawn.append(_bar(tool, size / each.whole_bytes, size, left + LABELS, y))
            y += BAR
        y += GAP
    lines = [
        f'<path class="line" d="M{left + LABELS + share * SCALE / 100} {TOP - 6}V{y - GAP}"/>'
        f'<text x="{left + LABELS + share * SCALE / 100}" y="{TOP - 10}" text-anchor="middle">{share} %</text>'
        for share in (0, 50, 100)
    ]
    name = f'<text x="{left}" y="{TOP - 10}" font-weight="bold">{escape(measured[0].pair.stored.network)}</text>'
    return [name, *lines, *drawn], y


def _bar(tool: str, share: float, size_bytes: int, left: int, y: int) -> str:
    length = max(0.5, min(share, SHARE_MAX) * SCALE)
    weight = ' font-weight="bold"' if tool == OURS else ""
    percent = f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"  # noqa: PLR2004 - below 1 % another digit
    said = f"{percent}, {size_bytes / 1000:,.1f} KB" if tool == OURS else percent
    return (
        f'<rect x="{left}" y="{y + 1}" width="{length:.1f}" height="{BAR - 2}" fill="{_colour(tool)}"><title>'
        f"{escape(tool)}: {size_bytes:,} bytes</title></rect>"
        f'<text x="{left + length + 4:.1f}" y="{y + 9}" font-size="9"{weight}>{said}</text>'
    )


def _legend(measured: Sequence[Measured]) -> list[str]:
    tools = list(measured[0].size_by_tool) if measured else []
    return [
        f'<rect x="{20 + 150 * at}" y="38" width="10" height="10" fill="{_colour(tool)}"/>'
        f'<text x="{34 + 150 * at}" y="47">{escape(tool)}</text>'
        for at, tool in enumerate(tools)
    ]


def _colour(tool: str) -> str:
    """Give ours the first, the others theirs in the order in which they are measured."""
    return COLOURS[0] if tool == OURS else COLOURS[1 + list(RIVALS).index(tool)]
