"""Model folders on the publishing side: read as a device reads them, and kept as they were fielded.

``fielded/<name>/<version>/`` holds what devices may run: every version that was published, and those that devices left
the factory with. Deltas are made against the newest of them. A version that is being published waits in
``.<version>.new`` until it is signed; what a publisher that was killed left there is put in place, or removed, by the
next command.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from appliance.core.model import Model
from appliance.errors import HubError, ModelError
from appliance.hub import disk
from appliance.trust.description import Description
from appliance.trust.manifest import DESCRIPTION
from appliance.trust.model import DESCRIPTION_BYTES_MAX, FILE_BYTES_MAX, parse_description, verify

ORDER = ".order"
"""Beside a fielded folder's files: a number that rises with each version of a model that is fielded."""
_PENDING = ".new"


@dataclass(frozen=True, eq=False)
class ModelFolder:
    """A verified model folder in memory."""

    description: Description
    model: Model
    files: Mapping[str, bytes]
    """Content by path: all that a device needs, the description among it, and nothing else."""

    @classmethod
    def of(cls, files: Mapping[str, bytes], where: str) -> Self:
        """Verify files as a device does; ``where`` names the folder in messages. Raises HubError."""
        try:
            description = parse_description(files[DESCRIPTION], file=f"{where}/{DESCRIPTION}")
            model = verify(description, files)
        except ModelError as error:
            msg = f"{where}: {error}"
            raise HubError(msg) from error
        return cls(description, model, {path: files[path] for path in (DESCRIPTION, *sorted(description.files))})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read ``<name>/<version>/``. Raises HubError: it is no sound model folder; `appliance model verify` agrees."""
        try:
            files = {DESCRIPTION: _read(folder / DESCRIPTION, DESCRIPTION_BYTES_MAX)}
            listed = parse_description(files[DESCRIPTION], file=str(folder / DESCRIPTION)).files
            files |= {path: _read(folder / path, FILE_BYTES_MAX) for path in listed}
        except OSError as error:
            msg = f"{folder}: no model folder ({error.filename}: {error.strerror}); give models/<name>/<version>"
            raise HubError(msg) from error
        except ModelError as error:
            raise HubError(str(error)) from error
        found = cls.of(files, str(folder))
        whole = folder.resolve()
        if (whole.parent.name, whole.name) != (found.name, found.version):
            msg = (
                f"{folder}: its description says {found.name} {found.version}; call it {found.name}/{found.version}: "
                "a device looks for it under that name"
            )
            raise HubError(msg)
        return found

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.model.name

    @property
    def version(self) -> str:
        """Version of the model."""
        return self.model.version

    @cached_property
    def model_id(self) -> str:
        """SHA-256 of the description, which lists every other file's: names the whole folder."""
        return hashlib.sha256(self.files[DESCRIPTION]).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Of all files together."""
        return sum(map(len, self.files.values()))


class Fielded:
    """The folders that devices may run."""

    def __init__(self, hub: Path) -> None:
        self._root = hub / "fielded"

    def versions(self, model: str) -> list[Path]:
        """Return the folders of a model, the newest last."""
        found = [each for each in (self._root / model).glob("*/") if not each.name.startswith(".")]
        return sorted(found, key=_order)

    def models(self) -> list[str]:
        """Return the names of all models, in order."""
        return sorted(each.name for each in self._root.glob("*/"))

    def read(self, model: str, version: str) -> ModelFolder | None:
        """Return one folder; None where that version was never fielded. Raises HubError when it is damaged."""
        folder = self._root / model / version
        return ModelFolder.read(folder) if folder.is_dir() else None

    def stage(self, folder: ModelFolder) -> None:
        """Write a folder to where it waits. Raises HubError."""
        earlier = self.versions(folder.name)
        number = _order(earlier[-1]) + 1 if earlier else 1
        disk.write_folder(self._waiting(folder), {**folder.files, ORDER: f"{number}\n".encode()})

    def settle(self, model_ids: Collection[str]) -> None:
        """Put in place whatever waits and is among ``model_ids``, and remove what else waits. Raises HubError."""
        for waiting in sorted(self._root.glob(f"*/.*{_PENDING}/")):
            try:
                signed = hashlib.sha256((waiting / DESCRIPTION).read_bytes()).hexdigest() in model_ids
            except OSError:  # cut off before its description was written: nothing of it was signed
                signed = False
            final = waiting.with_name(waiting.name.removeprefix(".").removesuffix(_PENDING))
            if signed and not final.exists():
                disk.move(waiting, final)
            else:
                disk.remove(waiting)

    def add(self, folder: ModelFolder) -> None:
        """Note a folder as fielded. Raises HubError."""
        self.stage(folder)
        self.settle({folder.model_id})

    def _waiting(self, folder: ModelFolder) -> Path:
        return self._root / folder.name / f".{folder.version}{_PENDING}"


def _order(folder: Path) -> int:
    """Return the number of a fielded folder. Raises HubError."""
    try:
        return int((folder / ORDER).read_text("ascii"))
    except (OSError, ValueError) as error:
        msg = f"{folder / ORDER}: holds no number; write one there: 1 for the first version fielded, 2 for the next"
        raise HubError(msg) from error


def _read(file: Path, size_bytes_max: int) -> bytes:
    """Read a file; one byte more than is allowed is enough for ``trust`` to refuse it. Raises OSError."""
    with file.open("rb") as stream:
        return stream.read(size_bytes_max + 1)
