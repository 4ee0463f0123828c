"""One device in normal operation, shared by every test that only looks at it or asks it something."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.broker import Mosquitto, free_port
from tests.system.device import BASE, Device
from tests.system.scenes import config, lamp
from tests.system.subscriber import Subscriber, amqtt_sub, mosquitto_sub, publish


@dataclass(frozen=True, slots=True)
class Site:
    """A broker, a device, and two foreign clients that were there before it."""

    folder: Path
    broker: Mosquitto
    device: Device
    early: dict[str, Subscriber]
    """By name; both subscribed before the device started."""
    published: Subscriber
    """``mosquitto_sub`` that sees the retain flag as it was published (MQTT 5, 3.8.3.1), and not only late."""
    metrics_port: int


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A device that watches a lamp; a command that somebody retained lies in wait for it."""
    folder = tmp_path_factory.mktemp("site")
    port = free_port()
    with Mosquitto(folder / "mosquitto") as broker:
        publish(broker, f"{BASE}/cmd", '{"id": "from-the-past", "command": "refresh"}', "-r")
        health = {"metrics_port": port, "metrics_interval_s": 0.5, "status_interval_s": 0.5}
        device = Device(folder, config(folder, broker.port, {"lamp": lamp(folder / "lamp.npz")}, health=health))
        clients = [make(folder, broker, f"early-{make.__name__}") for make in (mosquitto_sub, amqtt_sub)]
        published = mosquitto_sub(folder, broker, "as-published", "-V", "5", "--retain-as-published")
        with clients[0], clients[1], published, device:
            early = {"mosquitto_sub": clients[0], "amqtt": clients[1]}
            yield Site(folder, broker, device, early, published, port)
