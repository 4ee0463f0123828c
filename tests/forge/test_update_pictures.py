"""The drawn plates that pairs of model files are trained on: seeded, in range, and each fault to be seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.updates.pictures import ADDED, FAULTS, SIDE_PX, A, B, Place, draw

KINDS = FAULTS + ADDED


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([A, B]))
def test_the_same_seed_draws_the_same_plates(seed: int, place: Place) -> None:
    (first, labels), (again, _) = (draw(3, place, seed, KINDS) for _ in range(2))
    assert np.array_equal(first, again)
    assert first.shape == (3, SIDE_PX, SIDE_PX, 3)
    assert first.dtype == np.float32
    assert labels.tolist() == [0, 1, 2]
    assert -1 <= first.min() < first.max() <= 1


@pytest.mark.parametrize("fault", KINDS[1:])
def test_a_fault_can_be_seen(fault: str) -> None:
    plain = Place(light=(1.0, 1.0, 1.0), falloff=0.0, noise=0.0, radius=(0.7, 0.7))
    sound, faulty = (draw(1, plain, 5, (kind,))[0] for kind in ("sound", fault))
    assert (np.abs(sound - faulty).max(axis=-1) > 0.1).sum() > 15, "pixels"


def test_place_b_is_darker_and_noisier_than_place_a() -> None:
    bright, dim = (draw(20, place, 1)[0] for place in (A, B))
    assert dim.mean() < bright.mean() - 0.1
    assert np.diff(dim, axis=2).std() > np.diff(bright, axis=2).std() * 0.8
