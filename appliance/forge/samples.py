"""Inputs read from what people have: a folder of pictures, a recording, or arrays in an NPZ."""

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from appliance.core.quant import normalise
from appliance.core.types import Array, FrameKind
from appliance.errors import ForgeError

SAMPLES_MAX = 1000
"""More are thinned out evenly: they cost time and change no range."""
SIZE_BYTES_MAX = 4 << 30
"""Of all arrays of an NPZ together, unpacked."""
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
_PICTURE_DIMENSIONS = 4
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,  # encrypted, or packed in a way that zipfile lacks
    OverflowError,
    MemoryError,
    TypeError,  # a header that is no header, and the two below
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What zipfile and numpy raise for files that are no NPZ."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network is given: as ``[input]`` and ``[preprocess]`` of a model.toml have it."""

    shape: tuple[int, ...]
    """Batch 1 included."""
    kind: FrameKind = FrameKind.RECORD
    mean: tuple[float, ...] = ()
    """One entry a colour channel, signal channel or feature; or one for all. Empty: unknown."""
    std: tuple[float, ...] = ()
    colour: Literal["rgb", "bgr"] = "rgb"
    fit: Literal["stretch", "letterbox"] = "stretch"
    key: str = "inputs"
    """The array to read in an NPZ that is no recording."""

    def normalise(self, values: Array) -> NDArray[np.float32]:
        """Return ``(values - mean) / std``. Raises ForgeError when their number does not fit the last axis."""
        self.require_numbers(values.shape[-1])
        return normalise(values, self.mean, self.std)

    def require_numbers(self, entries: int) -> None:
        """Raise ForgeError unless mean and std fit so many channels or features."""
        if not self.mean:
            msg = "pictures and recordings are raw: give the --mean and --std the network was trained with"
            raise ForgeError(msg)
        if len(self.mean) != len(self.std) or len(self.mean) not in {1, entries}:
            msg = f"{len(self.mean)} means and {len(self.std)} standard deviations for {entries} channels or features"
            raise ForgeError(msg)


def read(path: Path, spec: InputSpec) -> Array:
    """Read normalised inputs, ``[n, *spec.shape[1:]]`` unless the file says otherwise; not yet checked.

    Args:
        path: a folder of pictures (by name), a recording (``.npz`` with ``kind`` and ``frames``, as the replay sensor
            plays it; frames marked as no signal are left out), or another ``.npz`` with inputs under ``spec.key``.
        spec: pictures and recordings are normalised by its mean and std; inputs under ``spec.key`` are taken as they
            are.

    Raises:
        ForgeError: nothing there, unreadable, or of another kind.
    """
    if path.is_dir():
        return _pictures(path, spec)
    arrays = read_npz(path)
    if {"kind", "frames"} <= arrays.keys():
        return _recording(path, arrays, spec)
    return thinned(array_of(path, arrays, spec.key))


def read_npz(path: Path) -> dict[str, Array]:
    """Read every array of an NPZ. Raises ForgeError: missing, damaged, too large, or holding pickled objects."""
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = sum(_claimed_bytes(archive, member) for member in archive.infolist())
        if size_bytes > SIZE_BYTES_MAX:
            msg = f"{path} unpacks to {size_bytes >> 20} MiB; at most {SIZE_BYTES_MAX >> 20} MiB are read"
            raise ForgeError(msg)
        with np.load(path, allow_pickle=False) as loaded:
            return {name: np.asarray(loaded[name]) for name in loaded.files}
    except UNREADABLE as error:
        msg = f"{path} cannot be read as an .npz of plain arrays ({error or type(error).__name__})"
        raise ForgeError(msg) from error


def _claimed_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """Return what numpy would allocate for a member: its header's claim, for sizes in the ZIP bind nobody.

    Raises:
        ValueError: it is packed in another way than numpy packs, or no array, or one of pickled objects.
        RuntimeError: it is encrypted.
    """
    if member.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        msg = f"{member.filename} is packed in a way numpy.savez does not use; write it with numpy.savez_compressed"
        raise ValueError(msg)
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0
        if version != (1, 0):
            read_header = np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
    if dtype.hasobject:
        msg = f"{member.filename} holds pickled objects"
        raise ValueError(msg)
    return prod(shape) * dtype.itemsize


def array_of(path: Path, arrays: Mapping[str, Array], key: str) -> Array:
    """Return one array. Raises ForgeError with the names that are there."""
    if key not in arrays:
        there = ", ".join(arrays) or "nothing"
        msg = f"{path} has no array {key!r}; it holds {there}"
        raise ForgeError(msg)
    return arrays[key]


def thinned(rows: Array) -> Array:
    """Return at most SAMPLES_MAX rows, evenly spread."""
    if len(rows) <= SAMPLES_MAX:
        return rows
    return rows[_spread(len(rows))]


def _spread(count: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLES_MAX)).astype(np.intp))


def _recording(path: Path, arrays: Mapping[str, Array], spec: InputSpec) -> Array:
    """Return a recording's sound frames, normalised."""
    kind, frames = str(arrays["kind"].reshape(-1)[0]), arrays["frames"]
    if kind != spec.kind:
        msg = f"{path} is a recording of kind {kind!r}; the network takes {spec.kind.value!r}"
        raise ForgeError(msg)
    faults = arrays.get("signal_faults")
    if faults is not None and len(faults) == len(frames):
        frames = frames[faults == ""]
    frames = thinned(frames)
    if spec.kind is FrameKind.IMAGE:
        return _stacked(frames, spec)
    flat = spec.normalise(frames)
    return flat.reshape(len(flat), *spec.shape[1:]) if flat[:1].size == np.prod(spec.shape) else flat


def _pictures(folder: Path, spec: InputSpec) -> Array:
    """Return a folder's pictures, ordered by name."""
    files = sorted(each for each in folder.iterdir() if each.suffix.lower() in PICTURES)
    if not files:
        msg = f"{folder} holds no pictures ({', '.join(PICTURES)})"
        raise ForgeError(msg)
    if spec.kind is not FrameKind.IMAGE:
        msg = f"{folder} holds pictures; the network takes {spec.kind.value!r}"
        raise ForgeError(msg)
    return _stacked((_picture(files[index]) for index in _spread(len(files))), spec)


def _picture(file: Path) -> Array:
    picture = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if picture is None:
        msg = f"{file} cannot be read as a picture: take it out of the folder"
        raise ForgeError(msg)
    return picture


def _stacked(pictures: Iterator[Array] | Array, spec: InputSpec) -> Array:
    """Fit BGR pictures to the input as the device does (``core/preprocess.py``) and normalise them."""
    if len(spec.shape) != _PICTURE_DIMENSIONS or spec.shape[-1] != 3:  # noqa: PLR2004 - colours
        msg = f"the network's input is {list(spec.shape)}; pictures are [1, height, width, 3]"
        raise ForgeError(msg)
    spec.require_numbers(spec.shape[-1])
    bars = np.asarray(spec.mean, np.float32)
    fitted = [_fitted(picture, spec, bars) for picture in pictures]
    return spec.normalise(np.stack(fitted))


def _fitted(picture: Array, spec: InputSpec, bars: Array) -> Array:
    """Return one picture as float32 ``[height, width, 3]`` in the network's colours, 0..255."""
    _, height_px, width_px, channels = spec.shape
    scale = min(height_px / picture.shape[0], width_px / picture.shape[1])
    inner = (height_px, width_px)
    if spec.fit == "letterbox":
        inner = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    resized = cv2.resize(picture, inner[::-1], interpolation=cv2.INTER_LINEAR)
    if spec.colour == "rgb":
        resized = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
    whole = np.broadcast_to(bars, (height_px, width_px, channels)).astype(np.float32)
    top, left = (height_px - inner[0]) // 2, (width_px - inner[1]) // 2
    whole[top : top + inner[0], left : left + inner[1]] = resized
    return whole
