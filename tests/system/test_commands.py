"""Fault 8: commands over MQTT are obeyed when somebody sends them, and never because a broker kept them."""

import json
from typing import Any

import pytest

from tests.system.conftest import Site
from tests.system.device import BASE, scrape
from tests.system.subscriber import publish
from tests.waiting import eventually

pytestmark = pytest.mark.broker


def answers(site: Site, id_: str) -> list[dict[str, Any]]:
    """What was answered to a command."""
    return [each.json for each in site.published.heard(f"{BASE}/cmd/result") if each.json["id"] == id_]


def test_a_command_that_the_broker_kept_is_ignored_and_reported(site: Site) -> None:
    eventually(lambda: scrape(site.metrics_port, "edge_commands_ignored_total", reason="retained") == 1)
    reported = eventually(lambda: site.device.log("fault", fault=f"retained command {BASE}/cmd"))
    assert "replay" in reported[0]["reason"]
    publish(site.broker, f"{BASE}/cmd", '{"id": "live", "command": "refresh"}')
    eventually(lambda: answers(site, "live"))
    assert not answers(site, "from-the-past")


def test_a_command_is_answered_and_obeyed(site: Site) -> None:
    topic = f"{BASE}/lamp/availability"  # published once, and again only when somebody asks
    before = len(site.published.until(topic))
    publish(site.broker, f"{BASE}/cmd", '{"id": "again", "command": "refresh"}')
    (answer,) = eventually(lambda: answers(site, "again"))
    assert answer["ok"]
    assert site.published.until(topic, count=before + 1)
    result = site.published.heard(f"{BASE}/cmd/result")[-1]
    assert (result.qos, result.retain) == (1, False)


@pytest.mark.parametrize(
    ("id_", "rest", "reason"),
    [
        ("strange", {"command": "self-destruct"}, "unknown"),
        ("nameless", {}, "unknown"),
    ],
)
def test_a_command_that_cannot_be_obeyed_is_answered_with_the_reason(
    site: Site, id_: str, rest: dict[str, str], reason: str
) -> None:
    site.published.until(f"{BASE}/lamp/state")
    publish(site.broker, f"{BASE}/cmd", json.dumps({"id": id_, **rest}))
    (answer,) = eventually(lambda: answers(site, id_))
    assert not answer["ok"]
    assert reason in answer["reason"]
