"""A publisher with its web server, three devices that came with its first model, and what is done again and again."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.trust.manifest import Bundle
from tests.fleet.door import Door
from tests.fleet.town import Town, run
from tests.fleet.versions import FACTORY, NAME, SHARE_PERCENT, Version, drawn, make
from tests.fleet.webserver import WebServer
from tests.hub.hubs import Hub, hub_in, offered
from tests.process.test_update_stick import Stick

TRIES = 3
TERMS = ("--tries", TRIES, "--shadow-frames", 10, "--agreement", 0.9, "--decisions", 20, "--duration", 1)
"""A trial is minutes on a device, and seconds here."""
STICK_BYTES = 16 * 1024 * 1024
SILENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """Everybody who plays a part."""

    hub: Hub
    web: WebServer
    versions: dict[str, Version]
    first: Door
    second: Door
    last: Door

    @property
    def doors(self) -> tuple[Door, ...]:
        """All devices."""
        return self.first, self.second, self.last

    def publish(self, version: str, *, bases: int, percent: int = SHARE_PERCENT) -> None:
        """Publish a version, with deltas from the last few; the web server has it at once."""
        folder = self.versions[version].folder
        print(self.hub("publish", folder, "--from", bases, "--no-pin-scales", "--rollout", percent, *TERMS))

    def delta(self, version: str, base: str) -> Bundle:
        """The delta of a version, as signed."""
        found = offered(self.hub.public, NAME)[version].bundle_for(self.versions[base].model_id)
        assert found is not None
        return found

    def reported(self) -> dict[str, dict[str, Any]]:
        """The newest report of each device, as the publisher has it."""
        return {report["node"]: report for report in self.web.reports()}


@contextmanager
def fleet_in(room: Path) -> Iterator[Fleet]:
    """Build all of it in ``room``; at the end nothing of it is left."""
    versions = make(room)
    names = drawn(versions)
    hub = hub_in(room)
    hub("field", versions[FACTORY].folder)
    with ExitStack() as stack:
        town = stack.enter_context(Town([names.first, names.second, names.last]))
        web = stack.enter_context(WebServer(room / "web", town.hub, hub.public))
        update = {
            "root_file": str(hub.public / "metadata" / "1.root.json"),
            "url": web.url,
            "report_url": web.report_url,
            "timeout_s": SILENCE_S,
        }
        doors = [
            stack.enter_context(Door(room / name, name, house, versions[FACTORY].folder, update))
            for name, house in town.houses.items()
        ]
        yield Fleet(hub, web, versions, *doors)


@contextmanager
def plugged_in(hub: Hub, room: Path) -> Iterator[Stick]:
    """Put what is published on a stick, and the stick into a device."""
    content, image = room / "content", room / "stick.img"
    content.mkdir()
    hub("export", "--usb", content / "plant.update")
    image.touch()
    with image.open("rb+") as stream:
        stream.truncate(STICK_BYTES)
    run("mkfs.ext4", "-q", "-L", "EDGE-UPDATE", "-d", content, image)
    stick = Stick(image)
    try:
        yield stick
    finally:
        stick.remove()
