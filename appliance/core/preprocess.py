"""From a frame to the model's input tensors: features extracted, pictures fitted, normalised, quantised."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.core.features import Extractor
from appliance.core.model import Model
from appliance.core.quant import lookup_table, normalise, quantise
from appliance.core.tiling import WHOLE, Tiling
from appliance.core.types import Array, Box, Frame, FrameKind
from appliance.errors import FrameError

_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Placement:
    """Where what is shown lies in the model's picture, in fractions of the latter; all of it unless letterboxed."""

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0

    def to_shown(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map boxes in fractions of the model's picture to fractions of what is shown, clipped to 0..1.

        Args:
            boxes: ``[n, 4]`` ymin, xmin, ymax, xmax.
        """
        origin = np.array((self.top, self.left, self.top, self.left))
        extent = np.array((self.height, self.width, self.height, self.width))
        clipped: NDArray[np.float64] = np.clip((boxes - origin) / extent, 0.0, 1.0)
        return clipped


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A frame, or a part of it, ready for ``infer``."""

    tensor: Array
    """Exactly the shape and dtype of the model's input; shares no memory with the frame."""
    placement: Placement = Placement()
    region: Box = WHOLE
    """What of the frame is shown, in fractions of it: a tile, or all."""
    features: Array | None = None
    """What an extractor made of the frame, before it was normalised; None where there is none."""

    def to_frame(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map boxes in fractions of the model's picture to fractions of the frame, clipped to what is shown of it.

        Args:
            boxes: ``[n, 4]`` ymin, xmin, ymax, xmax.
        """
        region = self.region
        origin = np.array((region.ymin, region.xmin, region.ymin, region.xmin))
        extent = np.array((region.height, region.width, region.height, region.width))
        # Clipped once more: the product may miss the frame's edge by a rounding error.
        mapped: NDArray[np.float64] = np.clip(origin + self.placement.to_shown(boxes) * extent, 0.0, 1.0)
        return mapped


class Preprocessor:
    """Prepares frames for one model. All that depends on the model alone is computed once, here."""

    def __init__(self, model: Model, extractor: Extractor | None = None, tiling: Tiling | None = None) -> None:
        """``model`` is verified: its input's shape agrees with its kind of frame, mean and std.

        ``extractor`` is what its ``extract`` asks for, and belongs to one channel. ``tiling`` is for pictures: their
        tiles are prepared too, after the whole.
        """
        assert tiling is None or model.preprocess.kind is FrameKind.IMAGE, "only pictures have tiles"
        self._regions = tiling.regions() if tiling else (WHOLE,)
        assert (extractor is None) is (model.extract is None), "a model that asks for an extractor gets one"
        self._kind = model.preprocess.kind
        self._extractor = extractor
        self._prepare = _PREPARE[self._kind](model) if extractor is None else _record(model)

    def __call__(self, frame: Frame) -> tuple[Prepared, ...]:
        """Prepare one frame: one or more parts, each for an inference of its own.

        Raises FrameError when it does not fit the model; NoSignalError and NoScoreError as its extractor does.
        """
        if frame.kind is not self._kind:
            msg = f"the frame is of kind {frame.kind.value!r}; the model takes {self._kind.value!r}"
            raise FrameError(msg)
        if self._kind is FrameKind.IMAGE:
            _require(frame.data, np.uint8, (None, None, _CHANNELS))
            return tuple(self._part(frame.data, region) for region in self._regions)
        if self._extractor is None:
            return (self._prepare(frame.data),)
        return tuple(self._features(vector) for vector in self._extractor(frame))

    def again(self, frame: Frame, parts: Sequence[Prepared]) -> tuple[Prepared, ...]:
        """Prepare a frame of which another model of the same extractor was given ``parts``.

        An extractor remembers each frame, so it must not see one twice: its features are taken from there.
        Raises FrameError.
        """
        if self._extractor is None:
            return self(frame)
        return tuple(self._features(part.features) for part in parts if part.features is not None)

    def _features(self, vector: Array) -> Prepared:
        """Prepare what the extractor made."""
        return replace(self._prepare(vector), features=vector)

    def _part(self, picture: Array, region: Box) -> Prepared:
        """Prepare the pixels of one region, one at least."""
        height_px, width_px = picture.shape[:2]
        top, bottom = _pixels(region.ymin, region.ymax, height_px)
        left, right = _pixels(region.xmin, region.xmax, width_px)
        prepared = self._prepare(picture[top:bottom, left:right])
        shown = Box(top / height_px, left / width_px, bottom / height_px, right / width_px)
        return replace(prepared, region=shown)


def _pixels(low: float, high: float, size_px: int) -> tuple[int, int]:
    """Turn a span in fractions into whole pixels, from and to (excluded)."""
    first = min(round(low * size_px), size_px - 1)
    return first, max(round(high * size_px), first + 1)


class _Picture:
    """uint8 BGR pictures of any size: resized, colours in the model's order, one look-up a value."""

    def __init__(self, model: Model) -> None:
        batch, self._height_px, self._width_px, channels = model.input.shape
        assert (batch, channels) == (1, _CHANNELS), f"input {model.input.shape} is no [1, height, width, 3]"
        wanted = model.preprocess
        self._rgb = wanted.colour == "rgb"
        self._letterbox = wanted.fit == "letterbox"
        table = lookup_table(wanted.mean, wanted.std, model.input)
        # OpenCV looks up in one table for all channels in half the time of one table each.
        self._table = table[:, 0].copy() if (table == table[:, :1]).all() else table[np.newaxis]
        # The bars of a letterbox are the mean colour: real 0, the value that a convolution's own padding has too.
        self._bars = quantise(np.zeros(model.input.shape, np.float32), model.input)

    def __call__(self, picture: Array) -> Prepared:
        top, left, height_px, width_px = self._fit(picture)
        fitted = picture
        if picture.shape[:2] != (height_px, width_px):
            # Bilinear without averaging, as TensorFlow resizes where such models are trained; INTER_AREA takes
            # nine times as long at 768 x 576 and its cost grows with the frame.
            fitted = cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
        if self._rgb:
            fitted = cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB)
        values: Array = cv2.LUT(fitted, self._table)
        if values.shape[:2] == (self._height_px, self._width_px):
            return Prepared(values[np.newaxis])
        tensor = self._bars.copy()
        tensor[0, top : top + height_px, left : left + width_px] = values
        return Prepared(
            tensor,
            Placement(
                top=top / self._height_px,
                left=left / self._width_px,
                height=height_px / self._height_px,
                width=width_px / self._width_px,
            ),
        )

    def _fit(self, picture: Array) -> tuple[int, int, int, int]:
        """Return the top, left, height and width, in pixels, of the frame's place in the model's picture."""
        if not self._letterbox:
            return 0, 0, self._height_px, self._width_px
        height_px, width_px = picture.shape[:2]
        scale = min(self._height_px / height_px, self._width_px / width_px)
        height_px = max(1, round(height_px * scale))
        width_px = max(1, round(width_px * scale))
        return (self._height_px - height_px) // 2, (self._width_px - width_px) // 2, height_px, width_px


class _Numbers:
    """float32 numbers of one fixed shape: a window of a signal, or a record."""

    def __init__(self, model: Model, shape: tuple[int, ...], dtype: type[np.generic] = np.float32) -> None:
        assert prod(shape) == prod(model.input.shape), f"{shape} does not fill the input {model.input.shape}"
        self._shape, self._dtype = shape, dtype
        self._input = model.input
        self._mean, self._std = model.preprocess.mean, model.preprocess.std

    def __call__(self, numbers: Array) -> Prepared:
        _require(numbers, self._dtype, self._shape)
        real = normalise(numbers, self._mean, self._std)
        usable = np.isfinite(real)  # of the input, and of what normalising made of it
        if not usable.all():
            msg = f"{int((~usable).sum())} of {usable.size} values are NaN or infinite; finite numbers are wanted"
            raise FrameError(msg)
        return Prepared(quantise(real, self._input).reshape(self._input.shape))


def _window(model: Model) -> _Numbers:
    channels = len(model.preprocess.mean)
    return _Numbers(model, (prod(model.input.shape) // channels, channels))


def _record(model: Model) -> _Numbers:
    # A record is float64, for times since 1970 need it; what an extractor makes of one is float32.
    return _Numbers(model, (len(model.preprocess.mean),), np.float64 if model.extract is None else np.float32)


_PREPARE: dict[FrameKind, Callable[[Model], Callable[[Array], Prepared]]] = {
    FrameKind.IMAGE: _Picture,
    FrameKind.WINDOW: _window,
    FrameKind.RECORD: _record,
}


def _require(data: Array, dtype: type[np.generic], shape: tuple[int | None, ...]) -> None:
    """Raise FrameError unless ``data`` has this dtype and shape, where None is any length but 0."""
    fits = len(data.shape) == len(shape) and all(
        came > 0 if wanted is None else came == wanted for came, wanted in zip(data.shape, shape, strict=True)
    )
    if not fits or data.dtype != dtype:
        wanted_shape = ", ".join("1 or more" if length is None else str(length) for length in shape)
        msg = f"the frame is {data.dtype} {list(data.shape)}; the model takes {np.dtype(dtype)} [{wanted_shape}]"
        raise FrameError(msg)
