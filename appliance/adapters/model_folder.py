"""Reads model folders, ``<name>/<version>/``: bounded, regular files only, nothing outside the folder."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from appliance.core.model import Model
from appliance.errors import ModelError
from appliance.trust.model import DESCRIPTION_BYTES_MAX, DESCRIPTION_FILE, FILE_BYTES_MAX, parse_description, verify

LISTED_MAX = 1000
"""Folders that ``list_models`` looks at."""
SOUND = "sound"
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+-]{0,31}")
"""What a version's folder is called; other folders (a recipe's cache) are not looked at."""


class Listed(NamedTuple):
    """A row of ``appliance model list``; empty where a broken folder does not say."""

    model: str
    version: str
    task: str = ""
    input: str = ""
    size: str = ""
    licence: str = ""
    state: str = SOUND
    """``sound``, or what is wrong."""
    sha256: str = ""
    """Of the model's file."""


def read_model(folder: Path) -> Model:
    """Read and verify a model folder.

    Every file is read once; the model holds the bytes that were verified.

    Raises:
        ModelError: the folder or a file is missing or cannot be read, or the folder is not what its description
            says; the message names the folder and what to do.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises when a parent is closed to us
        msg = f"{folder}: no such model folder; give models/<name>/<version> (`appliance model list` shows them)"
        raise ModelError(msg)
    description = parse_description(
        _read(folder, DESCRIPTION_FILE, DESCRIPTION_BYTES_MAX), file=str(folder / DESCRIPTION_FILE)
    )
    whole = folder.resolve()
    if (whole.parent.name, whole.name) != (description.name, description.version):
        msg = (
            f"{folder}: {DESCRIPTION_FILE} says name {description.name!r}, version {description.version!r}, but the "
            f"folder is {whole.parent.name}/{whole.name}; rename it to {description.name}/{description.version}"
        )
        raise ModelError(msg)
    files = {path: _read(folder, path, FILE_BYTES_MAX) for path in description.files}
    try:
        return verify(description, files)
    except ModelError as error:
        msg = f"{folder}: {error}"
        raise ModelError(msg) from error


def list_models(root: Path) -> Iterator[Listed]:
    """Yield a row for every ``<root>/<name>/<version>/``, by name, sound or not. One model is in memory at a time.

    Raises:
        ModelError: ``root`` cannot be read.
    """
    try:
        folders = sorted(folder for folder in root.glob("*/*/") if _VERSION.fullmatch(folder.name))
        root.stat()
    except OSError as error:
        msg = f"{root}: cannot be read: {error.strerror}; give the folder that holds <name>/<version>/"
        raise ModelError(msg) from error
    for folder in folders[:LISTED_MAX]:
        yield _row(folder)


def _row(folder: Path) -> Listed:
    try:
        model = read_model(folder)
    except ModelError as error:
        return Listed(folder.parent.name, folder.name, state=str(error))
    shape = " x ".join(str(size) for size in model.input.shape[1:])
    size_kb = len(model.tflite) / 1000
    return Listed(
        model=model.name,
        version=model.version,
        task=model.task.value,
        input=f"{model.input.dtype.value} {shape}",
        size=f"{size_kb:,.0f} kB",
        licence=model.licence,
        sha256=model.sha256,
    )


def _read(folder: Path, path: str, size_bytes_max: int) -> bytes:
    """Read one regular file inside ``folder``, at most ``size_bytes_max``. Raises ModelError."""
    file = folder / path
    try:
        if not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
            msg = f"{file}: a link that leaves the model folder; put the file itself there"
            raise ModelError(msg)
        content = _read_regular(file, size_bytes_max + 1)  # one more: trust refuses what is larger
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}; copy the model folder again, whole and readable"
        raise ModelError(msg) from error
    if content is None:
        msg = f"{file}: not a regular file; put the file itself there"
        raise ModelError(msg)
    return content


def _read_regular(file: Path, size_bytes: int) -> bytes | None:
    """Read at most ``size_bytes``; None for a pipe, device or folder."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe could wait for ever
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read(size_bytes)
    finally:
        os.close(descriptor)
