"""The record of an update: it comes back as it was written, or it is refused; never as something else."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import StateError
from appliance.trust.state import REASON_CHARACTERS_MAX, ModelState, Stage, decode, encode, shorten
from tests.trust.updating import MODEL, state_at

RECORD = encode(state_at(Stage.TRIAL))


@pytest.mark.parametrize("stage", Stage)
def test_a_record_comes_back_as_it_was_written(stage: Stage) -> None:
    state = state_at(stage)
    assert decode(encode(state), MODEL) == state


@given(place=st.integers(0, len(RECORD) * 8 - 1))
def test_a_record_with_one_wrong_bit_is_refused_or_the_same(*, place: int) -> None:
    """A bit of the outer JSON's layout may not matter; one of its content always does."""
    damaged = bytearray(RECORD)
    damaged[place // 8] ^= 1 << place % 8
    with suppress(StateError):
        assert decode(bytes(damaged), MODEL) == state_at(Stage.TRIAL)


@given(length=st.integers(0, len(RECORD) - 2))
def test_a_torn_record_is_refused(*, length: int) -> None:
    with pytest.raises(StateError):
        decode(RECORD[:length], MODEL)


keys = st.sampled_from(["format", "crc32", "body"])
trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=5,
)


@given(raw=st.binary(max_size=200) | trees.map(lambda tree: json.dumps(tree).encode()))
def test_whatever_else_lies_there_is_refused(*, raw: bytes) -> None:
    with pytest.raises(StateError):
        decode(raw, MODEL)


def test_the_record_of_another_model_is_refused() -> None:
    with pytest.raises(StateError, match="is that of person"):
        decode(RECORD, "fraud")


def test_a_record_whose_checksum_fits_but_that_cannot_be_is_refused() -> None:
    state = ModelState.model_construct(model=MODEL, committed="../../etc")
    with pytest.raises(StateError, match="validation error"):
        decode(encode(state), MODEL)


def test_a_long_reason_is_cut_to_what_a_record_holds() -> None:
    assert shorten("x" * 1000).endswith("x…")
    assert len(shorten("x" * 1000)) == REASON_CHARACTERS_MAX
    assert shorten("short") == "short"
