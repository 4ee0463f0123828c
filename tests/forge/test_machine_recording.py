"""What a recording of one's own machine must be is told in our own words, whatever lies there instead."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from appliance.core.types import Array
from appliance.errors import ForgeError
from models.machine.own import read


def packed(**arrays: Array) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


WHOLE = packed(samples=np.arange(5000.0))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage" * 100,
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:400] + bytes(100) + WHOLE[500:],
        packed(samples=np.array([{}], dtype=object)),
        packed(other=np.zeros(5000)),
        WHOLE[WHOLE.index(b"\x93NUMPY") : -200],
    ],
    ids=["empty", "garbage", "half", "bits", "pickled", "other", "lone array"],
)
def test_what_is_no_recording_is_told_without_advice_to_allow_pickles(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "healthy.npz").write_bytes(content)
    with pytest.raises(
        ForgeError, match=r"healthy\.npz: an \.npz with the array `samples` is wanted \(damaged"
    ) as told:
        read(tmp_path / "healthy.npz")
    assert "pickle" not in str(told.value)


def test_a_recording_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(ForgeError, match="No such file"):
        read(tmp_path / "none.npz")


@pytest.mark.parametrize("shaped", [np.ravel, lambda samples: samples.reshape(-1, 1)])
def test_a_recording_is_read_as_one_column(shaped: Callable[[Array], Array], tmp_path: Path) -> None:
    (tmp_path / "healthy.npz").write_bytes(packed(samples=shaped(np.arange(5000.0))))
    assert read(tmp_path / "healthy.npz").shape == (5000, 1)
