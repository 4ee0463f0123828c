"""Bytes: whatever a payload holds, it goes over the wire as flat JSON and comes back as it went."""

import json
from collections.abc import Mapping
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.types import Alert, Box, Decision, OutcomeState
from appliance.core.wire import STATE_KEYS, encode, event, reply, state
from tests.core.making import IDENTITY, STAMP, keys_of, make_alert, make_decision, make_prediction

DECISION = make_decision({"intruder": True})


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, b""),
        ("online", b"online"),
        ({}, b"{}"),
        ({"a": 1, "b": [None, True]}, b'{"a":1,"b":[null,true]}'),
        ({"name": "Tür"}, '{"name":"Tür"}'.encode()),
        ({"name": "\ud800"}, b'{"name":"?"}'),
        ("\udc00", b"?"),
    ],
)
def test_payloads_become_compact_utf8(payload: Mapping[str, object] | str | None, expected: bytes) -> None:
    assert encode(payload) == expected


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_number_that_is_not_finite_is_never_sent(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode({"score": value})


def test_context_from_outside_cannot_break_a_payload() -> None:
    alert = make_alert(context={"amount": nan, "limit": inf, "card": "\ud800"})
    payload = json.loads(encode(event(alert, DECISION, IDENTITY, STAMP).payload))
    assert (payload["context_amount"], payload["context_limit"], payload["context_card"]) == (None, None, "?")


numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
boxes = st.none() | st.builds(Box, *[st.floats(0, 1, width=32)] * 4)
contexts = st.dictionaries(st.sampled_from(["card", "schema", "score", "id"]) | words, words | numbers, max_size=4)


@st.composite
def decisions(draw: st.DrawFn) -> Decision:
    """Judged and unjudged decisions with any rules, words and numbers."""
    outcome_state = draw(st.sampled_from(OutcomeState))
    judged = outcome_state is OutcomeState.RESULT
    names = draw(st.sets(st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,8}\Z"), max_size=4)) - STATE_KEYS
    return make_decision(
        {name: draw(st.booleans()) if judged else None for name in sorted(names)},
        outcome_state=outcome_state,
        predictions=tuple(make_prediction(draw(numbers), draw(words)) for _ in range(draw(st.integers(0, 2)))),
        reason="" if judged else draw(words),
        decided_s=1.0 + draw(st.floats(0, 10)),
    )


@given(decisions(), st.builds(make_alert, score=numbers, label=words, box=boxes, context=contexts))
def test_every_payload_is_flat_json_and_comes_back_as_it_went(decision: Decision, alert: Alert) -> None:
    for payload in (
        keys_of(event(alert, decision, IDENTITY, STAMP)),
        keys_of(state(decision, IDENTITY, STAMP)),
        reply(decision, IDENTITY, STAMP, "r"),
    ):
        assert all(value is None or isinstance(value, str | bool | int | float) for value in payload.values())
        assert json.loads(encode(payload)) == payload


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_scores_lose_no_more_than_float32_never_had(score: float) -> None:
    payload = keys_of(event(make_alert(score=score), DECISION, IDENTITY, STAMP))
    assert payload["score"] == pytest.approx(score, rel=1e-5, abs=0)
