"""One purchase with a card, as a request tells it."""

from dataclasses import dataclass

from appliance.core.features.book import digest
from appliance.core.model import CardHistoryExtract
from appliance.core.types import Frame, FrameKind
from appliance.errors import FrameError

AMOUNT_MAX = 1e9
TIME_MAX_S = 4_102_444_800.0
"""2100-01-01 UTC."""
KM_MAX = 50_000.0
CATEGORIES = 8
"""Kinds of merchant, numbered from 0; which is which is the sender's choice, and the same as in training."""
TOKEN_CHARS_MAX = 256


@dataclass(frozen=True, slots=True)
class Purchase:
    """A request whose every value has been checked."""

    amount: float
    """Above 0, in the card's currency."""
    time_s: float
    """UTC seconds since 1970 at which the card was used, as the terminal says: no clock of ours."""
    x_km: float
    y_km: float
    category: int
    online: bool
    """The card was not present."""
    card: bytes
    terminal: bytes
    """Digests of the two tokens."""


_RANGES = (
    ("amount", 0.0, AMOUNT_MAX),
    ("time", 0.0, TIME_MAX_S),
    ("x", -KM_MAX, KM_MAX),
    ("y", -KM_MAX, KM_MAX),
    ("category", 0.0, CATEGORIES - 1.0),
    ("card_not_present", 0.0, 1.0),
)
_WHOLE = ("category", "card_not_present")
assert tuple(name for name, _, _ in _RANGES) == CardHistoryExtract.FIELDS, "the order of a record is said elsewhere"


def read_purchase(frame: Frame) -> Purchase:
    """Read a RECORD frame of float64 ``[6]`` with a card's and a terminal's token. Raises FrameError."""
    if frame.kind is not FrameKind.RECORD or frame.data.shape != (len(_RANGES),):
        msg = f"the frame is {frame.kind} {list(frame.data.shape)}; a record of {len(_RANGES)} numbers is wanted"
        raise FrameError(msg)
    numbers = frame.data.tolist()
    for number, (name, least, most) in zip(numbers, _RANGES, strict=True):
        # Not a number is not between any two.
        if not least <= number <= most or (name in _WHOLE and number != int(number)):
            whole = "a whole number " if name in _WHOLE else ""
            msg = f"{name} is {whole}from {least:g} to {most:g}"
            raise FrameError(msg)
    amount, time_s, x_km, y_km, category, online = numbers
    if amount == 0.0:
        raise FrameError("amount is 0: nothing was bought")
    return Purchase(
        amount=amount,
        time_s=time_s,
        x_km=x_km,
        y_km=y_km,
        category=int(category),
        online=bool(online),
        card=_token(frame, "card"),
        terminal=_token(frame, "terminal"),
    )


def _token(frame: Frame, name: str) -> bytes:
    word = frame.context.get(name)
    if not isinstance(word, str) or not 0 < len(word) <= TOKEN_CHARS_MAX:
        msg = f"the request names no {name}: a word of 1 to {TOKEN_CHARS_MAX} characters"
        raise FrameError(msg)
    return digest(word)
