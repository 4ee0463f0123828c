"""Key files: for their owner alone, never written over, and told apart when they cannot be used."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from appliance.errors import HubError
from appliance.hub.keys import PASSPHRASE, generate, load, passphrase


@pytest.mark.parametrize("secret", [None, b"a horse, a staple"])
def test_a_key_that_was_made_is_read_again(tmp_path: Path, secret: bytes | None) -> None:
    made = generate(tmp_path / "keys" / "root-1.pem", secret)
    read = load(tmp_path / "keys" / "root-1.pem", secret)
    assert read.public_key == made.public_key
    made.public_key.verify_signature(read.sign(b"content"), b"content")


def test_a_key_is_for_its_owner_alone(tmp_path: Path) -> None:
    generate(tmp_path / "key.pem")
    assert stat.S_IMODE((tmp_path / "key.pem").stat().st_mode) == 0o600


def test_a_keys_name_is_on_the_medium_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def seen(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    generate(tmp_path / "key.pem")
    assert synced == [(tmp_path / "key.pem").stat().st_ino, tmp_path.stat().st_ino]


def test_a_key_under_a_passphrase_is_not_in_the_clear(tmp_path: Path) -> None:
    generate(tmp_path / "key.pem", b"secret")
    assert (tmp_path / "key.pem").read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    generate(tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(HubError, match="never written over"):
        generate(tmp_path / "key.pem")
    (tmp_path / "link.pem").symlink_to("elsewhere.pem")
    with pytest.raises(HubError, match="never written over"):
        generate(tmp_path / "link.pem")
    assert (tmp_path / "key.pem").read_bytes() == before
    assert not (tmp_path / "elsewhere.pem").exists()


@pytest.mark.parametrize(
    ("made_with", "read_with", "why"),
    [
        (None, b"secret", "under no passphrase"),
        (b"secret", None, "is under a passphrase"),
        (b"secret", b"guess", "another passphrase"),
    ],
)
def test_a_passphrase_that_does_not_fit_is_told(
    tmp_path: Path, made_with: bytes | None, read_with: bytes | None, why: str
) -> None:
    generate(tmp_path / "key.pem", made_with)
    with pytest.raises(HubError, match=why):
        load(tmp_path / "key.pem", read_with)


def test_what_is_no_ed25519_key_is_told(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content, why in ((other, "no Ed25519 key"), (b"", "no private key"), (b"\x00" * 99, "no private key")):
        (tmp_path / "key.pem").write_bytes(content)
        with pytest.raises(HubError, match=why):
            load(tmp_path / "key.pem")
    with pytest.raises(HubError, match="cannot be read: No such file"):
        load(tmp_path / "none.pem")


def test_a_key_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(HubError, match="cannot be written"):
        generate(tmp_path / "file" / "key.pem")


def test_a_passphrase_is_the_first_line_of_a_file_else_of_the_environment(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"from a file\r\nmore\n")
    assert passphrase(tmp_path / "secret", {PASSPHRASE: "other"}) == b"from a file"
    assert passphrase(None, {PASSPHRASE: "from the environment"}) == b"from the environment"
    assert passphrase(None, {}) is None
    assert passphrase(None, {PASSPHRASE: ""}) is None
    (tmp_path / "secret").write_bytes(b"\n")
    for file in (tmp_path / "secret", tmp_path / "none"):
        with pytest.raises(HubError, match=str(file)):
            passphrase(file, {})
