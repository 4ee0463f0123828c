"""What a model costs to send: compressed, and as a difference from the one a device already has."""

import gzip
import lzma

import numpy as np

LEVEL = 9


def compressed_bytes(content: bytes) -> int:
    """Give the size after gzip -9, without a name or a time."""
    return len(gzip.compress(content, LEVEL, mtime=0))


def delta_bytes(content: bytes, parent: bytes) -> int:
    """Estimate what an update from ``parent`` costs: the byte-wise difference, compressed with xz.

    Weights of a pruned or fine-tuned model stand where its parent's stood, so the difference modulo 256 is mostly
    small or 0. Where that does not hold (another architecture, everything retrained) the file itself is smaller, and
    counts: no update costs more than the whole.
    """
    whole = len(lzma.compress(content, preset=LEVEL))
    shared = min(len(content), len(parent))
    difference = np.frombuffer(content[:shared], np.uint8) - np.frombuffer(parent[:shared], np.uint8)
    return min(whole, len(lzma.compress(difference.tobytes() + content[shared:], preset=LEVEL)))
