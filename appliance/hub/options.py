"""What the hub's commands share: where the hub and its keys are, and how results are shown."""

import os
from pathlib import Path
from typing import Annotated

import typer

from appliance.hub import keys
from appliance.hub.keyring import Keyring
from appliance.screen import screen

HUB = Path("hub")
KEYS = "keys"

HubOption = Annotated[
    Path, typer.Option("--hub", envvar="EDGE_HUB", metavar="FOLDER", help="The hub, as `appliance hub init` made it.")
]
KeysOption = Annotated[
    Path | None, typer.Option("--keys", metavar="DIR", help="Where the key files are; default: keys/ in the hub.")
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase",
        metavar="FILE",
        help=f"Its first line opens the key files; default: ${keys.PASSPHRASE}, or none.",
    ),
]
RootKeysOption = Annotated[
    list[Path] | None,
    typer.Option("--root-key", metavar="FILE", help="A root key to sign with; may be given more than once."),
]
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
VersionOption = Annotated[
    str | None, typer.Option("--version", metavar="VERSION", help="Which one; default: the newest published.")
]


def keyring(hub: Path, folder: Path | None, passphrase: Path | None) -> Keyring:
    """Find the key files. Raises HubError when the passphrase cannot be read."""
    return Keyring(folder or hub / KEYS, keys.passphrase(passphrase, os.environ))


def say(line: str) -> None:
    """Print a line as it is."""
    screen().print(line, highlight=False, markup=False, soft_wrap=True)
