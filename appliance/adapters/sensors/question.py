"""What a request must look like to be judged. Pure: bytes in, a question or a refusal out.

A request is a JSON object with a finite number for each of the model's fields and a string for each of its tokens
(whose card it is), optionally ``id`` (a string that comes back as ``request_id``), and other small strings; all strings
are carried into alerts unchanged. What else it holds is
left alone. Everything is bounded: a request comes from outside.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from appliance.core.types import Array

PAYLOAD_BYTES_MAX = 65_536
ID_CHARS_MAX = 128
CONTEXT_KEYS_MAX = 16
CONTEXT_CHARS_MAX = 256
"""Longest string that is carried along."""
FLOAT32_MAX = float(np.finfo(np.float32).max)
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A request that can be judged."""

    numbers: Array
    """float64 ``[fields]``, all finite and within float32, in the model's order."""
    request_id: str
    context: dict[str, str | float]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that cannot: what is wrong with it, in words that show none of its values."""

    error: str
    request_id: str = ""


class _WrongError(ValueError):
    """Ends the reading of a request; becomes a Refusal."""


def read_question(payload: bytes, names: Sequence[str], tokens: Sequence[str] = ()) -> Question | Refusal:
    """Read a request for a model with these fields (``names``) and ``tokens``. Never raises, whatever the bytes."""
    request_id = ""
    try:
        fields = _fields(payload)
        request_id = _request_id(fields)
        numbers = _numbers(fields, names)
        context = _context(fields, names)
        _require_tokens(context, tokens)
    except _WrongError as error:
        return Refusal(str(error), request_id)
    return Question(numbers, request_id, context)


def _fields(payload: bytes) -> dict[str, object]:
    """Parse the JSON object."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        msg = f"larger than {PAYLOAD_BYTES_MAX} bytes"
        raise _WrongError(msg)
    try:
        tree = json.loads(payload.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant)
    except _WrongError:
        raise
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, a number of 5000 digits, 50,000 brackets
        raise _WrongError("not a JSON object in UTF-8") from error
    if not isinstance(tree, dict):
        raise _WrongError("not a JSON object")
    return tree


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object that says a thing twice: which one was meant is a guess."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _WrongError("a key is there twice")
    return fields


def _no_constant(_word: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's parser knows and JSON does not."""
    raise _WrongError("NaN and Infinity are not JSON")


def _request_id(fields: dict[str, object]) -> str:
    """Return ``id``, or nothing."""
    value = fields.get("id", "")
    if not isinstance(value, str) or len(value) > ID_CHARS_MAX or not _is_text(value):
        msg = f"id must be a string of at most {ID_CHARS_MAX} characters"
        raise _WrongError(msg)
    return value


def _numbers(fields: dict[str, object], names: Sequence[str]) -> Array:
    """Return the numbers in the model's order."""
    numbers = np.empty(len(names), np.float64)
    for place, name in enumerate(names):
        if name not in fields:
            msg = f"feature {name!r} is missing"
            raise _WrongError(msg)
        value = fields[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            msg = f"feature {name!r} must be a number (0 or 1 for no or yes)"
            raise _WrongError(msg)
        if not abs(value) <= FLOAT32_MAX:
            msg = f"feature {name!r} is too large"
            raise _WrongError(msg)
        numbers[place] = value
    return numbers


def _require_tokens(context: dict[str, str | float], tokens: Sequence[str]) -> None:
    """Refuse a request that does not say whose it is."""
    missing = [token for token in tokens if not context.get(token)]
    if missing:
        msg = f"{missing[0]!r} is missing: a string that stands for it, never the number itself"
        raise _WrongError(msg)


def _context(fields: dict[str, object], names: Sequence[str]) -> dict[str, str | float]:
    """Return the strings to carry along, ``id`` among them."""
    context: dict[str, str | float] = {}
    for key, value in fields.items():
        if not isinstance(value, str) or key in names:
            continue
        if not _KEY.fullmatch(key) or len(value) > CONTEXT_CHARS_MAX or not _is_text(value):
            msg = f"{key!r:.80}: letters, digits, _ . - in its name and {CONTEXT_CHARS_MAX} characters at most, please"
            raise _WrongError(msg)
        context[key] = value
    if len(context) > CONTEXT_KEYS_MAX:
        msg = f"{len(context)} strings; at most {CONTEXT_KEYS_MAX}"
        raise _WrongError(msg)
    return context


def _is_text(value: str) -> bool:
    """Whether UTF-8 can hold it: JSON may smuggle in half a surrogate pair, which no later step could send."""
    return not any("\ud800" <= char <= "\udfff" for char in value)
