"""The other ways to send a change: each makes its patch, applies it, and is believed only where the result is right.

Every one as small as its options make it. What is counted is the patch alone, without checksums where it can leave them
out, as ours is counted without the signed container.
"""

import bz2
import lzma
import shutil
import struct
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import MappingProxyType

BSDIFF4, BSDIFF4_XZ, XZ = "bsdiff4", "bsdiff4 streams + xz", "xz -9e of the whole"
TIMEOUT_S = 300.0
"""Of one tool on one pair; each takes seconds for 3 MB."""
STREAMS_HEAD = struct.Struct("<8s3q")
"""Of a ``BSDIFF40`` file: magic, length of control and diff streams, size of the result; then the three streams."""
_LZMA2 = ({"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME},)


@dataclass(frozen=True, slots=True)
class Patch:
    """What a tool made of a pair."""

    tool: str
    size_bytes: int | None
    """None where there is no patch: see ``fault``."""
    took_s: float = 0.0
    """Wall time of making and applying it."""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Rival:
    """A tool."""

    present: Callable[[], bool]
    install: str
    run: Callable[[bytes, bytes], tuple[int, bytes]]
    """From base and result to the size of the patch, and what it makes of the base."""


def measure(tool: str, base: bytes, result: bytes) -> Patch:
    """Have one tool make and apply its patch."""
    rival = RIVALS[tool]
    if not rival.present():
        return Patch(tool, None, fault=f"missing: {rival.install}")
    start = perf_counter()
    try:
        size_bytes, made = rival.run(base, result)
    except (OSError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        return Patch(tool, None, fault=f"failed: {error}")
    if made != result:
        return Patch(tool, None, fault="its patch makes another file")
    return Patch(tool, size_bytes, perf_counter() - start)


def _bsdiff4(base: bytes, result: bytes) -> tuple[int, bytes]:
    bsdiff4 = import_module("bsdiff4")
    patch = bsdiff4.diff(base, result)
    return len(patch), bsdiff4.patch(base, patch)


def _bsdiff4_xz(base: bytes, result: bytes) -> tuple[int, bytes]:
    """The three streams of bsdiff4 packed by LZMA2 instead of bzip2, with no header at all."""
    bsdiff4 = import_module("bsdiff4")
    patch = bsdiff4.diff(base, result)
    magic, control, diff, size_bytes = STREAMS_HEAD.unpack_from(patch)
    ends = (STREAMS_HEAD.size, STREAMS_HEAD.size + control, STREAMS_HEAD.size + control + diff, len(patch))
    streams = [bz2.decompress(patch[start:end]) for start, end in pairwise(ends)]
    packed = [lzma.compress(each, lzma.FORMAT_RAW, filters=_LZMA2) for each in streams]
    again = [bz2.compress(lzma.decompress(each, lzma.FORMAT_RAW, filters=_LZMA2)) for each in packed]
    head = STREAMS_HEAD.pack(magic, len(again[0]), len(again[1]), size_bytes)
    return sum(map(len, packed)), bsdiff4.patch(base, head + b"".join(again))


def _hdiffpatch(base: bytes, result: bytes) -> tuple[int, bytes]:
    """The smallest of its LZMA2, Zstandard and Brotli."""
    hdiffpatch = import_module("hdiffpatch")
    ways = (
        hdiffpatch.Lzma2Config(level=9),
        hdiffpatch.ZStdConfig(level=22),
        hdiffpatch.BrotliConfig(level=11, window=24),
    )
    patch = min((hdiffpatch.diff(base, result, compression=way) for way in ways), key=len)
    return len(patch), hdiffpatch.apply(base, patch)


def _xz(_: bytes, result: bytes) -> tuple[int, bytes]:
    packed = lzma.compress(result, check=lzma.CHECK_NONE, preset=9 | lzma.PRESET_EXTREME)
    return len(packed), lzma.decompress(packed)


def _xdelta3(base: bytes, result: bytes) -> tuple[int, bytes]:
    plain = ("xdelta3", "-n", "-A=", "-f")  # no checksum, no file names
    make = (*plain, "-e", "-9", "-S", "lzma", "-s", "{base}", "{new}", "{patch}")
    return _by_command(make, ("xdelta3", "-f", "-d", "-s", "{base}", "{patch}", "{made}"), base, result)


def _zstd(base: bytes, result: bytes) -> tuple[int, bytes]:
    plain = ("zstd", "-q", "-f", "--long=27")
    make = (*plain, "--ultra", "-22", "--no-check", "--patch-from={base}", "{new}", "-o", "{patch}")
    apply = (*plain, "-d", "--patch-from={base}", "{patch}", "-o", "{made}")
    return _by_command(make, apply, base, result)


def _by_command(make: tuple[str, ...], apply: tuple[str, ...], base: bytes, result: bytes) -> tuple[int, bytes]:
    """Run two commands over files."""
    with TemporaryDirectory(prefix="bench-delta-") as folder:
        files = {name: str(Path(folder) / name) for name in ("base", "new", "patch", "made")}
        Path(files["base"]).write_bytes(base)
        Path(files["new"]).write_bytes(result)
        for command in (make, apply):
            words = [word.format_map(files) for word in command]
            subprocess.run(words, check=True, capture_output=True, timeout=TIMEOUT_S)  # noqa: S603 - every word stands above
        return Path(files["patch"]).stat().st_size, Path(files["made"]).read_bytes()


def _module(name: str) -> Callable[[], bool]:
    return lambda: find_spec(name) is not None


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


RIVALS: Mapping[str, Rival] = MappingProxyType(
    {
        BSDIFF4: Rival(_module("bsdiff4"), "pip install bsdiff4", _bsdiff4),
        BSDIFF4_XZ: Rival(_module("bsdiff4"), "pip install bsdiff4", _bsdiff4_xz),
        "xdelta3 -9 -S lzma": Rival(_program("xdelta3"), "apt-get install xdelta3", _xdelta3),
        "zstd -22 --patch-from": Rival(_program("zstd"), "apt-get install zstd", _zstd),
        "HDiffPatch": Rival(_module("hdiffpatch"), "pip install hdiffpatch", _hdiffpatch),
        XZ: Rival(lambda: True, "", _xz),
    }
)
"""By the name that is shown."""
