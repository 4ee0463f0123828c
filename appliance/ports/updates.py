"""Where updates come from, and where models are kept."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from appliance.trust.manifest import Bundle
from appliance.trust.state import ModelState

CONDEMNED_MAX = 256
"""Models that failed on a device and are remembered there."""


class Partial(Protocol):
    """A bundle that is being received, on disk. One writer at a time."""

    @property
    def size_bytes(self) -> int:
        """Bytes that are certainly on the medium: where to go on after a power cut."""
        ...

    @property
    def tag(self) -> str:
        """What the server called this version of the file (its ETag) when the first byte came; may be empty."""
        ...

    def begin(self, tag: str) -> None:
        """Start from nothing. Raises StoreError."""
        ...

    def append(self, content: bytes) -> None:
        """Add bytes: on the medium after every 256 KiB at the latest, and after ``sync``. Raises StoreError."""
        ...

    def sync(self) -> None:
        """Return once everything appended is on the medium. Raises StoreError."""
        ...

    def digest(self) -> str:
        """Return the SHA-256 of what the medium holds, read back past the page cache. Raises StoreError."""
        ...

    @property
    def file(self) -> Path:
        """Where it is."""
        ...

    def remove(self) -> None:
        """Let it go. Idempotent. Raises StoreError."""
        ...


def uncounted(_count_bytes: int) -> None:
    """Count nothing: for what costs nobody bytes."""


class Repository(Protocol):
    """A signed repository: a web server's folder, or one file on a stick. Nothing it gives is believed."""

    def metadata(self, name: str, size_bytes_max: int, received: Callable[[int], None] = uncounted) -> bytes | None:
        """Return a metadata file (``timestamp.json``, ``2.root.json``); None where there is no such file.

        ``received`` is called with the number of bytes of each piece that came, also of a file that broke off.

        Raises RepositoryError when it cannot be reached, in bounded time; MetadataError for more bytes than allowed.
        """
        ...

    def fetch(self, bundle: Bundle, into: Partial, received: Callable[[int], None]) -> None:
        """Bring ``into`` to ``bundle.size_bytes`` bytes, going on where it stands.

        Args:
            bundle: what is signed; no byte more than its size is accepted.
            into: what is there, and takes the rest.
            received: called with the number of bytes of each piece before it is kept; it may raise BudgetError.

        Raises:
            RepositoryError: it broke off, stalled, or was too slow; what was received is kept.
            RefusedError: a final no (4xx).
            BudgetError: as ``received`` raised it; what was received before is kept.
            BundleError: there is more of it than is signed.
            StoreError: it cannot be kept.
        """
        ...


class SlotStore(Protocol):
    """The device's store of models, and what is known of their updates. For two processes: each change is locked.

    Everything that returned is on the medium.
    """

    def load(self, model: str) -> ModelState:
        """Return where the updates of ``model`` stand; rebuilt from the store where the record is damaged.

        Raises StoreError.
        """
        ...

    def locked(self, model: str) -> AbstractContextManager[None]:
        """Hold the right to change the record of ``model`` against other processes. Raises StoreError after 10 s."""
        ...

    def save(self, state: ModelState) -> ModelState:
        """Write a record under ``locked``; returns it with its new generation. Raises StoreError."""
        ...

    def folder(self, model_id: str) -> Path | None:
        """Return the model folder ``<name>/<version>`` of a stored model; None where it is not there."""
        ...

    def add(self, model_id: str, make: Callable[[Path], None]) -> Path:
        """Store a model; returns its folder. Nothing is to be seen of it before it is whole.

        Args:
            model_id: what the SHA-256 of its description must be.
            make: fills an empty folder with the model folder's files.

        Raises:
            BundleError: what the medium gives back is not what the description says.
            StoreError: no space, read-only, ...; and whatever ``make`` raises.
        """
        ...

    def commit(self, model_id: str, sequence: int) -> None:
        """Mark a stored model as one that served: what the store is rebuilt from. Idempotent. Raises StoreError."""
        ...

    def condemn(self, model_id: str, reason: str) -> None:
        """Remember that a model failed here; of at least the last ``CONDEMNED_MAX``. Idempotent. Raises StoreError."""
        ...

    def pardon(self, model_id: str) -> None:
        """Forget that. Idempotent. Raises StoreError."""
        ...

    def condemned(self) -> Mapping[str, str]:
        """Return the ids of models that failed here, and why each did. Raises StoreError."""
        ...

    def partial(self, bundle: Bundle) -> Partial:
        """Return what is there of a bundle, perhaps nothing. Raises StoreError."""
        ...

    def collect(self, keep: Iterable[str], bundles: Iterable[str]) -> None:
        """Remove every stored model, leftover and bundle but those of these ids and digests. Raises StoreError."""
        ...

    def free_bytes(self) -> int:
        """Return how much more may be stored. Raises StoreError."""
        ...

    def file(self, name: str) -> bytes | None:
        """Return a small file of the updater's own (trusted metadata, budget); None where there is none.

        Raises StoreError.
        """
        ...

    def write_file(self, name: str, content: bytes) -> None:
        """Replace such a file, whole or not at all. Raises StoreError."""
        ...

    def files(self, folder: str) -> tuple[str, ...]:
        """Return the names of such files in a folder (``reports/mqtt``), sorted, as ``file`` takes them."""
        ...

    def remove_file(self, name: str) -> None:
        """Remove such a file. Idempotent. Raises StoreError."""
        ...
