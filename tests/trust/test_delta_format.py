"""docs/delta-format.md is enough to write a decoder: here is one that imports nothing of ours and reads the goldens."""

import hashlib
import lzma
import re
import zlib
from bz2 import BZ2Decompressor
from io import BytesIO
from pathlib import Path

import pytest

from appliance.trust import bundle
from appliance.trust.delta import SIZE_BYTES_MAX, blobs, copyadd
from tests.trust.goldens import golden

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "delta-format.md").read_text()
FLAGS = (1, 2, 4, 8)


def varint(stream: BytesIO) -> int:
    value = shift = 0
    while True:
        (byte,) = stream.read(1)
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value


def unpacked(stream: BytesIO, size: int) -> bytes:
    if size == 0:
        return b""
    (method,) = stream.read(1)
    if method == 225:
        return stream.read(size)
    content = stream.read(varint(stream))
    if method == 226:
        return zlib.decompress(content, -15)
    if method == 227:
        return BZ2Decompressor().decompress(b"BZh1" + content, size)
    window = min(max(size, 4096), 4 << 20)
    properties = {"lc": method % 9, "lp": method // 9 % 5, "pb": method // 45, "dict_size": window}
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **properties}])
    return decoder.decompress(b"\0" + content + bytes(64), size)


def copy_add(stream: BytesIO, base: bytes, size: int) -> bytes:
    (flags,) = stream.read(1)
    control_size = varint(stream)
    if flags & 32:
        literal_size = varint(stream)
        joined = BytesIO(unpacked(stream, control_size + literal_size))
        control = joined.read(control_size)
    else:
        control = unpacked(stream, control_size)
    numbers, reader = [], BytesIO(control)
    while reader.tell() < control_size:
        numbers.append(varint(reader))
    there = [flag for flag in FLAGS if flags & flag]
    steps = len(numbers) // max(1, len(there))
    columns = {flag: numbers[place * steps : (place + 1) * steps] for place, flag in enumerate(there)}
    copied, changed, inserted, jumps = (columns.get(flag, [0] * steps) for flag in FLAGS)
    changes, insertions = (
        BytesIO(joined.read(count) if flags & 32 else unpacked(stream, count))
        for count in (sum(changed), sum(inserted))
    )
    result, at = b"", 0
    for copy, change, insert, jump in zip(copied, changed, inserted, jumps, strict=True):
        result += base[at : at + copy]
        at += copy
        result += bytes((old + new) % 256 for old, new in zip(base[at:], changes.read(change), strict=False))
        at += change
        result += insertions.read(insert)
        at += insert if flags & 16 else 0
        at += -(jump + 1) // 2 if jump % 2 else jump // 2
    return result + base[at : at + size - len(result)]


def made(kind: int, stream: BytesIO, base: bytes, size: int) -> bytes | None:
    if kind == 0:
        return base
    if kind == 1:
        return unpacked(stream, size)
    if kind == 2:
        return copy_add(stream, base, size)
    if kind == 3:
        padded = base[:size] + bytes(size - len(base[:size]))
        return bytes((old + new) % 256 for old, new in zip(padded, unpacked(stream, size), strict=True))
    return None


def decoded(raw: bytes, base: dict[str, bytes]) -> dict[str, bytes | None]:
    """Read a bundle as the page has it; None for what is ``tad1``."""
    stream = BytesIO(raw)
    assert stream.read(5) == b"EAUB\1"
    base_id, result_id = stream.read(32), stream.read(32)
    assert base_id == hashlib.sha256(base["model.toml"]).digest()
    varint(stream)
    block = 1 << stream.read(1)[0]
    entries = []
    for _ in range(varint(stream)):
        (kind,) = stream.read(1)
        path, base_path = (stream.read(varint(stream)).decode() for _ in range(2))
        size, payload_size, digest = varint(stream), varint(stream), stream.read(32)
        blocks = -(-size // block)
        stream.read(4 * blocks if blocks > 1 else 0)
        entries.append((kind, path, base_path or path, size, payload_size, digest))
    files = {}
    for kind, path, base_path, size, payload_size, digest in entries:
        content = made(kind, BytesIO(stream.read(payload_size)), base.get(base_path, b""), size)
        assert content is None or hashlib.sha256(content).digest() == digest
        files[path] = content
    toml = files["model.toml"]
    assert toml is not None
    assert hashlib.sha256(toml).digest() == result_id
    assert not stream.read()
    return files


@pytest.mark.parametrize("kind", ["copy-add", "full-xz", "sub-xz", "tad1"])
def test_a_stranger_decodes_what_we_publish(kind: str) -> None:
    base, result, content = golden(kind)
    files = decoded(content, base)
    assert files.keys() == result.keys()
    assert {path: content for path, content in files.items() if content is not None}.items() <= result.items()
    assert [path for path, content in files.items() if content is None] == ["model.tflite"] * (kind == "tad1")


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    kib, mib = 1024, 1024 * 1024
    said = dict(
        re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", PAGE.partition("## What a decoder must bound")[2], re.MULTILINE)
    )
    assert said["entries"] == str(bundle.ENTRIES_MAX)
    assert said["a path"] == f"{bundle.PATH_BYTES_MAX} bytes"
    assert said["a result"] == f"{SIZE_BYTES_MAX // mib} MiB; all together {bundle.RESULT_BYTES_MAX // mib} MiB"
    assert said["columns of `copy-add`, unpacked"] == (
        f"{copyadd.CONTROL_BYTES_MAX // kib} KiB; literals that are joined {copyadd.JOINED_BYTES_MAX // kib} KiB"
    )
    numbered = ", ".join(f"{number} `{kind}`" for number, kind in enumerate(bundle.KINDS))
    assert f"`kind`: {numbered}." in PAGE
    assert f"{bundle.BLOCK_BITS[0]} to {bundle.BLOCK_BITS[-1]}" in PAGE
    window = blobs.lzma_filters(0, 1 << 40)[0]["dict_size"]
    assert f"at least 4 KiB and at most {window // mib} MiB" in " ".join(PAGE.split())


def test_every_link_of_the_page_leads_somewhere() -> None:
    headings = {line.lstrip("# ").lower().replace(" ", "-") for line in PAGE.splitlines() if line.startswith("#")}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
