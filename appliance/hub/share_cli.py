"""``appliance hub export``, ``status`` and ``serve``: what is published leaves, or is looked at."""

from pathlib import Path
from typing import Annotated

import typer

from appliance.errors import HubError
from appliance.hub import disk
from appliance.hub.archive import export, members
from appliance.hub.clock import now_utc
from appliance.hub.desk import all_published
from appliance.hub.folder import Fielded
from appliance.hub.options import HUB, HubOption, say
from appliance.hub.serve import HOST, server
from appliance.hub.signing import SignedRepository
from appliance.hub.table import status
from appliance.screen import screen

PORT = 8093
PORT_MAX = 65_535


def export_command(
    file: Annotated[Path, typer.Option("--usb", metavar="FILE", help="Where to; its name ends with .update.")],
    *,
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="NAME", help="Only this model; may be given more than once.")
    ] = None,
    hub: HubOption = HUB,
) -> None:
    """Write what is published into one file for a stick: metadata and bundles, as signed. Needs no key.

    Put it on a stick labelled EDGE-UPDATE. A device trusts it as it trusts the web server, and no longer than the
    timestamp in it is good for: run `timestamp` before.

    Example: appliance hub export --usb /media/stick/plant.update --model person
    """
    with disk.locked(hub):
        repository = SignedRepository(hub)
        size_bytes = export(repository.public, members(repository, model), file)
        expires = repository.expires()["timestamp"]
    say(f"{file}: {size_bytes:,} bytes; devices install from it until {expires:%Y-%m-%d %H:%M} UTC")


def status_command(*, hub: HubOption = HUB) -> None:
    """Show what is published, to how many devices, which keys sign, and when what expires. Needs no key.

    Example: appliance hub status
    """
    repository, fielded = SignedRepository(hub), Fielded(hub)
    versions = {model: [each.name for each in fielded.versions(model)] for model in fielded.models()}
    screen().print(status(repository, all_published(repository), versions, now_utc()))


def serve_command(
    *,
    port: Annotated[int, typer.Option(min=0, max=PORT_MAX, help="Of 127.0.0.1; 0 takes a free one.")] = PORT,
    hub: HubOption = HUB,
) -> None:
    """Serve public/ to this machine alone, until Ctrl-C: for trials. A fleet gets it from a web server or CDN.

    Example: appliance hub serve --port 8093
    """
    public = SignedRepository(hub).public
    try:
        made = server(public, port, say)
    except OSError as error:
        msg = f"{HOST}:{port}: cannot be served at: {error.strerror}; give another --port"
        raise HubError(msg) from error
    with made:
        say(f"http://{HOST}:{made.server_address[1]} serves {public}; Ctrl-C ends it")
        try:
            made.serve_forever()
        except KeyboardInterrupt:
            say("ended")
