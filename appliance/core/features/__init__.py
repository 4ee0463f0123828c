"""From a frame to the numbers that a model takes, where those are not the frame's own.

An extractor may remember frames before (a card's history, a wearer's baseline). It does no input or output: what it
remembers is handed out as small entries by ``changes`` and handed back at the next start by ``restore``.

A new extractor adds its values to ``core.model``, a file here, a row to ``EXTRACTORS`` and a section to
``trust.description``.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from appliance.core.features.beats import Beats
from appliance.core.features.card_history import CardHistory
from appliance.core.features.spectrum import Spectrum
from appliance.core.model import BeatsExtract, CardHistoryExtract, Extract, SpectrumExtract
from appliance.core.types import Array, Frame

FORGOTTEN = b""
"""Value of an entry that is no longer remembered."""
ENTRY_BYTES_MAX = 65_536


class Extractor(Protocol):
    """Turns the frames of one channel into feature vectors. Used by one thread at a time."""

    @property
    def names(self) -> tuple[str, ...]:
        """The features, in the order of a vector."""
        ...

    @property
    def words(self) -> Mapping[str, str]:
        """For people, where a feature deserves it: what it means when this feature made a score high."""
        ...

    def __call__(self, frame: Frame, /) -> tuple[Array, ...]:
        """Return one or more float32 ``[features]`` vectors, not yet normalised: one for each inference.

        Raises FrameError when the frame does not fit, NoSignalError when it holds no signal, NoScoreError when what
        it would be judged against is not there yet.
        """
        ...

    def changes(self, entries_max: int) -> dict[str, bytes]:
        """Hand out entries that changed since they were last handed out, at most ``entries_max`` of them.

        Each value has at most ``ENTRY_BYTES_MAX`` bytes; FORGOTTEN when there is nothing to remember any more.
        """
        ...

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Take back what ``changes`` handed out before a restart; a damaged entry is left out, never fatal."""
        ...


EXTRACTORS: dict[type[Extract], Callable[[Any], Extractor]] = {
    BeatsExtract: Beats,
    CardHistoryExtract: CardHistory,
    SpectrumExtract: Spectrum,
}


def make_extractor(extract: Extract) -> Extractor:
    """Make the extractor that a model asks for; it remembers nothing yet."""
    return EXTRACTORS[type(extract)](extract)


def names_of(extract: Extract) -> tuple[str, ...]:
    """Return the features that an extractor with these settings gives, in order."""
    return make_extractor(extract).names
