"""An NPZ from anywhere: plain arrays are read, whatever else it is, one message says so."""

import pickle
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.errors import ForgeError
from appliance.forge.samples import read_npz


def npy(shape: str = "(2, 3)", descr: str = "<f4", data: bytes = bytes(24)) -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


def archive(content: bytes, *, name: str = "inputs.npy", compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as packed:
        packed.writestr(name, content)
    return buffer.getvalue()


def encrypted() -> bytes:
    """Set the flag in the member's own header and in the directory."""
    sound = bytearray(archive(npy()))
    sound[6] |= 1
    sound[sound.index(b"PK\x01\x02") + 8] |= 1
    return bytes(sound)


def unknown_packing() -> bytes:
    sound = bytearray(archive(npy()))
    sound[8] = sound[sound.index(b"PK\x01\x02") + 10] = 99
    return bytes(sound)


def version_2() -> bytes:
    buffer = BytesIO()
    np.lib.format.write_array(buffer, np.arange(6.0), version=(2, 0))
    return buffer.getvalue()


FAULTS = {
    "encrypted": (encrypted(), "encrypted"),
    "packed in an unknown way": (unknown_packing(), "numpy.savez does not use"),
    "packed in a way numpy never packs": (archive(npy(), compression=zipfile.ZIP_LZMA), "numpy.savez does not use"),
    "a header that claims 10^13 floats": (archive(npy("(10000000000000,)")), "unpacks to 38146972 MiB; at most 4096"),
    "a header that claims more than any integer": (archive(npy(f"({'9' * 30},)")), "at most 4096 MiB"),
    "a header that claims more than there is": (archive(npy("(2000,)")), "plain arrays"),
    "a negative size": (archive(npy("(-5,)")), "plain arrays"),
    "pickled objects": (archive(npy("(1,)", "|O", pickle.dumps([1]))), "pickled objects"),
    "a header that is no header": (archive(npy("(1, (")), "plain arrays"),
    "no array": (archive(b"hello", name="readme.txt"), "plain arrays"),
    "no archive": (b"hello", "plain arrays"),
    "nothing": (b"", "plain arrays"),
}


@pytest.mark.parametrize(("content", "complaint"), FAULTS.values(), ids=FAULTS.keys())
def test_what_is_no_npz_of_plain_arrays_is_refused_in_one_message(
    tmp_path: Path, content: bytes, complaint: str
) -> None:
    file = tmp_path / "data.npz"
    file.write_bytes(content)
    with pytest.raises(ForgeError, match=complaint) as caught:
        read_npz(file)
    assert str(file) in str(caught.value)
    assert "()" not in str(caught.value), "an empty reason"


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_plain_arrays_are_read_as_they_were_written(tmp_path: Path, write: type) -> None:
    written = {"inputs": np.arange(6.0).reshape(2, 3), "order": np.asfortranarray(np.eye(3)), "names": np.array(["ü"])}
    write(tmp_path / "data.npz", **written)
    read = read_npz(tmp_path / "data.npz")
    assert read.keys() == written.keys()
    assert all(np.array_equal(read[name], values) for name, values in written.items())


def test_the_other_version_of_the_header_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "data.npz").write_bytes(archive(version_2()))
    assert np.array_equal(read_npz(tmp_path / "data.npz")["inputs"], np.arange(6.0))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(at=st.integers(0, 10_000), value=st.integers(0, 255), compression=st.sampled_from([0, 8]))
def test_one_damaged_byte_is_refused_or_changes_only_values(
    tmp_path: Path, at: int, value: int, compression: int
) -> None:
    damaged = bytearray(archive(npy(), compression=compression))
    damaged[at % len(damaged)] = value
    file = tmp_path / "data.npz"
    file.write_bytes(damaged)
    with suppress(ForgeError):
        assert len(read_npz(file)) <= 1
