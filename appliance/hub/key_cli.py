"""``appliance hub init``, ``timestamp``, ``rotate-key``, ``sign-root`` and ``renew-root``: keys, and what expires."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from appliance.errors import HubError
from appliance.hub.desk import ROOT_LIFE, TIMESTAMP_LIFE, Desk, create, opened
from appliance.hub.keyring import sign
from appliance.hub.options import (
    HUB,
    KEYS,
    HubOption,
    KeysOption,
    PassphraseOption,
    RootKeysOption,
    keyring,
    say,
)
from appliance.hub.signing import Role
from appliance.hub.table import remaining

ROOT_KEYS_MAX = 9
DAYS_MAX = 3650

RoleArgument = Annotated[
    Literal["root", "releases", "timestamp"], typer.Argument(metavar="ROLE", help="root, releases or timestamp.")
]


def init_command(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The hub to make.")] = HUB,
    *,
    root_keys: Annotated[int, typer.Option(min=1, max=ROOT_KEYS_MAX, help="How many root keys there are.")] = 3,
    root_threshold: Annotated[
        int, typer.Option(min=1, max=ROOT_KEYS_MAX, help="How many of them a new root must be signed by.")
    ] = 2,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Make a hub: its keys, and a signed repository with nothing in it yet. Nothing is ever written over.

    The root keys say who may sign; each belongs to another place, off this machine. The releases key signs what is
    published; the timestamp key, every few days, that it is the newest.

    Example: appliance hub init hub --root-keys 3 --root-threshold 2
    """
    if root_threshold > root_keys:
        message = f"--root-threshold {root_threshold} of {root_keys} keys cannot be reached"
        raise typer.BadParameter(message)
    ring = keyring(folder, keys, passphrase)
    if (folder / "public").exists():
        msg = f"{folder}: is a hub already; nothing was changed"
        raise HubError(msg)
    made = create(folder, ring, root_keys, root_threshold)
    ring_folder = keys or folder / KEYS
    for file in made:
        say(f"{file}: carry it to a safe place of its own and delete it here; {root_threshold} are needed together")
    say(f"{ring_folder / 'releases.pem'}: belongs where models are published, on no web server")
    say(f"{ring_folder / 'timestamp.pem'}: belongs where `appliance hub timestamp` runs every day (cron)")
    say(f"{folder / 'public' / 'metadata' / '1.root.json'}: ships with each device, as update.root_file")
    say(f"{folder / 'public'}: goes to a web server or CDN; update.url is its address")


def timestamp_command(
    *,
    days: Annotated[
        int | None, typer.Option(min=1, max=DAYS_MAX, metavar="DAYS", help="How long it is good for; default: 30.")
    ] = None,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Sign again that what is published is the newest. For a cron job, once a day; needs the timestamp key alone.

    When it expires, devices keep their models and install nothing new until it is signed again.

    Example: appliance hub timestamp --hub /srv/hub --keys /etc/hub-keys
    """
    life = TIMESTAMP_LIFE if days is None else timedelta(days=days)
    with opened(hub, keyring(hub, keys, passphrase)) as desk:
        signers = desk.keyring.signers(Role.TIMESTAMP)
        desk.repository.sign_timestamp(signers, now=desk.now, expires=desk.now + life)
        for role, expires in desk.repository.expires().items():
            say(f"{role} expires {remaining(expires, desk.now)}")


def rotate_key_command(
    role: RoleArgument,
    *,
    retire: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The key that goes, as `status` names it; needed where there are several."),
    ] = None,
    root_key: RootKeysOption = None,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Let a new key take the place of one that is old, lost or stolen. Devices learn it from a new root.

    The new root is signed by root keys, with --root-key here or one after another with sign-root; when enough have
    signed it is published and the new key signs from then on. Until then both do.

    Example: appliance hub rotate-key releases --root-key /media/a/root-1.pem --root-key /media/b/root-2.pem

    Example: appliance hub rotate-key root --retire 3f2a9c01
    """
    with opened(hub, keyring(hub, keys, passphrase)) as desk:
        say(f"{desk.rotate(Role[role.upper()], retire)}: the new key; the root that names it is drafted")
        _sign(desk, root_key or [])


def sign_root_command(
    root_key: Annotated[
        list[Path], typer.Option("--root-key", metavar="FILE", help="A root key; may be given more than once.")
    ],
    *,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Sign the root that rotate-key or renew-root drafted; with enough signatures it is published.

    Example: appliance hub sign-root --root-key /media/stick/root-3.pem
    """
    with opened(hub, keyring(hub, keys, passphrase)) as desk:
        _sign(desk, root_key)


def renew_root_command(
    *,
    root_key: RootKeysOption = None,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Draft a root that is good for another two years, with the keys it has; sign it here or with sign-root.

    Example: appliance hub renew-root --root-key /media/a/root-1.pem --root-key /media/b/root-2.pem
    """
    with opened(hub, keyring(hub, keys, passphrase)) as desk:
        desk.repository.renew_root(expires=desk.now + ROOT_LIFE)
        _sign(desk, root_key or [])


def _sign(desk: Desk, root_keys: Sequence[Path]) -> None:
    """Sign the drafted root and say what is missing; when nothing is, finish the rotation. Raises HubError."""
    missing = sign(desk.repository, root_keys, desk.keyring.passphrase)
    if missing is None:
        say("no root key has signed yet: `appliance hub sign-root --root-key FILE`")
    elif missing:
        say(f"{missing} more root keys must sign: `appliance hub sign-root --root-key FILE`")
    else:
        say(f"root {desk.repository.versions()['root']} is published")
        for role in desk.settle():
            say(f"{desk.keyring.file(role)}: the new key is here now, and signs alone")
