"""How a program tells the rig what it has been promised: a line in a file, between the writes of the disk's log."""

import os

VARIABLE = "POWER_MARKS"
"""Environment variable: the file into which marks go."""


def mark(text: str) -> None:
    """Write a mark; it is in the log when this returns. Where no rig listens, nothing happens."""
    file = os.environ.get(VARIABLE)
    if file:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        os.writev(descriptor, [f"{text}\n".encode()])  # no call that a test lets fail
        os.close(descriptor)
