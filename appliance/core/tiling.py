"""Where the parts of a picture lie that are judged beside the whole, so that small and distant people are seen.

A detector squeezes the picture to its own size: 300 pixels wide, a person of 30 pixels in 1280 becomes one of 7. A tile
is judged at a higher resolution, and costs one inference more. What the parts say is put together in ``core.ssd``.
"""

from dataclasses import dataclass

from appliance.core.types import Box

SIDE_MAX = 4
"""Columns, and rows: 16 tiles are 17 inferences a picture."""
OVERLAP_MAX = 0.5
"""Beyond, more than two tiles show the same place."""
WHOLE = Box(0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Tiling:
    """A grid of equal tiles over the picture, judged in addition to the whole."""

    columns: int
    rows: int
    overlap: float
    """Share of a tile's width and height that its neighbour shows too: at least as large as the people sought, who
    are then whole in one of the two."""

    def regions(self) -> tuple[Box, ...]:
        """The whole picture, then each tile, row by row; in fractions of the picture."""
        return (
            WHOLE,
            *(Box(top, left, bottom, right) for top, bottom in self._rows() for left, right in self._columns()),
        )

    def _rows(self) -> tuple[tuple[float, float], ...]:
        return _spans(self.rows, self.overlap)

    def _columns(self) -> tuple[tuple[float, float], ...]:
        return _spans(self.columns, self.overlap)


def _spans(count: int, overlap: float) -> tuple[tuple[float, float], ...]:
    """Cover 0 to 1 with this many spans of one length, each sharing ``overlap`` of it with the next."""
    length = 1.0 / (count - (count - 1) * overlap)
    return tuple((number * length * (1 - overlap), number * length * (1 - overlap) + length) for number in range(count))
