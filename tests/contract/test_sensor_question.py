"""What a request must look like; whatever comes, the answer is a question or a refusal and never an exception."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.adapters.sensors.question import (
    CONTEXT_CHARS_MAX,
    CONTEXT_KEYS_MAX,
    ID_CHARS_MAX,
    PAYLOAD_BYTES_MAX,
    Question,
    Refusal,
    read_question,
)

FEATURES = ("amount", "hour")
GOOD = {"amount": 12.5, "hour": 3}


def asked(**fields: object) -> Question | Refusal:
    return read_question(json.dumps({**GOOD, **fields}).encode(), FEATURES)


def test_the_features_come_in_the_models_order_whatever_the_requests_order() -> None:
    question = read_question(b'{"hour": 3, "other": [1], "amount": 12.5, "id": "t-1", "card": "x9"}', FEATURES)
    assert isinstance(question, Question)
    assert question.numbers.tolist() == [12.5, 3.0]
    assert question.numbers.dtype == np.float64
    assert question.request_id == "t-1"
    assert question.context == {"id": "t-1", "card": "x9"}


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", "not a JSON object"),
        (b"\xff\xfe", "not a JSON object in UTF-8"),
        (b"[1, 2]", "not a JSON object"),
        (b"[" * 60_000, "not a JSON object"),
        (b'{"amount": 1}', "feature 'hour' is missing"),
        (b'{"amount": null, "hour": 3}', "feature 'amount' must be a number"),
        (b'{"amount": "12", "hour": 3}', "feature 'amount' must be a number"),
        (b'{"amount": true, "hour": 3}', "feature 'amount' must be a number"),
        (b'{"amount": NaN, "hour": 3}', "NaN and Infinity are not JSON"),
        (b'{"amount": -Infinity, "hour": 3}', "NaN and Infinity are not JSON"),
        (b'{"amount": 1e999, "hour": 3}', "feature 'amount' is too large"),
        (b'{"amount": 1e39, "hour": 3}', "feature 'amount' is too large"),
        (b'{"amount": ' + b"9" * 400 + b', "hour": 3}', "feature 'amount' is too large"),
        (b'{"amount": ' + b"9" * 5000 + b', "hour": 3}', "not a JSON object"),
        (b'{"amount": 1, "amount": 2, "hour": 3}', "a key is there twice"),
        (b'{"amount": 1, "hour": 3, "x": {"a": 1, "a": 2}}', "a key is there twice"),
        (b" " * (PAYLOAD_BYTES_MAX + 1), f"larger than {PAYLOAD_BYTES_MAX} bytes"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(payload: bytes, error: str) -> None:
    refusal = read_question(payload, FEATURES)
    assert isinstance(refusal, Refusal)
    assert error in refusal.error


def test_a_refusal_of_a_request_with_an_id_carries_it_and_shows_no_value() -> None:
    refusal = read_question(b'{"id": "t-7", "amount": "4929-1234", "hour": 3}', FEATURES)
    assert isinstance(refusal, Refusal)
    assert refusal.request_id == "t-7"
    assert "4929" not in refusal.error


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 7},
        {"id": "x" * (ID_CHARS_MAX + 1)},
        {"id": "\ud800"},
        {"note": "x" * (CONTEXT_CHARS_MAX + 1)},
        {"note": "\udfff"},
        {"a b": "x"},
        {"": "x"},
        {"k" * 65: "x"},
        {f"k{number}": "x" for number in range(CONTEXT_KEYS_MAX + 1)},
    ],
)
def test_what_is_carried_along_is_bounded(fields: dict[str, object]) -> None:
    refusal = asked(**fields)
    assert isinstance(refusal, Refusal)
    assert refusal.request_id == "", "what is not sound is not sent back"


def test_what_is_carried_along_may_be_as_large_as_the_bounds() -> None:
    fields = {f"k{number}": "x" * CONTEXT_CHARS_MAX for number in range(CONTEXT_KEYS_MAX)}
    question = asked(**fields)
    assert isinstance(question, Question)
    assert question.context == fields


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NEARLY_GOOD = st.fixed_dictionaries(
    {}, optional={"amount": ANY_JSON, "hour": st.floats() | st.integers(), "id": ANY_JSON, "card": ANY_JSON}
)


@given(st.binary(max_size=200) | ANY_JSON.map(json.dumps).map(str.encode) | NEARLY_GOOD.map(json.dumps).map(str.encode))
def test_any_bytes_are_a_question_with_finite_numbers_and_sendable_text_or_a_refusal(payload: bytes) -> None:
    result = read_question(payload, FEATURES)
    if isinstance(result, Refusal):
        assert result.error
        result.error.encode()
        result.request_id.encode()
    else:
        assert all(math.isfinite(number) for number in result.numbers)
        json.dumps(result.context, allow_nan=False).encode()
        str(result.context).encode()


@given(st.fixed_dictionaries({"amount": st.floats(-1e38, 1e38), "hour": st.integers(-(2**31), 2**31)}))
def test_every_number_that_float32_holds_is_taken_as_it_is(fields: dict[str, float]) -> None:
    question = read_question(json.dumps(fields).encode(), FEATURES)
    assert isinstance(question, Question)
    assert question.numbers.tolist() == [fields["amount"], fields["hour"]]


TOKENS = ("card", "terminal")


def test_a_request_for_a_model_with_tokens_says_whose_it_is() -> None:
    question = read_question(b'{"amount": 1, "hour": 2, "card": "c1", "terminal": "t9"}', FEATURES, TOKENS)
    assert isinstance(question, Question)
    assert question.context == {"card": "c1", "terminal": "t9"}


@pytest.mark.parametrize("words", ['"card": "c1"', '"card": "c1", "terminal": ""', '"card": "c1", "terminal": 9'])
def test_a_request_that_does_not_say_whose_it_is_is_refused(words: str) -> None:
    refusal = read_question(f'{{"amount": 1, "hour": 2, "id": "r1", {words}}}'.encode(), FEATURES, TOKENS)
    assert isinstance(refusal, Refusal)
    assert "'terminal' is missing" in refusal.error
    assert refusal.request_id == "r1"


def test_a_time_since_1970_keeps_its_milliseconds() -> None:
    question = read_question(b'{"amount": 1767225600.125, "hour": 0}', FEATURES)
    assert isinstance(question, Question)
    assert question.numbers[0] == 1767225600.125
