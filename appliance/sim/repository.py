"""A repository in memory: the files of a publisher's public folder, and what is wrong with it today."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from appliance.errors import BundleError, MetadataError, RefusedError, RepositoryError
from appliance.ports import Partial
from appliance.ports.updates import uncounted
from appliance.trust.manifest import Bundle
from appliance.updater.receiving import place_of, receive, standing


@dataclass(slots=True)
class RepositoryScript:
    """What goes wrong, and when. Change it at any time; it holds from the next file on."""

    absent: str = ""
    """Why it cannot be reached; empty while it can."""
    refuse: str = ""
    """Why it answers with a final no to every bundle; empty while it does not."""
    break_after_bytes: int | None = None
    """How much of a bundle comes in one go; None: all of it."""
    damage: bool = False
    """Whether bundles come with their last byte changed."""
    asked: list[str] = field(default_factory=list)
    """Every file that was asked for, in order: of bundles with the byte that was begun at (``targets/x @0``)."""


class ScriptedRepository:
    """Implements ``ports.Repository``."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Give out ``files``, by paths such as ``metadata/timestamp.json``. The mapping may change at any time."""
        self.files = files
        self.script = RepositoryScript()

    def metadata(self, name: str, size_bytes_max: int, received: Callable[[int], None] = uncounted) -> bytes | None:
        """Return a metadata file."""
        content = self._file(f"metadata/{name}")
        if content is not None and len(content) > size_bytes_max:
            msg = f"metadata/{name}: larger than {size_bytes_max} bytes"
            raise MetadataError(msg)
        if content:
            received(len(content))
        return content

    def fetch(self, bundle: Bundle, into: Partial, received: Callable[[int], None]) -> None:
        """Bring ``into`` to the bundle's size, or as far as the script lets it."""
        place, start = place_of(bundle), standing(bundle, into)
        content = self._file(place, f"{place} @{start}")
        if content is None or self.script.refuse:
            msg = f"{place}: {self.script.refuse or 'is not there'}"
            raise RefusedError(msg)
        if len(content) != bundle.size_bytes:
            msg = f"{place}: has {len(content)} bytes where {bundle.size_bytes} are signed"
            raise BundleError(msg)
        if self.script.damage:
            content = content[:-1] + bytes([content[-1] ^ 1])
        if not start:
            into.begin('"scripted"')
        end = len(content) if self.script.break_after_bytes is None else start + self.script.break_after_bytes
        rest = memoryview(content)[start:end]

        def read(size: int) -> bytes:
            nonlocal rest
            piece, rest = bytes(rest[:size]), rest[size:]
            return piece

        receive(bundle, into, start, read, received)

    def _file(self, place: str, asked: str = "") -> bytes | None:
        self.script.asked.append(asked or place)
        if self.script.absent:
            raise RepositoryError(self.script.absent)
        return self.files.get(place)
