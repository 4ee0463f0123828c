"""``appliance hub rollout``, ``stop``, ``retry`` and ``allow-downgrade``: what is signed of a version changes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from appliance.hub.desk import Desk, opened
from appliance.hub.options import (
    HUB,
    HubOption,
    KeysOption,
    ModelArgument,
    PassphraseOption,
    VersionOption,
    keyring,
    say,
)

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A published version.")]


def rollout_command(
    model: ModelArgument,
    percent: Annotated[int, typer.Argument(min=0, max=100, metavar="PERCENT", help="Share of devices, 0 to 100.")],
    *,
    version: VersionOption = None,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Offer a version to more devices, or to fewer. Those that took it first stay among those that may.

    Each device draws its lot from its own id and the version's, so that it needs no connection to know.

    Example: appliance hub rollout person 30
    """
    which = _change(hub, keys, passphrase, model, version, lambda _: {"rollout_percent": percent})
    say(f"{which} is for {percent} % of devices")


def stop_command(
    model: ModelArgument,
    *,
    version: VersionOption = None,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Stop a version: no device begins with it any more, and one that is fetching it stops at its next look.

    Devices that run it keep it: publish a better one, or allow them to go back (allow-downgrade).

    Example: appliance hub stop person --version 1.2.0
    """
    which = _change(hub, keys, passphrase, model, version, lambda _: {"rollout_percent": 0})
    say(f"{which} is stopped; put public/ where devices look as soon as you can")


def retry_command(
    model: ModelArgument,
    version: VersionArgument,
    *,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Let devices on which a version failed try it once more: when the cause was theirs, and is mended.

    Example: appliance hub retry person 1.2.0
    """
    say(f"{_change(hub, keys, passphrase, model, version, lambda _: {'retry': True})} may be tried again")


def allow_downgrade_command(
    model: ModelArgument,
    version: VersionArgument,
    newer: Annotated[
        list[str], typer.Option("--from", metavar="VERSION", help="A later version; may be given more than once.")
    ],
    *,
    hub: HubOption = HUB,
    keys: KeysOption = None,
    passphrase: PassphraseOption = None,
) -> None:
    """Let devices go back to an earlier version from later ones that turned out to be worse. Stop those, too.

    Example: appliance hub allow-downgrade person 1.1.0 --from 1.2.0
    """

    def ids(desk: Desk) -> Mapping[str, object]:
        return {"allow_downgrade_from": [desk.published(model, each).model_id for each in newer]}

    which = _change(hub, keys, passphrase, model, version, ids)
    say(f"devices may go back to {which} from {', '.join(newer)}")


def _change(
    hub: Path,
    keys: Path | None,
    passphrase: Path | None,
    model: str,
    version: str | None,
    fields: Callable[[Desk], Mapping[str, object]],
) -> str:
    """Change custom fields of a version, sign, and name the version. Raises HubError."""
    with opened(hub, keyring(hub, keys, passphrase)) as desk:
        manifest = desk.published(model, version)
        desk.change(manifest, fields(desk))
    return f"{manifest.model} {manifest.version}"
