"""What is the same wherever a bundle comes from: its file's name, and no byte more than is signed."""

from collections.abc import Callable

from appliance.errors import BundleError, MetadataError, RefusedError, RepositoryError
from appliance.ports.updates import Partial
from appliance.trust.manifest import Bundle
from appliance.trust.metadata import file_of

PIECE_BYTES = 64 * 1024
"""Most that is read at once."""


def place_of(bundle: Bundle) -> str:
    """Name a bundle's file in the repository. Raises RefusedError: what is signed is no path."""
    try:
        return file_of(bundle.path, bundle.sha256)
    except MetadataError as error:
        raise RefusedError(str(error)) from error


def standing(bundle: Bundle, into: Partial) -> int:
    """Return how many bytes are there; what is longer than the bundle is let go. Raises StoreError."""
    if into.size_bytes > bundle.size_bytes:
        into.begin("")
        return 0
    return into.size_bytes


def receive(
    bundle: Bundle, into: Partial, start: int, read: Callable[[int], bytes], received: Callable[[int], None]
) -> None:
    """Take the bytes of a bundle from ``start`` on; whatever ends it, what came before is on the medium.

    Args:
        bundle: what is signed.
        into: takes the pieces; has ``start`` bytes.
        start: where ``read`` begins.
        read: returns some bytes, at most as many as it is given; none at the end.
        received: as in ``Repository.fetch``.

    Raises:
        RepositoryError: it ends too early, or as ``read`` raises it.
        BundleError: it does not end where it must.
        StoreError: it cannot be kept; and whatever ``received`` raises.
    """
    left = bundle.size_bytes - start
    try:
        while left:
            piece = read(min(PIECE_BYTES, left + 1))
            if not piece:
                msg = f"{bundle.path}: broke off after {bundle.size_bytes - left} of {bundle.size_bytes} bytes"
                raise RepositoryError(msg)
            if len(piece) > left:
                msg = f"{bundle.path}: is longer than the {bundle.size_bytes} bytes that are signed"
                raise BundleError(msg)
            received(len(piece))
            into.append(piece)
            left -= len(piece)
    finally:
        into.sync()
