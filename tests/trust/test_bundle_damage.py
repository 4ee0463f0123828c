"""A damaged bundle is refused, or caught by a digest, or harmless: a few of the many that the slow run tries."""

import pytest

from tests.trust.damage import NAMES, every, outcome, storm, subject

HARMLESS = {"refused", "caught", "right"}


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_bundle_is_never_taken_for_a_sound_one(name: str) -> None:
    sound = subject(name)
    assert outcome(sound.written(), sound.base, sound.result) == "right"
    found = storm(sound, range(100))
    assert set(found) <= HARMLESS
    assert found["refused"]


def test_a_bit_that_is_flipped_in_the_container_is_never_taken_for_a_sound_one() -> None:
    assert set(every(subject("copy"))) <= HARMLESS


def test_what_only_the_digest_can_tell_is_told_by_it() -> None:
    """A changed digit of a delta makes another model of the right size: that is what digests are for."""
    assert storm(subject("sub-xz"), range(1000, 1100))["caught"]
