"""The kinds of value that several sections of the configuration have."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
"""A name that is safe as an MQTT topic level, a metric label and a Home Assistant object id."""
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Point = tuple[Fraction, Fraction]
"""``[x, y]`` in fractions of the picture, origin at the top left."""
FOLDER = "folder"
"""Key of the validation context: the folder that relative paths start at."""


def _from_folder(path: Path, info: ValidationInfo) -> Path:
    """Let a relative path start at the folder of the configuration file."""
    return Path(info.context[FOLDER]) / path if info.context else path


def source_from_folder(source: str, info: ValidationInfo) -> str:
    """The same for a camera's source, unless it is a URL."""
    return source if "://" in source else str(_from_folder(Path(source), info))


FilePath = Annotated[Path, AfterValidator(_from_folder)]
BackendName = Literal["tpu", "cpu", "onnx"]
"""Backends that configuration may name; a new backend adds its name here and a line to the registry."""
