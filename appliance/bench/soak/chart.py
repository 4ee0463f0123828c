"""A soak drawn in the terminal: who decided how much over time, and when something was done to which Edge TPU."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

COLUMNS = 60
"""Slices of time, a character each."""
BLOCKS = " ▁▂▃▄▅▆▇█"
COLOURS = {"tpu": "green", "cpu": "yellow", "none": "red"}
LABEL_COLUMNS = 8
MANY = 10
"""Faults in a slice from which on their number is not written."""


class Mark(NamedTuple):
    """A fault."""

    slice: int
    device: str
    fault: str


def draw(decisions: Mapping[tuple[int, str], int], marks: Sequence[Mark], minutes: float) -> Text:
    """Draw decisions by slice and backend, with the number of faults of each device under them.

    Args:
        decisions: by number of the slice and backend; those from ``COLUMNS`` on came after the time was over.
        marks: the faults.
        minutes: that all slices take together.
    """
    most = max((count for (number, _), count in decisions.items() if number < COLUMNS), default=1)
    text = Text(no_wrap=True)
    for backend, colour in COLOURS.items():
        heights = [decisions.get((column, backend), 0) / most for column in range(COLUMNS)]
        if any(heights) or backend != "none":
            _row(text, backend, "".join(_block(height) for height in heights), colour)
    for device in dict.fromkeys(mark.device for mark in marks):
        counted = Counter(mark.slice for mark in marks if mark.device == device)
        _row(text, device, "".join(_count(counted[column]) for column in range(COLUMNS)), "magenta")
    end = f"{minutes:.1f} min"
    _row(text, "", f"0{end:>{COLUMNS - 1}}", "dim")
    return text


def _row(text: Text, label: str, row: str, colour: str) -> None:
    text.append(f"{label:>{LABEL_COLUMNS}} │", "dim")
    text.append(f"{row}\n", colour)


def _block(share: float) -> str:
    """A column of ``share`` (0 to 1) of the height; whatever is there is seen."""
    return BLOCKS[0] if not share else BLOCKS[max(1, round(share * (len(BLOCKS) - 1)))]


def _count(faults: int) -> str:
    if not faults:
        return "·"
    return str(faults) if faults < MANY else "+"
