"""Keys of a repository: Ed25519, one PEM file each (PKCS8), for its owner alone, perhaps under a passphrase."""

import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from appliance.errors import HubError
from appliance.hub.disk import sync

PASSPHRASE = "EDGE_HUB_PASSPHRASE"  # noqa: S105 - the name of a variable, no secret
"""Environment variable that may hold the passphrase of key files."""
FILE_MODE = 0o600
FILE_BYTES_MAX = 64 * 1024
"""A key file larger than this is not one."""


def generate(file: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """Make a new key, and write it to ``file``.

    Raises:
        HubError: there is something of that name already, which is never written over, or the disk refuses.
    """
    key = Ed25519PrivateKey.generate()
    locked = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        sync(file.parent)
    except OSError as error:
        msg = f"{file}: the key cannot be written: {error.strerror}"
        if file.exists() or file.is_symlink():
            msg = f"{file}: is there already, and a key is never written over; choose another name, or use this key"
        raise HubError(msg) from error
    return CryptoSigner(key)


def load(file: Path, passphrase: bytes | None = None) -> CryptoSigner:
    """Read a key. Raises HubError: it is missing, damaged, locked, or no Ed25519 key; the message says which."""
    try:
        with file.open("rb") as stream:
            key = load_pem_private_key(stream.read(FILE_BYTES_MAX), passphrase)
    except OSError as error:
        msg = f"{file}: the key cannot be read: {error.strerror}"
        raise HubError(msg) from error
    except TypeError as error:  # locked and no passphrase given, or the other way round
        needs = "is under a passphrase; give it" if passphrase is None else "is under no passphrase; give none"
        msg = f"{file}: {needs}"
        raise HubError(msg) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = f"{file}: no private key in PEM, or another passphrase than this"
        raise HubError(msg) from error
    if not isinstance(key, Ed25519PrivateKey):
        msg = f"{file}: no Ed25519 key, and devices believe no other"
        raise HubError(msg)
    return CryptoSigner(key)


def passphrase(file: Path | None, environment: Mapping[str, str]) -> bytes | None:
    """Return the first line of ``file``, else what the environment holds in ``PASSPHRASE``; None without either.

    Raises:
        HubError: the file cannot be read, or its first line is empty.
    """
    if file is None:
        return environment.get(PASSPHRASE, "").encode() or None
    try:
        with file.open("rb") as stream:
            line = stream.readline(FILE_BYTES_MAX).rstrip(b"\r\n")
    except OSError as error:
        msg = f"{file}: the passphrase cannot be read: {error.strerror}"
        raise HubError(msg) from error
    if not line:
        msg = f"{file}: holds no passphrase in its first line"
        raise HubError(msg)
    return line
