"""Is a point inside a polygon? For zones, which are small: a few corners, asked once for each box."""

Point = tuple[float, float]
"""``(x, y)`` in fractions of the picture, origin at the top left."""

EDGE_TOLERANCE = 1e-9
"""Twice the area, in fractions of the picture, below which a point and an edge count as one line."""


def contains(polygon: tuple[Point, ...], point: Point) -> bool:
    """Tell whether ``point`` is inside ``polygon`` or on its edge.

    Even-odd rule (Shimrat, Algorithm 112, CACM 1962): a polygon that crosses itself has holes. The edge belongs
    to the inside because boxes are clipped to the picture: the foot of a person who leaves at the bottom is at
    exactly ``y = 1``, and a zone drawn down to there must still see it.

    Args:
        polygon: at least 3 corners, in either direction, without the first repeated at the end.
        point: the point to test.
    """
    inside = False
    previous = polygon[-1]
    for corner in polygon:
        if _on_edge(previous, corner, point):
            return True
        if _crosses(previous, corner, point):
            inside = not inside
        previous = corner
    return inside


def _crosses(start: Point, end: Point, point: Point) -> bool:
    """Tell whether a ray from ``point`` to the right crosses the edge; a corner counts for one of its edges only."""
    (x0, y0), (x1, y1), (x, y) = start, end, point
    if (y0 > y) == (y1 > y):
        return False
    return x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)


def _on_edge(start: Point, end: Point, point: Point) -> bool:
    """Tell whether ``point`` lies on the edge from ``start`` to ``end``."""
    (x0, y0), (x1, y1), (x, y) = start, end, point
    area = (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)
    if abs(area) > EDGE_TOLERANCE:
        return False
    return min(x0, x1) <= x <= max(x0, x1) and min(y0, y1) <= y <= max(y0, y1)
