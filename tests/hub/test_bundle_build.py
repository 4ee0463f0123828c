"""A bundle is applied and proved before a publisher gets it."""

import hashlib

import numpy as np
import pytest

from appliance.errors import HubError
from appliance.hub import bundle
from appliance.hub.bundle import build, unpack
from appliance.trust.bundle import read_header
from appliance.trust.delta import Kind
from appliance.trust.manifest import MEMORY_BYTES_MAX

RNG = np.random.default_rng(12)
MODEL = RNG.bytes(4000)
BASE = {
    "model.toml": b'version = "1"\n',
    "model.tflite": MODEL,
    "golden/a.npz": RNG.bytes(500),
    "labels.txt": b"a\nb\n",
}
RESULT = {
    "model.toml": b'version = "2"\n',
    "model.tflite": MODEL[:2000] + b"new" + MODEL[2000:],
    "golden/b.npz": BASE["golden/a.npz"],
    "labels.txt": b"a\nb\n",
    "anchors.npy": b"anchors",
}


class TestABundle:
    def test_makes_the_result_of_the_base_and_says_how(self) -> None:
        built = build(BASE, RESULT)
        assert unpack(built.content, BASE) == RESULT
        header = read_header(built.content)
        assert header.base_id == hashlib.sha256(BASE["model.toml"]).hexdigest()
        assert header.result_id == hashlib.sha256(RESULT["model.toml"]).hexdigest()
        assert header.memory_bytes == built.memory_bytes <= MEMORY_BYTES_MAX
        assert [entry.payload_bytes for entry in header.entries] == [row.payload_bytes for row in built.entries]
        assert {row.path: row.kind for row in built.entries} == {
            "model.toml": Kind.COPY_ADD,
            "model.tflite": Kind.COPY_ADD,
            "golden/b.npz": Kind.COPY,  # of the base's golden/a.npz
            "labels.txt": Kind.COPY,
            "anchors.npy": Kind.FULL_XZ,
        }
        assert len(built.content) < 500

    def test_of_the_whole_needs_no_base(self) -> None:
        built = build(None, RESULT)
        assert unpack(built.content, None) == RESULT
        assert read_header(built.content).base_id == ""
        assert {row.kind for row in built.entries} == {Kind.FULL_XZ}

    def test_is_the_same_each_time(self) -> None:
        result = {path: RESULT[path] for path in ("model.toml", "labels.txt")}
        assert build(BASE, result).content == build(BASE, result).content

    def test_has_hashes_of_its_blocks_where_a_file_is_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bundle, "BLOCK_BITS", 12)
        toml, model = read_header(build(None, {"model.toml": b"", "model.tflite": bytes(8193)}).content).entries[::-1]
        assert [model.path, len(model.block_hashes), len(toml.block_hashes)] == ["model.tflite", 3, 0]

    def test_says_how_far_it_is(self) -> None:
        told: list[tuple[int, int]] = []
        build(None, {"model.toml": b"", "a": b"a"}, progress=lambda _, done, total: told.append((done, total)))
        assert told == [(0, 2), (1, 2), (2, 2)]

    @pytest.mark.parametrize("path", ["../model.tflite", "a b", "\u00e4"])
    def test_is_refused_where_no_device_would_take_it(self, path: str) -> None:
        with pytest.raises(HubError, match="the bundle cannot be applied"):
            build(None, {**RESULT, path: b""})
