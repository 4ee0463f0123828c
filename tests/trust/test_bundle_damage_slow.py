"""Every bit and every length of small bundles, and 100,000 damaged ones, in the memory that a device allows."""

import pytest

from tests.trust.damage import NAMES, confined, every, storm, subject

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

HARMLESS = {"refused", "caught", "right"}
DAMAGED = dict.fromkeys(NAMES, 16_000) | {"tad1": 9_000}
"""Bundles by kind, more than 100,000 together; tad1 takes the longest to read."""


@pytest.mark.parametrize("name", NAMES)
class TestADamagedBundle:
    def test_is_never_taken_for_a_sound_one(self, name: str) -> None:
        sound = subject(name)
        found = confined(sound, lambda: storm(sound, range(DAMAGED[name])))
        print(name, dict(found))
        assert set(found) <= HARMLESS
        assert found.total() == DAMAGED[name]

    def test_with_one_bit_flipped_or_cut_off_anywhere_is_never_taken_for_a_sound_one(self, name: str) -> None:
        sound = subject(name)
        found = confined(sound, lambda: every(sound))
        print(name, dict(found))
        assert set(found) <= HARMLESS
        assert found.total() == 9 * len(sound.written())
