"""A hub's key files: which there are, which of them sign now, and how one takes the place of another.

``root-1.pem`` ... are carried away after ``init``. ``releases.pem`` signs what is published, ``timestamp.pem`` that it
is the newest. While a key is being replaced its successor waits in ``<role>.next.pem`` and signs beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from appliance.errors import HubError
from appliance.hub import disk, keys
from appliance.hub.signing import Role, SignedRepository

ROOT_KEYS_MAX = 16
"""Files of root keys in one folder."""


@dataclass(frozen=True, slots=True)
class Keyring:
    """The key files of a folder."""

    folder: Path
    passphrase: bytes | None = None

    def file(self, role: Role, *, successor: bool = False) -> Path:
        """Return where the key of an online role is, or its successor's."""
        return self.folder / f"{role.name.lower()}{'.next' if successor else ''}.pem"

    def signers(self, role: Role) -> list[CryptoSigner]:
        """Return what signs for an online role: its key, and its successor's while it is being replaced.

        Raises:
            HubError: there is neither, or a file is damaged or locked by another passphrase.
        """
        files = [self.file(role), self.file(role, successor=True)]
        there = [file for file in files if file.exists()] or files[:1]
        return [keys.load(file, self.passphrase) for file in there]

    def successor(self, role: Role) -> tuple[Path, CryptoSigner]:
        """Make the key that will replace one, or find what an interrupted attempt made. Raises HubError."""
        file = self._root_file() if role is Role.ROOT else self.file(role, successor=True)
        return file, keys.load(file, self.passphrase) if file.exists() else keys.generate(file, self.passphrase)

    def _root_file(self) -> Path:
        """Return a name for another root key. Raises HubError when there are too many."""
        names = [self.folder / f"root-{number}.pem" for number in range(1, ROOT_KEYS_MAX + 1)]
        free = next((name for name in names if not name.exists()), None)
        if free is None:
            msg = f"{self.folder}: {ROOT_KEYS_MAX} root keys are here; carry some away, they do not belong together"
            raise HubError(msg)
        return free


def retired(repository: SignedRepository, role: Role, start: str | None) -> str:
    """Return the id of the key that goes: the one that starts so, or the only one. Raises HubError."""
    found = [each for each in repository.key_ids(role) if each.startswith(start or "")]
    if len(found) != 1:
        there = ", ".join(each[:12] for each in repository.key_ids(role))
        msg = f"{role.name.lower()}: {len(found)} keys are meant by --retire {start or ''}; its keys are {there}"
        raise HubError(msg)
    return found[0]


def sign(repository: SignedRepository, root_keys: Sequence[Path], passphrase: bytes | None) -> int | None:
    """Sign the drafted root with root keys; returns how many signatures are missing, 0 when it is published.

    Raises:
        HubError: nothing is drafted, a file is no root key, or it cannot be read.
    """
    missing = None
    for file in root_keys:
        missing = repository.sign_root(keys.load(file, passphrase))
        if missing == 0:
            break
    return missing


def successors(repository: SignedRepository, keyring: Keyring) -> list[Role]:
    """Return the online roles whose successor the published root names: theirs is to be signed again, by it alone.

    Raises:
        HubError: a successor's file cannot be read.
    """
    files = {role: keyring.file(role, successor=True) for role in (Role.RELEASES, Role.TIMESTAMP)}
    return [
        role
        for role, file in files.items()
        if file.exists() and keys.load(file, keyring.passphrase).public_key.keyid in repository.key_ids(role)
    ]


def succeed(keyring: Keyring, role: Role) -> None:
    """Give a successor its place; the old key is kept under another name. Raises HubError."""
    file = keyring.file(role)
    if file.exists():
        retired = keys.load(file, keyring.passphrase).public_key.keyid[:8]
        disk.move(file, file.with_name(f"{role.name.lower()}.retired-{retired}.pem"))
    disk.move(keyring.file(role, successor=True), file)
