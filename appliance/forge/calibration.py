"""What a network is calibrated with: a few hundred inputs of the kind the device will see, and how they are refused.

INT8 ranges are read off these inputs. Pictures that were not normalised, or the same picture a hundred times, give a
model that runs, looks sound, and answers nonsense; so what does not look like the input is refused here.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.core.types import Array, FrameKind
from appliance.errors import ForgeError
from appliance.forge import samples
from appliance.forge.samples import InputSpec

SAMPLES_MIN = 10
"""Fewer distinct ones do not show a range. Some hundred are better."""
PIXEL_MAX = 255
OUTSIDE_MAX = 0.1
"""How far a picture's values may lie outside of what mean and std make of 0..255, as share of that range."""
UNUSED_MAX = 0.4
"""How much of that range may stay unused at either end: a set of pictures has dark and bright spots somewhere."""
OFF_CENTRE_MAX = 20.0
"""Standard deviations: a feature whose median lies farther off was not normalised with this mean and std."""
ALIKE_MAX = 1e-3
"""Inputs differ from one another by less than this share of the spread of all their values: they are all alike."""
SPREAD_MIN, SPREAD_MAX = 1e-3, 100.0
"""Of all values together, in standard deviations, where mean and std are known."""
OVERLAP_MIN = 0.25
"""Least share that the ranges of calibration and test data have in common, of both together."""
TAIL = 0.01
"""Share of values at either end that makes no range: a few may be anything."""
SATURATED_MAX = 0.01
"""Share of test values beyond the calibrated range that is still not worth a word."""


def load(path: Path, spec: InputSpec) -> NDArray[np.float32]:
    """Read calibration inputs (``samples.read``: pictures, recording, NPZ) and check that they look like the input.

    Returns:
        float32 ``[n, *spec.shape[1:]]``, n from SAMPLES_MIN to ``samples.SAMPLES_MAX``.

    Raises:
        ForgeError: nothing there, unreadable, or it does not look like the input.
    """
    try:
        return check(samples.read(path, spec), spec.shape, spec)
    except ForgeError as error:
        if str(path) in str(error):
            raise
        msg = f"{path}: {error}"
        raise ForgeError(msg) from error


def check(inputs: Sequence[Array] | Array, shape: Sequence[int], spec: InputSpec | None = None) -> NDArray[np.float32]:
    """Return inputs of a network as one float32 array, or say why they are none.

    Args:
        inputs: normalised, ``[n, ...]`` without a batch of their own.
        shape: of the network's input, batch included.
        spec: where known, how the values were normalised: then their range is judged too.

    Raises:
        ForgeError: with the first thing that is wrong: type, shape, NaN, too few, constant, all alike, range.
    """
    values = _as_floats(inputs, tuple(shape[1:]))
    _require_variety(values)
    if spec is not None and spec.mean and spec.kind is FrameKind.IMAGE:
        _require_pixels(values, spec)
    elif spec is not None and spec.mean:
        _require_normalised(values)
    return values


def compare(path: Path, inputs: NDArray[np.float32], test: Array) -> tuple[str, ...]:
    """Hold calibration inputs against the inputs of a test, both normalised; gives what should be known.

    Raises:
        ForgeError: they share next to no range, so that one of the two was normalised otherwise or not at all.
    """
    (low, high), (least, most) = (np.quantile(each, (TAIL, 1 - TAIL)) for each in (inputs, test))
    together, shared = max(high, most) - min(low, least), min(high, most) - max(low, least)
    if shared < OVERLAP_MIN * together:
        msg = (
            f"{path}: calibration values lie between {low:.4g} and {high:.4g}, those of the test between {least:.4g} "
            f"and {most:.4g}: normalise both as the network was trained"
        )
        raise ForgeError(msg)
    saturated = float(((test < inputs.min()) | (test > inputs.max())).mean())
    if saturated <= SATURATED_MAX:
        return ()
    return (f"warning: {saturated:.1%} of the test's values lie beyond the calibrated range and saturate",)


def _as_floats(inputs: Sequence[Array] | Array, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return finite float32 ``[n, *shape]``."""
    try:
        values = np.asarray(inputs)
    except ValueError as error:
        msg = "calibration inputs are of different shapes"
        raise ForgeError(msg) from error
    if values.shape[1:] != shape:
        msg = f"calibration inputs have the shape {list(values.shape[1:])}; the network takes {list(shape)}"
        if len(shape) > 1 and values.shape[1:] == (shape[-1], *shape[:-1]):
            last = (0, *range(2, values.ndim), 1)
            msg += f"; channels stand last here: np.transpose(inputs, {last})"
        raise ForgeError(msg)
    if values.dtype.kind != "f":
        hint = "; raw pixels belong in a folder of pictures or a recording" if values.dtype == np.uint8 else ""
        msg = f"calibration inputs are {values.dtype}; normalised floats are wanted{hint}"
        raise ForgeError(msg)
    bad = int((~np.isfinite(values)).sum())
    if bad:
        msg = f"{bad} of {values.size} calibration values are NaN or infinite"
        raise ForgeError(msg)
    return values.astype(np.float32)


def _require_variety(values: NDArray[np.float32]) -> None:
    """Raise ForgeError when there are too few, or they show the network next to nothing."""
    if len(values) < SAMPLES_MIN:
        msg = f"{len(values)} calibration inputs show no range: {SAMPLES_MIN} are needed, some hundred are better"
        raise ForgeError(msg)
    if np.ptp(values) == 0:
        msg = f"every calibration value is {values.flat[0]:g}: a constant calibrates nothing"
        raise ForgeError(msg)
    distinct = len({each.tobytes() for each in values})
    between, overall = float(values.std(axis=0).max()), float(values.std())
    if distinct < SAMPLES_MIN or between < ALIKE_MAX * overall:
        msg = f"the {len(values)} calibration inputs are all alike ({distinct} differ): show what the device will see"
        raise ForgeError(msg)
    if values.ndim > 2 and not np.ptp(values.reshape(len(values), -1), axis=1).any():  # noqa: PLR2004 - batch, features
        msg = "each calibration input is one value throughout: blank pictures, or a sensor that was not connected"
        raise ForgeError(msg)


def _require_pixels(values: NDArray[np.float32], spec: InputSpec) -> None:
    """Raise ForgeError unless these can be pixels that were normalised with this mean and std."""
    ends = spec.normalise(np.array([[0.0] * values.shape[-1], [PIXEL_MAX] * values.shape[-1]], np.float32))
    low, high = float(ends.min()), float(ends.max())
    least, most, width = float(values.min()), float(values.max()), high - low
    outside = max(low - least, most - high) > OUTSIDE_MAX * width
    unused = max(least - low, high - most) > UNUSED_MAX * width
    if outside or unused:
        msg = (
            f"calibration values lie between {least:g} and {most:g}; pixels normalised by this mean and std fill "
            f"{low:g} to {high:g}: were they normalised otherwise, or not at all?"
        )
        raise ForgeError(msg)


def _require_normalised(values: NDArray[np.float32]) -> None:
    """Raise ForgeError when numbers are far from what normalising by mean and std gives."""
    centre = np.median(values.reshape(-1, values.shape[-1]), axis=0)
    worst = int(np.abs(centre).argmax())
    spread = float(values.std())
    if abs(centre[worst]) > OFF_CENTRE_MAX or not SPREAD_MIN <= spread <= SPREAD_MAX:
        msg = (
            f"calibration values are far from what mean and std make of the network's input (feature or channel "
            f"{worst} has the median {centre[worst]:g}, all together spread {spread:g}): wrong unit, or not normalised?"
        )
        raise ForgeError(msg)
