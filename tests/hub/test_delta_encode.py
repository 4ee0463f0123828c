"""The smallest delta is taken of those that were seen to work, and none can hold up a publisher."""

import numpy as np
import pytest

from appliance.errors import HubError
from appliance.hub import delta
from appliance.hub.delta import box, encode
from appliance.trust.delta import SIZE_BYTES_MAX, Kind

RNG = np.random.default_rng(11)
BASE = RNG.bytes(2000)


def _lies(_base: bytes, _result: bytes) -> bytes:
    return b"\xe1"


class TestEncode:
    def test_says_that_a_file_stays_as_it_is(self) -> None:
        encoded = encode(BASE, BASE)
        assert (encoded.kind, encoded.payload) == (Kind.COPY, b"")

    def test_takes_what_suits(self) -> None:
        shaken = (np.frombuffer(BASE, np.uint8) + RNG.integers(0, 3, len(BASE)).astype(np.uint8)).tobytes()
        cases = {
            Kind.COPY_ADD: BASE[1000:] + b"label" + BASE[:1000],
            Kind.SUB_XZ: shaken,
            Kind.FULL_XZ: b"another one\n" * 300,
        }
        for kind, result in cases.items():
            encoded = encode(BASE, result)
            assert encoded.kind is kind
            assert len(encoded.payload) == min(encoded.sizes.values())

    def test_packs_the_whole_where_there_is_no_base(self) -> None:
        assert encode(None, BASE).sizes.keys() == {Kind.FULL_XZ}

    def test_never_takes_what_does_not_give_the_result_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(box, "ENCODERS", {**box.ENCODERS, Kind.SUB_XZ: _lies})
        encoded = encode(BASE, BASE + b"label")
        assert encoded.sizes[Kind.SUB_XZ] == 1
        assert encoded.kind is Kind.COPY_ADD

    def test_says_so_where_nothing_does(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(box, "ENCODERS", {Kind.SUB_XZ: _lies})
        with pytest.raises(HubError, match="no kind of delta makes these 2005 bytes"):
            encode(BASE, BASE + b"label", kinds=[Kind.SUB_XZ])

    def test_refuses_what_no_model_folder_may_have(self) -> None:
        with pytest.raises(HubError, match="at most"):
            encode(None, bytes(SIZE_BYTES_MAX + 1))

    def test_does_not_pack_the_whole_of_a_large_file_that_hardly_changed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(delta.box, "INLINE_BYTES_MAX", 1 << 30)  # in this process: it is about what is tried
        monkeypatch.setattr(delta, "SMALL_BYTES", 1000)
        assert Kind.FULL_XZ not in encode(BASE, BASE + b"label").sizes
        assert Kind.FULL_XZ in encode(BASE, RNG.bytes(2000)).sizes


class TestTheBox:
    def test_gives_what_the_encoder_gives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(box, "INLINE_BYTES_MAX", 0)
        result = BASE + b"label"
        assert box.encode(Kind.COPY_ADD, BASE, result, 60.0) == box.ENCODERS[Kind.COPY_ADD](BASE, result)
        assert box.encode(Kind.TAD1, BASE, result, 60.0) is None, "it is no network"

    def test_ends_an_encoder_that_takes_too_long(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(box, "INLINE_BYTES_MAX", 0)
        assert box.encode(Kind.COPY_ADD, BASE, BASE, 0.001) is None

    def test_outlives_an_encoder_that_dies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(box, "INLINE_BYTES_MAX", 0)
        monkeypatch.setattr(box, "PROGRAM", ("-c", "import sys; sys.exit(1)"))
        assert box.encode(Kind.COPY_ADD, BASE, BASE, 60.0) is None


class TestATinyChange:
    """What other tools need for it is from 30 bytes on."""

    @pytest.mark.parametrize(
        ("result", "bytes_max"),
        [
            (BASE[:1000] + bytes([BASE[1000] ^ 1]) + BASE[1001:], 12),
            (BASE[:-100], 4),
            (BASE + BASE[:500], 12),
            (BASE + b"".join(b"%d class\n" % number for number in range(60)), 110),
            (BASE[1000:] + BASE[:1000], 16),
        ],
        ids=["a bit", "cut off", "repeated", "labels", "turned round"],
    )
    def test_costs_next_to_nothing(self, result: bytes, bytes_max: int) -> None:
        encoded = encode(BASE, result)
        assert encoded.kind is Kind.COPY_ADD
        assert len(encoded.payload) <= bytes_max
